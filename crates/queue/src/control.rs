//! What people do with jobs: look, retry, cancel and delete, one or many; and see what fails alike.
//!
//! A [`Filter`] says which jobs, for a list as for what is done to many. Nothing here is on a worker's path.

mod bulk;
mod cancel;
mod failures;
mod filter;
mod look;
mod retry;
mod rows;
#[cfg(test)]
mod tests;

use std::time::Duration;

use greenroom_model::JobId;
use sqlx::PgPool;

use crate::QueueError;

pub use bulk::{Act, BulkOutcome, Skip, cancel_all, count_all, delete_all, retry_all};
pub use cancel::{Cancelled, cancel};
pub use failures::{Group, Redrive, failures, plan_redrive, redrive};
pub use filter::{Failure, Filter, NoSuchWord, PayloadValue, Status};
pub use look::{Count, attempts, count, list, show};
pub use retry::{Pace, retry};
pub use rows::{Attempt, JobRow, Page};

/// The limit of a statement that changes jobs.
const STATEMENT_LIMIT: Duration = Duration::from_secs(10);

/// Says why nothing could be done to a job.
async fn wrong_state(pool: &PgPool, job: JobId, advice: &'static str) -> QueueError {
    match sqlx::query_scalar!("select status from background_jobs where id = $1", job.0)
        .fetch_optional(pool)
        .await
    {
        Ok(Some(status)) => QueueError::WrongState { job, status, advice },
        Ok(None) => QueueError::NotFound(job),
        Err(error) => error.into(),
    }
}
