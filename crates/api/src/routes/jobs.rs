//! Jobs: look, cancel, retry.

use std::num::NonZeroU8;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use greenroom_model::JobId;
use greenroom_queue::{Cancelled, Failure, Filter, JobRow, Page, Status};
use serde::Deserialize;

use super::accepted;
use crate::Api;
use crate::caller::Caller;
use crate::input::{Id, Input, Nothing, Params};
use crate::problem::{BAD_QUERY, Problem};
use crate::tenant;

const DEFAULT_LIMIT: u16 = 50;
const MAX_LIMIT: u8 = 200;
/// Longer names are no queue's and no kind's.
const MAX_NAME_BYTES: usize = 200;

/// Which jobs to list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    status: Option<Status>,
    failure: Option<Failure>,
    queue: Option<String>,
    kind: Option<String>,
    /// Enqueued at this instant or later, and before that one.
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    limit: Option<NonZeroU8>,
    /// The `next` of the page before.
    after: Option<JobId>,
}

impl Wanted {
    /// Refuses what the types let through.
    fn check(&self) -> Result<(), Problem> {
        if self.limit.is_some_and(|limit| limit.get() > MAX_LIMIT) {
            return Err(Problem::new(BAD_QUERY, format!("limit: use 1 to {MAX_LIMIT}")));
        }
        for (field, name) in [("queue", &self.queue), ("kind", &self.kind)] {
            // PostgreSQL has no text with a NUL.
            if name.as_ref().is_some_and(|name| name.len() > MAX_NAME_BYTES || name.contains('\0')) {
                return Err(Problem::new(BAD_QUERY, format!("{field}: there is none of such a name")));
            }
        }
        Ok(())
    }
}

pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(wanted): Params<Wanted>,
) -> Result<Json<Page>, Problem> {
    caller.must("job.read")?;
    wanted.check()?;
    let mut conn = api.queue.pool().acquire().await?;
    let filter = Filter {
        status: wanted.status,
        failure: wanted.failure,
        queue: wanted.queue,
        kind: wanted.kind,
        since: wanted.since,
        until: wanted.until,
        users: tenant::users(&mut conn, &caller.0).await?,
        ..Filter::default()
    };
    let limit = wanted.limit.map_or(DEFAULT_LIMIT, |limit| limit.get().into());
    Ok(Json(greenroom_queue::list(&mut conn, &filter, wanted.after, limit).await?))
}

pub(super) async fn show(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<JobId>,
) -> Result<Json<JobRow>, Problem> {
    caller.must("job.read")?;
    let mut conn = api.queue.pool().acquire().await?;
    Ok(Json(tenant::job(&mut conn, &caller.0, id).await?))
}

pub(super) async fn cancel(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<JobId>,
    Input(Nothing {}): Input<Nothing>,
) -> Result<Response, Problem> {
    must_operate(&api, &caller, id, "job.cancel").await?;
    let outcome = greenroom_queue::cancel(api.queue.pool(), id).await?;
    let job = reread(&api, &caller, id).await?;
    Ok(match outcome {
        Cancelled::AtOnce => (StatusCode::OK, Json(job)).into_response(),
        Cancelled::Requested => accepted(job),
    })
}

/// Whoever may ask for the work may ask for it again.
pub(super) async fn retry(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<JobId>,
    Input(Nothing {}): Input<Nothing>,
) -> Result<Response, Problem> {
    must_operate(&api, &caller, id, "connection.sync").await?;
    greenroom_queue::retry(api.queue.pool(), id).await?;
    Ok(accepted(reread(&api, &caller, id).await?))
}

/// Refuses a stranger's job, and what the token does not cover; the house's own jobs need more.
async fn must_operate(api: &Api, caller: &Caller, id: JobId, action: &str) -> Result<(), Problem> {
    let mut conn = api.queue.pool().acquire().await?;
    let job = tenant::job(&mut conn, &caller.0, id).await?;
    caller.must(if job.user_id.is_some() { action } else { "job.operate" })
}

async fn reread(api: &Api, caller: &Caller, id: JobId) -> Result<JobRow, Problem> {
    let mut conn = api.queue.pool().acquire().await?;
    tenant::job(&mut conn, &caller.0, id).await
}
