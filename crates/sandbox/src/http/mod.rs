//! The routes: the vendors' own paths, and `/_sandbox` for whoever scripts the sandbox.

mod control;
mod llm;
mod oauth;
pub(crate) mod resend;
mod transcript;
mod vendor;

use axum::{
    Router,
    body::Bytes,
    extract::{RawQuery, State},
    middleware,
    routing::{get, post},
};
use tower_http::compression::{CompressionLayer, CompressionLevel};

use crate::{endpoint::Endpoint, google::refusal::Refusal, sandbox::Sandbox};

pub(crate) fn router(sandbox: &Sandbox) -> Router {
    let list = |endpoint| get(move |state, headers, query| vendor::list(state, endpoint, headers, query));
    let consent = |vendor| {
        get(move |State(sandbox): State<Sandbox>, RawQuery(query): RawQuery| {
            oauth::ask(sandbox, vendor, query)
        })
        .post(move |State(sandbox): State<Sandbox>, form: Bytes| oauth::answer(sandbox, vendor, form))
    };
    // The strongest compression would cost more time than everything else here.
    let gzip = CompressionLayer::new().quality(CompressionLevel::Fastest);
    Router::new()
        .route("/token", post(vendor::token))
        .route("/revoke", post(vendor::revoke))
        .route("/o/oauth2/v2/auth", consent(oauth::Vendor::Google))
        .route("/oauth/authorize", consent(oauth::Vendor::Instagram))
        .route("/oauth/access_token", post(oauth::instagram_redeem))
        .route("/access_token", get(oauth::instagram_exchange))
        .route("/refresh_access_token", get(oauth::instagram_refresh))
        .route("/v26.0/me", get(oauth::instagram_me))
        .route("/i/oauth2/authorize", consent(oauth::Vendor::Twitter))
        .route("/2/oauth2/token", post(oauth::twitter_token))
        .route("/2/oauth2/revoke", post(oauth::twitter_revoke))
        .route("/2/users/me", get(oauth::twitter_me))
        .route("/v1/chat/completions", post(llm::completions))
        .route("/v1/messages", post(llm::messages))
        .route("/emails", post(resend::send))
        .route("/domains", get(resend::domains))
        .route("/youtube/v3/channels", list(Endpoint::Channels))
        .route("/youtube/v3/playlistItems", list(Endpoint::PlaylistItems))
        .route("/youtube/v3/videos", list(Endpoint::Videos))
        .route("/youtube/v3/videos:batchGetStats", list(Endpoint::BatchGetStats))
        .route("/youtube/v3/commentThreads", list(Endpoint::CommentThreads))
        .route("/youtube/v3/comments", list(Endpoint::Comments))
        .layer(gzip)
        .layer(middleware::from_fn_with_state(sandbox.clone(), transcript::keep))
        .route("/_sandbox/faults", post(control::inject).delete(control::clear_faults))
        .route("/_sandbox/changes", post(control::change))
        .route("/_sandbox/stats", get(control::stats))
        .route("/_sandbox/totals", get(control::totals))
        .route("/_sandbox/mails", get(control::mails))
        .fallback(async || Refusal::new(404, "global", "notFound", "Not Found"))
        .with_state(sandbox.clone())
}
