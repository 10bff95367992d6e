//! Leaving a list by a link: a page that asks, and the click of a mail program (RFC 8058).
//!
//! A GET changes nothing: programs that check mails for their readers open every link. A POST needs no login and sets
//! no cookie; the token in the path says who it is, and nothing else is believed.

use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use greenroom_campaigns::UnsubscribeKeys;
use greenroom_campaigns::standing::{self, Change};
use greenroom_model::UserId;

use crate::Api;
use crate::problem::Problem;

/// A page for who opens the link.
pub(super) async fn ask(State(api): State<Api>, Path(token): Path<String>) -> Response {
    let Ok(_) = whose(api.unsubscribe.as_ref(), &token) else { return not_valid() };
    let text =
        "You will get no more news from us. Mails about your account are something else: they still come.";
    private(
        (StatusCode::OK, page("Unsubscribe?", text, Some(("Unsubscribe", format!("/u/{token}")))))
            .into_response(),
    )
}

/// Takes the person off the list; again is as good.
pub(super) async fn leave(State(api): State<Api>, Path(token): Path<String>) -> Result<Response, Problem> {
    let Ok(user) = whose(api.unsubscribe.as_ref(), &token) else { return Ok(not_valid()) };
    change(&api, user, Change::OptOut).await?;
    let text = "You are unsubscribed. It may take a moment until a mail that is on its way has arrived.";
    let back = Some(("Subscribe again", format!("/u/{token}/resubscribe")));
    Ok(private((StatusCode::OK, page("Unsubscribed", text, back)).into_response()))
}

/// Puts the person back who left by mistake.
pub(super) async fn come_back(
    State(api): State<Api>,
    Path(token): Path<String>,
) -> Result<Response, Problem> {
    let Ok(user) = whose(api.unsubscribe.as_ref(), &token) else { return Ok(not_valid()) };
    change(&api, user, Change::OptIn).await?;
    let text = "You get our news again.";
    let leave = Some(("Unsubscribe", format!("/u/{token}")));
    Ok(private((StatusCode::OK, page("Subscribed", text, leave)).into_response()))
}

async fn change(api: &Api, user: UserId, change: Change) -> Result<(), Problem> {
    let mut tx = api.queue.pool().begin().await?;
    match standing::change(&mut tx, user, change, "a link in a mail").await {
        // Somebody who is gone gets no mail either.
        Ok(_) | Err(standing::StandingError::NoUser(_)) => tx.commit().await?,
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn whose(keys: Option<&UnsubscribeKeys>, token: &str) -> Result<UserId, ()> {
    keys.and_then(|keys| keys.verify(token).ok()).ok_or(())
}

/// The same for everything that is not valid.
fn not_valid() -> Response {
    let text = "This link is not complete. Open it from the mail again, or copy all of it.";
    private((StatusCode::BAD_REQUEST, page("That did not work", text, None)).into_response())
}

/// Keeps pages that belong to one person out of caches, and their addresses out of other sites' logs.
fn private(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

/// A page with at most one button, and where it posts to: a path of a token that was verified, whose letters need no
/// escaping.
fn page(title: &str, text: &str, button: Option<(&str, String)>) -> Html<String> {
    let form = button.map_or_else(String::new, |(words, path)| {
        format!(r#"<form method="post" action="{path}"><button>{words}</button></form>"#)
    });
    Html(format!(
        r#"<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex"><title>{title}</title><style>
:root{{color-scheme:light dark}}
body{{font:1.125rem/1.6 system-ui,sans-serif;max-width:32rem;margin:20vh auto 0;padding:0 1.5rem}}
h1{{font-size:1.75rem;line-height:1.2;margin:0 0 .5rem}}
button{{font:inherit;padding:.6em 1.2em;border-radius:.5em;border:0;background:#1f5f4a;color:#fff;cursor:pointer}}
</style></head><body><main><h1>{title}</h1><p>{text}</p>{form}</main></body></html>"#
    ))
}
