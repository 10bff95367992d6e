//! Puts failed jobs back with all their attempts, at once or at a pace, and lets waiting ones run now.

use std::num::NonZeroU32;

use chrono::{DateTime, Utc};
use greenroom_model::JobId;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::filter::Status;
use super::{STATEMENT_LIMIT, wrong_state};
use crate::QueueError;
use crate::claim::timed;

/// How fast many jobs are put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// All may run at once.
    AtOnce,
    /// So many may begin in a minute: the rows say when, and no process has to stay for it.
    PerMinute(NonZeroU32),
}

impl Pace {
    /// Returns the seconds from one job to the next.
    pub(super) fn step_secs(self) -> f64 {
        match self {
            Self::AtOnce => 0.0,
            Self::PerMinute(jobs) => 60.0 / f64::from(jobs.get()),
        }
    }
}

/// When the jobs of one statement may run: the oldest at `from`, each next one a step later.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turns {
    pub(super) from: DateTime<Utc>,
    pub(super) step_secs: f64,
}

/// Puts a failed job back, with all its attempts, to run at once.
///
/// A job that waits for a later time is made to run now; one that runs or is completed is refused.
pub async fn retry(pool: &PgPool, job: JobId) -> Result<(), QueueError> {
    let once = async || {
        timed(pool, STATEMENT_LIMIT, async |conn: &mut PgConnection| {
            retry_these(conn, &[Status::Failed, Status::Pending], &[job.0], None).await
        })
        .await
    };
    let mut told = once().await;
    // Its key can be taken between the look for a holder and the update; the next look finds by whom.
    for _ in 0..10 {
        match &told {
            Err(QueueError::Database(sqlx::Error::Database(refused))) if refused.is_unique_violation() => {
                told = once().await;
            }
            _ => break,
        }
    }
    match told?.first() {
        Some(Retried { holder: None }) => Ok(()),
        Some(Retried { holder: Some(holder) }) => Err(QueueError::KeyHeld { job, holder: JobId(*holder) }),
        None => {
            Err(wrong_state(pool, job, "only a failed or a waiting job can be retried; enqueue a new one")
                .await)
        }
    }
}

/// What became of a job that was to be put back.
pub(super) struct Retried {
    /// The job, open or put back with it, that holds its unique key; then it stays where it was.
    pub(super) holder: Option<Uuid>,
}

/// Puts those of these jobs back that stand so, `failed` or `pending`: in turns, or all at once.
pub(super) async fn retry_these(
    conn: &mut PgConnection,
    statuses: &[Status],
    ids: &[Uuid],
    turns: Option<Turns>,
) -> Result<Vec<Retried>, sqlx::Error> {
    // A rank stays empty: the sweeper promotes what is due and wakes its lane.
    sqlx::query_as!(
        Retried,
        r#"
        with locked as (
            select id, unique_key from background_jobs
             where id = any($1) and status = any($2) order by id for update
        ), told as (
            select l.id,
                   -- Of several with one key the newest goes.
                   coalesce(open.id, nullif(first_value(l.id) over (partition by coalesce(l.unique_key, l.id::text)
                                                                    order by l.id desc), l.id)) as holder
              from locked l
              left join background_jobs open
                     on open.unique_key = l.unique_key and open.status in ('pending', 'running') and open.id <> l.id
        ), free as (
            select id, row_number() over (order by id) - 1 as place from told where holder is null
        ), back as (
            update background_jobs b
               set status = 'pending', failure = null, completed_at = null, cancel_requested_at = null, result = null,
                   -- One that waited for a batch, or for its kind, has waited enough.
                   held = null,
                   attempt = case when b.status = 'failed' then 0 else b.attempt end,
                   crashes = case when b.status = 'failed' then 0 else b.crashes end,
                   -- What is ready already keeps its place.
                   run_at = case when b.rank is null or b.status = 'failed'
                                 then coalesce($3::timestamptz + make_interval(secs => $4::float8 * f.place), greenroom.now())
                                 else b.run_at end,
                   rank = case when b.status = 'pending' then b.rank end,
                   updated_at = greenroom.now()
              from free f
             where b.id = f.id
        )
        select holder from told
        "#,
        ids,
        &statuses.iter().map(|status| status.as_str().to_owned()).collect::<Vec<_>>(),
        turns.map(|turns| turns.from),
        turns.map(|turns| turns.step_secs),
    )
    .fetch_all(conn)
    .await
}
