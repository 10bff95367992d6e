//! Keeps what was asked, word for word, where a test wants to look for what must not be in it.

use std::fmt::Write as _;

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    middleware::Next,
    response::Response,
};

use crate::sandbox::Sandbox;

/// No vendor's request is longer.
const LIMIT: usize = 1 << 20;

pub(super) async fn keep(State(sandbox): State<Sandbox>, request: Request, next: Next) -> Response {
    if !sandbox.inner.settings.transcript {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, LIMIT).await.unwrap_or_default();
    let mut text = format!("{} {}\n", parts.method, parts.uri);
    for (name, value) in &parts.headers {
        let _ = writeln!(text, "{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    text.push_str(&String::from_utf8_lossy(&body));
    sandbox.note(parts.uri.path().to_owned(), text);
    next.run(Request::from_parts(parts, Body::from(body))).await
}
