//! Whether this process lives, whether it should get requests, and what it has counted.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::Api;
use crate::problem::{DRAINING, NO_DATABASE, NO_SCHEMA, Problem};

/// A probe that waits longer than this is answered no.
const PATIENCE: Duration = Duration::from_secs(2);

/// Says that the process lives; asks nobody, since a restart heals no database.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({"status": "alive"}))
}

/// Says whether requests should come here.
pub(super) async fn ready(
    State(api): State<Api>,
    draining: CancellationToken,
) -> Result<Json<Value>, Problem> {
    if draining.is_cancelled() {
        return Err(Problem::new(DRAINING, "send requests to another process"));
    }
    let error = match timeout(PATIENCE, greenroom_postgres::is_current(api.queue.pool())).await {
        Ok(Ok(true)) => return Ok(Json(json!({"status": "ready"}))),
        Ok(Ok(false) | Err(greenroom_postgres::Error::OtherSchema { .. })) => {
            return Err(Problem::new(NO_SCHEMA, "run `greenroom migrate` of this release"));
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it took too long".to_owned(),
    };
    warn!(error, "The database does not answer");
    Err(Problem::new(NO_DATABASE, "check DATABASE_URL and that the server runs"))
}

/// Tells what this process has counted, in Prometheus' text form.
pub(super) async fn metrics(State(api): State<Api>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], api.metrics.render())
}
