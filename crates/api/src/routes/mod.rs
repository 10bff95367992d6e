//! The routes, and what stands around all of them.

mod connections;
mod consents;
mod credits;
mod interactions;
mod jobs;
mod oauth;
mod standing;
mod unsubscribe;
mod webhooks;
mod youtube;

use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router, middleware};
use greenroom_queue::JobRow;

use crate::Api;
use crate::input::MAX_BODY_BYTES;
use crate::problem::{BAD_METHOD, NOT_FOUND, Problem};
use crate::watch::watch;

/// Returns the routes.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/v1/youtube/connections/{id}/sync", post(youtube::sync))
        .route("/v1/oauth/{platform}/authorize", post(oauth::authorize))
        .route("/v1/oauth/{platform}/complete", post(oauth::complete))
        .route("/oauth/{platform}/start", get(oauth::start))
        .route("/oauth/{platform}/callback", get(oauth::callback))
        .route("/v1/connections", get(connections::list))
        .route("/v1/connections/{id}", get(connections::show).delete(connections::disconnect))
        .route("/v1/users/{id}/credits", get(credits::balance))
        .route("/v1/users/{id}/credits/events", get(credits::events))
        .route("/v1/users/{id}/credits/grants", post(credits::grant))
        .route("/v1/credits/events/{id}/refund", post(credits::refund))
        .route("/v1/credits/prices", get(credits::list_prices))
        .route("/v1/interactions", get(interactions::list))
        .route("/v1/interactions/bulk", post(interactions::change_many))
        .route("/v1/interactions/views", get(interactions::list_views).post(interactions::create_view))
        .route(
            "/v1/interactions/views/{id}",
            put(interactions::replace_view).delete(interactions::delete_view),
        )
        .route("/v1/interactions/vips", get(interactions::list_vips))
        .route(
            "/v1/interactions/vips/{platform}/{author}",
            put(interactions::add_vip).delete(interactions::remove_vip),
        )
        .route("/v1/interactions/{id}", get(interactions::show).patch(interactions::change))
        .route(
            "/v1/users/{id}/consents/{purpose}",
            get(consents::show).put(consents::give).delete(consents::withdraw),
        )
        .route("/v1/users/{id}/standing", get(standing::show))
        .route("/v1/users/{id}/waitlist", put(standing::join_waitlist))
        .route("/v1/users/{id}/early-access", put(standing::grant_early_access))
        .route("/v1/users/{id}/marketing", put(standing::opt_in).delete(standing::opt_out))
        .route(
            "/v1/users/{id}/trial",
            post(standing::start_trial).patch(standing::extend_trial).delete(standing::end_trial),
        )
        .route("/v1/users/{id}/subscription", put(standing::subscribe).delete(standing::cancel))
        .route(
            "/webhooks/email/{provider}",
            post(webhooks::email).layer(DefaultBodyLimit::max(webhooks::MAX_BYTES)),
        )
        .route("/u/{token}", get(unsubscribe::ask).post(unsubscribe::leave))
        .route("/u/{token}/resubscribe", post(unsubscribe::come_back))
        .route("/v1/jobs", get(jobs::list))
        .route("/v1/jobs/{id}", get(jobs::show))
        .route("/v1/jobs/{id}/cancel", post(jobs::cancel))
        .route("/v1/jobs/{id}/retry", post(jobs::retry))
        .merge(api.probes.routes())
        .fallback(async || Problem::new(NOT_FOUND, "there is no such path: check it, and its version"))
        .method_not_allowed_fallback(async || {
            Problem::new(BAD_METHOD, "use a method that the header Allow names")
        })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(api.clone(), watch))
        .with_state(api)
}

/// Where a job is.
fn location(job: &JobRow) -> [(header::HeaderName, String); 1] {
    [(header::LOCATION, format!("/v1/jobs/{}", job.id))]
}

/// Says that the work will be done, and where to look.
fn accepted(job: JobRow) -> Response {
    (StatusCode::ACCEPTED, location(&job), Json(job)).into_response()
}
