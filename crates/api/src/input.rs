//! What a request says, read strictly: what nobody knows is refused, with a problem that names it.

use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::problem::{BAD_BODY, BAD_QUERY, NOT_FOUND, NOT_JSON, Problem, TOO_LARGE};

/// The most bytes a body may have.
pub(crate) const MAX_BODY_BYTES: usize = 256 * 1024;

/// The id in the path; what is no id names nothing, and so is not found.
pub(crate) struct Id<T>(pub(crate) T);

impl<S: Send + Sync, T: FromStr> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = Path::<String>::from_request_parts(parts, state).await.ok();
        text.and_then(|Path(text)| text.parse().ok())
            .map(Self)
            .ok_or_else(|| Problem::new(NOT_FOUND, "the id in the path is not a UUID: check it"))
    }
}

/// The query, every field of which is known.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => Err(Problem::new(BAD_QUERY, rejection.body_text())),
        }
    }
}

/// The body, which may be left out where every field has a default.
pub(crate) struct Input<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for Input<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_json = is_json(request.headers());
        let body = Bytes::from_request(request, state).await.map_err(|rejection| {
            if rejection.into_response().status() == StatusCode::PAYLOAD_TOO_LARGE {
                let detail = format!("send at most {MAX_BODY_BYTES} bytes");
                return Problem::new(TOO_LARGE, detail).with("limit_bytes", MAX_BODY_BYTES);
            }
            Problem::new(BAD_BODY, "the body ended early: send all of it")
        })?;
        if body.is_empty() {
            return Ok(Self(T::default()));
        }
        if !is_json {
            return Err(Problem::new(NOT_JSON, "send the body as `Content-Type: application/json`"));
        }
        serde_json::from_slice(&body).map(Self).map_err(|error| Problem::new(BAD_BODY, error.to_string()))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    given.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// A body without fields: what is to be done stands in the path.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}
