//! The way of a vendor's call: latency, scripted faults, identity, quota, answer.

use std::{convert::Infallible, io, time::Duration};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, stream};
use serde_json::json;

use crate::{
    endpoint::Endpoint,
    faults::{Fault, Misbehaviour},
    google::{
        oauth::Refused,
        refusal::Refusal,
        youtube::{self, Call, Paging, Params},
    },
    json::Document,
    sandbox::Sandbox,
    world::View,
};

/// A call that is being answered; counted as in flight until it is dropped, also when its client
/// goes away.
pub(super) struct Visit<'s> {
    sandbox: &'s Sandbox,
    endpoint: Endpoint,
    faults: Vec<Fault>,
}

impl<'s> Visit<'s> {
    /// Counts a call, holds it back and meets the faults that come before an answer.
    pub(super) async fn begin(sandbox: &'s Sandbox, endpoint: Endpoint) -> Self {
        sandbox.counter().begin(endpoint);
        let visit = Self { sandbox, endpoint, faults: sandbox.faults().met_by(endpoint) };
        let mut held_back = sandbox.inner.settings.latency;
        for fault in &visit.faults {
            match fault {
                Fault::Delay { millis } => held_back += Duration::from_millis(*millis),
                Fault::ExpireTokens => sandbox.grants().expire_all(),
                Fault::ExhaustQuota => {
                    let now = sandbox.inner.settings.clock.now();
                    sandbox.quota().exhaust(youtube::bucket(endpoint), now);
                }
                Fault::Change(change) => {
                    if let Err(error) = sandbox.change(change) {
                        tracing::warn!(%error, "A scripted change did not happen");
                    }
                }
                _ => {}
            }
        }
        if !held_back.is_zero() {
            tokio::time::sleep(held_back).await;
        }
        visit
    }

    /// Returns the first scripted error.
    pub(super) fn error(&self) -> Option<(u16, &str, Option<u64>)> {
        self.faults.iter().find_map(|fault| match fault {
            Fault::Error { status, reason, retry_after_secs } => {
                Some((*status, reason.as_str(), *retry_after_secs))
            }
            _ => None,
        })
    }

    /// Returns what the language model does.
    pub(super) fn misbehaves(&self) -> Vec<&Misbehaviour> {
        let met = self.faults.iter().map(|fault| match fault {
            Fault::Model(misbehaviour) => Some(misbehaviour),
            _ => None,
        });
        met.flatten().collect()
    }

    /// Lets the faults that spoil an answer have it.
    pub(super) fn end(self, response: Response) -> Response {
        let response = self.faults.iter().fold(response, spoil);
        self.sandbox.counter().answered(self.endpoint, response.status().as_u16());
        response
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.sandbox.counter().end();
    }
}

pub(super) async fn token(State(sandbox): State<Sandbox>, form: Bytes) -> Response {
    let visit = Visit::begin(&sandbox, Endpoint::Token).await;
    let response = if let Some((status, error, _)) = visit.error() {
        Refused::scripted(status, error).into_response()
    } else {
        let now = sandbox.inner.settings.clock.now();
        let answer = sandbox.grants().token(&read(&form), now);
        answer.map_or_else(IntoResponse::into_response, IntoResponse::into_response)
    };
    visit.end(response)
}

pub(super) async fn revoke(
    State(sandbox): State<Sandbox>,
    RawQuery(query): RawQuery,
    form: Bytes,
) -> Response {
    let visit = Visit::begin(&sandbox, Endpoint::Revoke).await;
    // Google takes the token in either place.
    let (form, query) = (read(&form), read(query.unwrap_or_default().as_bytes()));
    let token = form.one("token").or(query.one("token")).unwrap_or_default();
    let response = match visit.error() {
        Some((status, error, _)) => Refused::scripted(status, error).into_response(),
        None => match sandbox.grants().revoke(token) {
            Ok(()) => Json(json!({})).into_response(),
            Err(refused) => refused.into_response(),
        },
    };
    visit.end(response)
}

pub(super) async fn list(
    State(sandbox): State<Sandbox>,
    endpoint: Endpoint,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let visit = Visit::begin(&sandbox, endpoint).await;
    let params = read(query.unwrap_or_default().as_bytes());
    let response = match answer(&visit, &headers, &params) {
        Ok(document) => not_modified(&headers, &document.etag).unwrap_or_else(|| page(document)),
        Err(refusal) => refusal.into_response(),
    };
    visit.end(response)
}

fn answer(visit: &Visit<'_>, headers: &HeaderMap, params: &Params) -> Result<Document, Refusal> {
    let (sandbox, endpoint) = (visit.sandbox, visit.endpoint);
    let now = sandbox.inner.settings.clock.now();
    let bearer =
        headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let token = bearer.or(params.one("access_token")).ok_or_else(Refusal::unregistered)?;
    let caller = sandbox.grants().caller(token, now).ok_or_else(Refusal::invalid_credentials)?;
    // Every request costs a unit, a refused one too.
    if !sandbox.quota().take(youtube::bucket(endpoint), now) {
        return Err(Refusal::quota_exceeded());
    }
    if let Some((status, reason, retry_after_secs)) = visit.error() {
        return Err(Refusal::scripted(status, reason, retry_after_secs));
    }
    youtube::check_scope(endpoint, &caller)?;
    let mut paging = Paging::default();
    for fault in &visit.faults {
        match fault {
            Fault::ShortPage { items } => paging.at_most = Some((*items).max(1)),
            Fault::RepeatedPage => paging.repeat = true,
            _ => {}
        }
    }
    let changes = sandbox.changes();
    let view = View { world: &sandbox.inner.world, changes: &changes };
    youtube::answer(endpoint, &Call { view, caller: &caller, params, paging })
}

pub(super) fn read(pairs: &[u8]) -> Params {
    Params::new(url::form_urlencoded::parse(pairs).into_owned().collect())
}

fn page(document: Document) -> Response {
    let mut response = Response::new(Body::from(document.body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private"));
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{}\"", document.etag)) {
        headers.insert(header::ETAG, etag);
    }
    response
}

/// Answers 304 to a client that has this very page; it may quote the etag or not.
fn not_modified(headers: &HeaderMap, etag: &str) -> Option<Response> {
    let known = headers.get(header::IF_NONE_MATCH)?.to_str().ok()?;
    let is_it = |known: &str| {
        let known = known.trim();
        known == "*" || known.strip_prefix("W/").unwrap_or(known).trim_matches('"') == etag
    };
    let mut response = known.split(',').any(is_it).then(|| StatusCode::NOT_MODIFIED.into_response())?;
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{etag}\"")) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    Some(response)
}

fn spoil(response: Response, fault: &Fault) -> Response {
    match fault {
        Fault::Raw { status, content_type, body } => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY);
            let kind = HeaderValue::from_str(content_type).unwrap_or(HeaderValue::from_static("text/plain"));
            (status, [(header::CONTENT_TYPE, kind)], body.clone()).into_response()
        }
        Fault::Reset => response.map(|_| {
            let begun = Ok(Bytes::from_static(b"{\"kind\": "));
            let cut = Err(io::Error::from(io::ErrorKind::ConnectionReset));
            Body::from_stream(stream::iter([begun, cut]))
        }),
        Fault::SlowBody { millis } => {
            let pause = Duration::from_millis(*millis / 8);
            response.map(|body| {
                let whole = stream::once(async move { axum::body::to_bytes(body, usize::MAX).await });
                Body::from_stream(whole.flat_map(move |bytes| {
                    let bytes = bytes.unwrap_or_default();
                    let piece = bytes.len().div_ceil(8).max(1);
                    stream::unfold(bytes, move |mut rest| async move {
                        if rest.is_empty() {
                            return None;
                        }
                        tokio::time::sleep(pause).await;
                        let next = rest.split_to(piece.min(rest.len()));
                        Some((Ok::<_, Infallible>(next), rest))
                    })
                }))
            })
        }
        _ => response,
    }
}
