//! Cancels jobs: at once while they wait, by asking their workers while they run.

use greenroom_model::JobId;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{STATEMENT_LIMIT, wrong_state};
use crate::QueueError;
use crate::claim::timed;
use crate::listen::CANCEL_CHANNEL;

/// What a cancellation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cancelled {
    /// The job had not begun and is over.
    AtOnce,
    /// The job runs; its worker was asked to end it.
    Requested,
}

/// Cancels a job: at once while it waits, by asking its worker while it runs.
pub async fn cancel(pool: &PgPool, job: JobId) -> Result<Cancelled, QueueError> {
    let cancelled =
        timed(pool, STATEMENT_LIMIT, async |conn: &mut PgConnection| cancel_these(conn, &[job.0]).await)
            .await?;
    match cancelled.first() {
        Some((_, cancelled)) => Ok(*cancelled),
        None => Err(wrong_state(pool, job, "only a job that waits or runs can be cancelled").await),
    }
}

/// Cancels those of these jobs that are open; says which, and how.
pub(super) async fn cancel_these(
    conn: &mut PgConnection,
    ids: &[Uuid],
) -> Result<Vec<(Uuid, Cancelled)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        with open as (
            select id, status from background_jobs
             where id = any($1) and status in ('pending', 'running') order by id for update
        ), ended as (
            update background_jobs b
               set status = 'failed', failure = 'cancelled', error_message = 'cancelled by an operator', held = null,
                   cancel_requested_at = greenroom.now(), completed_at = greenroom.now(), updated_at = greenroom.now()
              from open o
             where b.id = o.id and o.status = 'pending'
            returning b.id, b.attempt
        ), asked as (
            update background_jobs b set cancel_requested_at = coalesce(b.cancel_requested_at, greenroom.now())
              from open o
             where b.id = o.id and o.status = 'running'
        ), noted as (
            insert into greenroom.attempts (job_id, attempt, outcome, error)
            select id, attempt, 'cancelled', 'cancelled by an operator while it waited' from ended
        )
        select id, status = 'running' as "runs!", case when status = 'running' then pg_notify($2, id::text) end as told
          from open
        "#,
        ids,
        CANCEL_CHANNEL,
    )
    .fetch_all(conn)
    .await?;
    let how = |runs| if runs { Cancelled::Requested } else { Cancelled::AtOnce };
    Ok(rows.into_iter().map(|row| (row.id, how(row.runs))).collect())
}
