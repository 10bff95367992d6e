//! Consents: a program asks for one, a person gives it in a browser, and it comes back here or to a front end.
//!
//! ```text
//!   program ── authorize ──▶ an address ──▶ browser ── start ──▶ a cookie, and on to the provider
//!                                                                       │ consent
//!   connection ◀── callback: the cookie must be the state's ◀───────────┘
//! ```
//!
//! The cookie binds the consent to the browser that began it, so that nobody can be made to finish somebody else's. A
//! front end that has its own session names its address in `redirect_uri` instead, and posts what comes back with its
//! service token.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use chrono::{DateTime, Utc};
use greenroom_accounts::access;
use greenroom_accounts::audit::{self, Action, Entry};
use greenroom_connections::{Connected, ConsentError, Given, NewConsent, Summary};
use greenroom_model::{LocationId, Platform, UserId};
use greenroom_vault::Secret;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Api;
use crate::caller::Caller;
use crate::input::Input;
use crate::problem::{BAD_BODY, BAD_CONSENT, NOT_FOUND, Problem};

/// How long a consent waits, and its cookie with it.
const COOKIE_SECS: u32 = 600;

/// A consent that a program asks for.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    user_id: Option<UserId>,
    location_id: Option<LocationId>,
    redirect_uri: Option<String>,
}

/// Where a person gives it.
#[derive(Serialize)]
pub(super) struct Waiting {
    /// Where to send the person's browser.
    authorize_url: String,
    /// What comes back with the code, for a front end to compare.
    state: String,
    expires_at: DateTime<Utc>,
}

pub(super) async fn authorize(
    State(api): State<Api>,
    caller: Caller,
    Path(platform): Path<String>,
    Input(wanted): Input<Wanted>,
) -> Result<Json<Waiting>, Problem> {
    caller.must("connection.connect")?;
    let platform = known(&platform)?;
    let user = wanted.user_id.ok_or_else(|| missing("user_id", "the person whose account it is"))?;
    let mut conn = api.queue.pool().acquire().await?;
    if !access::may_see_user(&mut conn, &caller.0, user).await? {
        return Err(Problem::new(NOT_FOUND, format!("there is no user {user}")));
    }
    if let Some(location) = wanted.location_id
        && !access::may_see_location(&mut conn, &caller.0, location).await?
    {
        return Err(Problem::new(NOT_FOUND, format!("there is no location {location}")));
    }
    let comes_here = wanted.redirect_uri.is_none();
    let new = NewConsent { user, platform, location: wanted.location_id, redirect_uri: wanted.redirect_uri };
    let begun = api.consents.begin(&mut conn, &new).await?;
    let state = begun.state.expose().to_owned();
    let authorize_url = if comes_here {
        format!("{}/oauth/{platform}/start?state={state}", api.consents.public_url())
    } else {
        begun.authorize_url.expose().to_owned()
    };
    Ok(Json(Waiting { authorize_url, state, expires_at: begun.expires_at }))
}

/// What came back to a front end.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CameBack {
    user_id: Option<UserId>,
    state: Option<Secret>,
    code: Option<Secret>,
}

pub(super) async fn complete(
    State(api): State<Api>,
    caller: Caller,
    Path(platform): Path<String>,
    Input(back): Input<CameBack>,
) -> Result<(StatusCode, Json<Summary>), Problem> {
    caller.must("connection.connect")?;
    let platform = known(&platform)?;
    let user = back.user_id.ok_or_else(|| missing("user_id", "the person whose account it is"))?;
    let state = back.state.ok_or_else(|| missing("state", "what came back beside the code"))?;
    let code = back.code.ok_or_else(|| missing("code", "what came back from the provider"))?;
    let mut conn = api.queue.pool().acquire().await?;
    let whose = api.consents.user_of(&mut conn, &state).await?;
    if whose != user || !access::may_see_user(&mut conn, &caller.0, user).await? {
        return Err(ConsentError::State.into());
    }
    drop(conn);
    let given = api.consents.redeem(platform, &state, &code).await?;
    let (_, summary) = store(&api, given, &format!("token {}", caller.0.token_id)).await?;
    Ok((StatusCode::CREATED, Json(summary)))
}

/// Begins a consent in a browser: binds it to it, and sends it on.
pub(super) async fn start(
    State(api): State<Api>,
    Path(platform): Path<String>,
    Query(query): Query<Returned>,
) -> Result<Response, Problem> {
    let platform = known(&platform)?;
    let state = query.state.ok_or(ConsentError::State)?;
    let url = api.consents.authorize_url(platform, &state).await?;
    let cookie = format!(
        "{}={}; Path=/; Max-Age={COOKIE_SECS}; Secure; HttpOnly; SameSite=Lax",
        cookie_name(&state),
        state.expose()
    );
    let mut response = Redirect::to(url.expose()).into_response();
    let cookie = HeaderValue::from_str(&cookie).map_err(|_| ConsentError::State)?;
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(private(response))
}

/// What a provider sends a browser back with.
#[derive(Deserialize)]
pub(super) struct Returned {
    state: Option<Secret>,
    code: Option<Secret>,
    error: Option<String>,
}

/// Takes a consent that comes back in a browser.
pub(super) async fn callback(
    State(api): State<Api>,
    Path(platform): Path<String>,
    headers: HeaderMap,
    Query(returned): Query<Returned>,
) -> Response {
    let came = came_back(&api, &platform, &headers, returned).await;
    let return_url = api.consents.oauth.return_url.as_str();
    if !return_url.is_empty() {
        let separator = if return_url.contains('?') { '&' } else { '?' };
        let told = match &came {
            Ok(connected) => format!("connection={}", connected.which.id),
            Err(problem) => format!("error={}", problem.code()),
        };
        return private(Redirect::to(&format!("{return_url}{separator}{told}")).into_response());
    }
    let (status, title, text) = match &came {
        Ok(connected) => {
            let name = connected.name.as_deref().unwrap_or("The account");
            let text = format!("{name} is connected. You can close this page.");
            (StatusCode::OK, "Connected", text)
        }
        Err(problem) => {
            let (title, detail) = problem.words();
            (problem.status(), title, format!("Nothing was connected: {detail}."))
        }
    };
    private((status, page(title, &text)).into_response())
}

async fn came_back(
    api: &Api,
    platform: &str,
    headers: &HeaderMap,
    returned: Returned,
) -> Result<Connected, Problem> {
    let platform = known(platform)?;
    let state = returned.state.ok_or(ConsentError::State)?;
    // The browser that began it, and no other.
    if cookie(headers, &cookie_name(&state)) != Some(state.expose()) {
        return Err(ConsentError::State.into());
    }
    if returned.error.is_some() {
        api.consents.refuse(platform, &state).await?;
        return Err(Problem::new(BAD_CONSENT, "the consent was refused: begin again if that was a mistake"));
    }
    let code = returned.code.ok_or(ConsentError::State)?;
    let given = api.consents.redeem(platform, &state, &code).await?;
    Ok(store(api, given, "its owner").await?.0)
}

/// Stores the account of a consent, with its entry in the trail.
async fn store(api: &Api, given: Given, by: &str) -> Result<(Connected, Summary), Problem> {
    let mut tx = api.queue.pool().begin().await?;
    let connected = api.consents.connect(&mut tx, given).await?;
    let entry = Entry {
        action: if connected.is_new { Action::ConnectionConnected } else { Action::ConnectionReauthorised },
        user: Some(connected.user),
        organization: None,
        resource_type: connected.which.kind.table(),
        resource_id: connected.which.id.to_string(),
        changes: json!({"by": by, "platform": connected.platform}),
    };
    audit::record(&mut tx, &entry).await?;
    let summary = greenroom_connections::find(&mut tx, connected.which.id).await?;
    let summary = summary.ok_or(sqlx::Error::RowNotFound)?;
    tx.commit().await?;
    Ok((connected, summary))
}

fn known(platform: &str) -> Result<Platform, Problem> {
    platform.parse().map_err(|_| Problem::new(NOT_FOUND, "there is no such platform: check the path"))
}

fn missing(field: &str, what: &str) -> Problem {
    Problem::new(BAD_BODY, format!("{field}: send {what}"))
}

/// Names a consent's cookie by the first letters of its state, so that two at once do not meet.
fn cookie_name(state: &Secret) -> String {
    let letters = state.expose().chars().filter(char::is_ascii_alphanumeric).take(8);
    format!("__Host-consent-{}", letters.collect::<String>())
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// Keeps an answer that belongs to one consent out of caches, and its address out of other sites' logs.
fn private(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn page(title: &str, text: &str) -> Html<String> {
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
    let (title, text) = (escaped(title), escaped(text));
    Html(format!(
        r#"<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>
:root{{color-scheme:light dark}}
body{{font:1.125rem/1.6 system-ui,sans-serif;max-width:32rem;margin:20vh auto 0;padding:0 1.5rem}}
h1{{font-size:1.75rem;line-height:1.2;margin:0 0 .5rem}}
</style></head><body><main><h1>{title}</h1><p>{text}</p></main></body></html>"#
    ))
}
