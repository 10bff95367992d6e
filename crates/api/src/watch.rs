//! What happens to every request: an id, a trace, a limit of time, a line in the log, a count.
//!
//! The log has the route's pattern and never the path, the query or a header as they came.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
use greenroom_queue::TraceParent;
use tokio::time::timeout;
use tracing::{Instrument as _, error, field, info, info_span};
use uuid::Uuid;

use crate::Api;
use crate::problem::{INTERNAL, Problem, TIMED_OUT};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Longer ids of callers are replaced by ours.
const MAX_ID_BYTES: usize = 64;

/// Answers a request under an id of its own, whatever happens.
pub(crate) async fn watch(State(api): State<Api>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = name(request.method());
    let id = request_id(request.headers());
    let caller = traceparent(request.headers());
    // It goes on in the caller's trace, or begins one; what it enqueues carries it.
    let trace = caller.map_or_else(TraceParent::root, TraceParent::child);
    let span = info_span!(
        "request",
        request.id = %id,
        trace.id = %trace.trace_id(),
        span.id = %trace.span_id(),
        span.parent = caller.map(|caller| field::display(caller.span_id())),
        method,
        route,
        status = field::Empty,
        token.id = field::Empty,
        error = field::Empty,
    );
    let begun = Instant::now();
    let mut response = trace.scope(answer(&api, request, next)).instrument(span.clone()).await;

    let (status, secs) = (response.status().as_u16(), begun.elapsed().as_secs_f64());
    span.record("status", status);
    if response.status().is_server_error() {
        span.record("error", response.status().canonical_reason().unwrap_or("failed"));
    }
    // Probes come every second and say nothing new.
    if route.starts_with("/v1/") || route == "none" || response.status().is_server_error() {
        info!(parent: &span, status, secs, "Answered");
    }
    metrics::histogram!("greenroom_http_request_seconds", "route" => route.clone()).record(secs);
    metrics::counter!("greenroom_http_requests_total",
        "route" => route, "method" => method, "status" => status.to_string())
    .increment(1);
    let headers = response.headers_mut();
    headers.extend(HeaderValue::from_str(&id).ok().map(|id| (REQUEST_ID, id)));
    // Answers belong to one tenant and are old at once.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn answer(api: &Api, request: Request, next: Next) -> Response {
    let guarded = AssertUnwindSafe(next.run(request)).catch_unwind();
    match timeout(api.settings.request_timeout(), guarded).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            error!("A request met a panic");
            Problem::new(INTERNAL, "the error was logged under the request's id: tell the operators that id")
                .into_response()
        }
        // A transaction that was begun is rolled back; one that was committed is met again under its key.
        Err(_) => Problem::try_again(TIMED_OUT, "try again: work that is already open is not opened twice")
            .into_response(),
    }
}

/// Takes the caller's id if it is fit for a log, or makes one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let fits = |id: &&str| {
        (1..=MAX_ID_BYTES).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
            // Whoever sends a token in the wrong header should not find it in our log.
            && !id.starts_with("gr_")
    };
    given.filter(fits).map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

/// Returns where in a trace the caller stands, if it says so.
fn traceparent(headers: &HeaderMap) -> Option<TraceParent> {
    headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()?.parse().ok())
}

/// Names a method; clients may invent others, and each would be a series of its own.
fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
