//! Consents of all vendors, and the tokens of those that are not Google.

use axum::{
    Json,
    body::Bytes,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::vendor::{Visit, read};
use crate::{
    consent::{Terms, decide, page},
    endpoint::Endpoint,
    google::youtube::Params,
    instagram::oauth as instagram,
    sandbox::Sandbox,
    twitter::oauth as twitter,
};

/// Whose consent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Vendor {
    Google,
    Instagram,
    Twitter,
}

fn terms(sandbox: &Sandbox, vendor: Vendor) -> Terms<'static> {
    match vendor {
        Vendor::Google => sandbox.grants().terms(),
        Vendor::Instagram => sandbox.instagram_tokens().terms(),
        Vendor::Twitter => sandbox.twitter_tokens().terms(),
    }
}

pub(super) async fn ask(sandbox: Sandbox, vendor: Vendor, query: Option<String>) -> Response {
    let visit = Visit::begin(&sandbox, Endpoint::Consent).await;
    let response = page(&terms(&sandbox, vendor), &read(query.unwrap_or_default().as_bytes()));
    visit.end(response)
}

pub(super) async fn answer(sandbox: Sandbox, vendor: Vendor, form: Bytes) -> Response {
    let visit = Visit::begin(&sandbox, Endpoint::Consent).await;
    let (terms, asked) = (terms(&sandbox, vendor), read(&form));
    let now = sandbox.inner.settings.clock.now();
    let response = match vendor {
        Vendor::Google => decide(&terms, &mut sandbox.grants().codes, &asked, now),
        Vendor::Instagram => decide(&terms, &mut sandbox.instagram_tokens().codes, &asked, now),
        Vendor::Twitter => decide(&terms, &mut sandbox.twitter_tokens().codes, &asked, now),
    };
    visit.end(response)
}

/// Answers a call to Instagram whose parameters came in the query or a form.
async fn instagram(
    sandbox: &Sandbox,
    endpoint: Endpoint,
    params: &[u8],
    answer: impl FnOnce(&mut instagram::Tokens, &Params, DateTime<Utc>) -> Result<Value, instagram::Refused>,
) -> Response {
    let visit = Visit::begin(sandbox, endpoint).await;
    let now = sandbox.inner.settings.clock.now();
    let answered = match visit.error() {
        Some((status, code, _)) => Err(instagram::Refused::scripted(status, code)),
        None => answer(&mut sandbox.instagram_tokens(), &read(params), now),
    };
    visit.end(answered.map_or_else(IntoResponse::into_response, |body| Json(body).into_response()))
}

pub(super) async fn instagram_redeem(State(sandbox): State<Sandbox>, form: Bytes) -> Response {
    instagram(&sandbox, Endpoint::InstagramToken, &form, instagram::Tokens::redeem).await
}

pub(super) async fn instagram_exchange(
    State(sandbox): State<Sandbox>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    instagram(&sandbox, Endpoint::InstagramExchange, query.as_bytes(), instagram::Tokens::exchange).await
}

pub(super) async fn instagram_refresh(State(sandbox): State<Sandbox>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    instagram(&sandbox, Endpoint::InstagramRefresh, query.as_bytes(), instagram::Tokens::refresh).await
}

pub(super) async fn instagram_me(State(sandbox): State<Sandbox>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    instagram(&sandbox, Endpoint::InstagramMe, query.as_bytes(), |tokens, query, now| tokens.me(query, now))
        .await
}

/// Answers a call to X that only the program may make.
async fn twitter(
    sandbox: &Sandbox,
    endpoint: Endpoint,
    headers: &HeaderMap,
    answer: impl FnOnce(&mut twitter::Tokens, DateTime<Utc>) -> Result<Value, twitter::Refused>,
) -> Response {
    let visit = Visit::begin(sandbox, endpoint).await;
    let now = sandbox.inner.settings.clock.now();
    let answered = if let Some((status, error, _)) = visit.error() {
        Err(twitter::Refused::scripted(status, error))
    } else {
        let mut tokens = sandbox.twitter_tokens();
        tokens.knows(authorization(headers)).and_then(|()| answer(&mut tokens, now))
    };
    visit.end(answered.map_or_else(IntoResponse::into_response, |body| Json(body).into_response()))
}

pub(super) async fn twitter_token(
    State(sandbox): State<Sandbox>,
    headers: HeaderMap,
    form: Bytes,
) -> Response {
    twitter(&sandbox, Endpoint::TwitterToken, &headers, |tokens, now| tokens.token(&read(&form), now)).await
}

pub(super) async fn twitter_revoke(
    State(sandbox): State<Sandbox>,
    headers: HeaderMap,
    form: Bytes,
) -> Response {
    twitter(&sandbox, Endpoint::TwitterRevoke, &headers, |tokens, _| Ok(tokens.revoke(&read(&form)))).await
}

pub(super) async fn twitter_me(State(sandbox): State<Sandbox>, headers: HeaderMap) -> Response {
    let visit = Visit::begin(&sandbox, Endpoint::TwitterMe).await;
    let now = sandbox.inner.settings.clock.now();
    let bearer = authorization(&headers).and_then(|value| value.strip_prefix("Bearer "));
    let response = match (visit.error(), sandbox.twitter_tokens().me(bearer, now)) {
        (Some((status, error, _)), _) => twitter::Refused::scripted(status, error).into_response(),
        (None, Some(me)) => Json(me).into_response(),
        (None, None) => {
            let problem = json!({"title": "Unauthorized", "type": "about:blank", "status": 401, "detail": "Unauthorized"});
            (StatusCode::UNAUTHORIZED, Json(problem)).into_response()
        }
    };
    visit.end(response)
}

fn authorization(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()
}
