//! What people do with jobs: look, cancel, retry.

use chrono::{DateTime, Utc};
use greenroom_model::{JobId, UserId};
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::QueueError;
use crate::listen::CANCEL_CHANNEL;

/// A job as people see it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct JobRow {
    /// Its id.
    pub id: JobId,
    /// The user whose job it is.
    pub user_id: Option<UserId>,
    /// Its kind.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// `pending`, `running`, `completed` or `failed`.
    pub status: String,
    /// Why it failed: `exhausted`, `discarded`, `cancelled` or `quarantined`.
    pub failure: Option<String>,
    /// What it was asked to do.
    pub payload: Value,
    /// What it reported.
    pub result: Option<Value>,
    /// How far it is, if it says.
    pub progress: Option<Value>,
    /// The last error, or why it waits.
    pub error_message: Option<String>,
    /// Attempts that counted so far.
    pub attempt: i16,
    /// Attempts there are.
    pub max_attempts: i16,
    /// From 0 (first) to 9 (last).
    pub priority: i16,
    /// When it may run.
    pub run_at: DateTime<Utc>,
    /// When it was last begun.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub completed_at: Option<DateTime<Utc>>,
    /// When it was enqueued.
    pub created_at: DateTime<Utc>,
    /// Whether somebody wants it to end.
    pub cancel_requested: bool,
}

/// Which jobs to list; what is `None` does not restrict.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The status.
    pub status: Option<String>,
    /// The queue.
    pub queue: Option<String>,
    /// The kind.
    pub kind: Option<String>,
    /// The users whose jobs may be seen.
    pub users: Option<Vec<UserId>>,
}

/// A page of a list, newest first.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Page {
    /// The jobs.
    pub jobs: Vec<JobRow>,
    /// Where the next page begins, if there is one.
    pub next: Option<JobId>,
}

/// Lists jobs, newest first, after the given one.
pub async fn list(
    conn: &mut PgConnection,
    filter: &Filter,
    after: Option<JobId>,
    limit: u16,
) -> Result<Page, QueueError> {
    let users = filter.users.as_ref().map(|users| users.iter().map(|user| user.0).collect::<Vec<Uuid>>());
    let mut jobs = sqlx::query_as!(
        JobRow,
        r#"
        select id as "id: JobId", user_id as "user_id: UserId", job_type as kind, queue, status, failure, payload,
               result, progress, error_message, attempt, max_attempts, priority, run_at, started_at, completed_at,
               created_at, cancel_requested_at is not null as "cancel_requested!"
          from background_jobs
         where ($1::uuid is null or id < $1)
           and ($2::text is null or status = $2)
           and ($3::text is null or queue = $3)
           and ($4::text is null or job_type = $4)
           and ($5::uuid[] is null or user_id = any($5))
         order by id desc
         limit $6
        "#,
        after.map(|id| id.0),
        filter.status,
        filter.queue,
        filter.kind,
        users.as_deref(),
        i64::from(limit) + 1,
    )
    .fetch_all(conn)
    .await?;
    let more = jobs.len() > usize::from(limit);
    jobs.truncate(usize::from(limit));
    let next = jobs.last().filter(|_| more).map(|job| job.id);
    Ok(Page { jobs, next })
}

/// Returns one job.
pub async fn show(conn: &mut PgConnection, job: JobId) -> Result<JobRow, QueueError> {
    sqlx::query_as!(
        JobRow,
        r#"
        select id as "id: JobId", user_id as "user_id: UserId", job_type as kind, queue, status, failure, payload,
               result, progress, error_message, attempt, max_attempts, priority, run_at, started_at, completed_at,
               created_at, cancel_requested_at is not null as "cancel_requested!"
          from background_jobs where id = $1
        "#,
        job.0,
    )
    .fetch_optional(conn)
    .await?
    .ok_or(QueueError::NotFound(job))
}

/// An attempt that did not simply succeed.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Attempt {
    /// Which attempt it was, as counted afterwards.
    #[serde(rename = "attempt")]
    pub number: i16,
    /// How it ended.
    pub outcome: String,
    /// What went wrong.
    pub error: Option<String>,
    /// The worker that ran it.
    pub worker_id: Option<Uuid>,
    /// When it began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
}

/// Returns a job's attempts that did not simply succeed, oldest first.
pub async fn attempts(conn: &mut PgConnection, job: JobId) -> Result<Vec<Attempt>, QueueError> {
    Ok(sqlx::query_as!(
        Attempt,
        "select attempt as number, outcome, error, worker_id, started_at, finished_at
           from greenroom.attempts where job_id = $1 order by id",
        job.0,
    )
    .fetch_all(conn)
    .await?)
}

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
    let mut tx = pool.begin().await?;
    let row = sqlx::query!("select status from background_jobs where id = $1 for update", job.0)
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(QueueError::NotFound(job))?;
    let outcome = match row.status.as_str() {
        "pending" => {
            sqlx::query!(
                r#"
                with ended as (
                    update background_jobs
                       set status = 'failed', failure = 'cancelled', error_message = 'cancelled by an operator',
                           cancel_requested_at = greenroom.now(), completed_at = greenroom.now(), updated_at = greenroom.now()
                     where id = $1
                    returning id, attempt
                )
                insert into greenroom.attempts (job_id, attempt, outcome, error)
                select id, attempt, 'cancelled', 'cancelled by an operator while it waited' from ended
                "#,
                job.0
            )
            .execute(&mut *tx)
            .await?;
            Cancelled::AtOnce
        }
        "running" => {
            sqlx::query!(
                "update background_jobs set cancel_requested_at = coalesce(cancel_requested_at, greenroom.now())
                  where id = $1",
                job.0
            )
            .execute(&mut *tx)
            .await?;
            sqlx::query!("select pg_notify($1, $2)", CANCEL_CHANNEL, job.to_string())
                .execute(&mut *tx)
                .await?;
            Cancelled::Requested
        }
        status => {
            let advice = "only a job that waits or runs can be cancelled";
            return Err(QueueError::WrongState { job, status: status.to_owned(), advice });
        }
    };
    tx.commit().await?;
    Ok(outcome)
}

/// Puts a failed job back, with all its attempts, to run at once.
///
/// A job that waits for a later time is made to run now; one that runs or is completed is refused.
pub async fn retry(pool: &PgPool, job: JobId) -> Result<(), QueueError> {
    // Its key can be taken between the look for a holder and the update; the next look finds who did.
    for _ in 0..10 {
        match retry_once(pool, job).await {
            Err(QueueError::Database(sqlx::Error::Database(refused))) if refused.is_unique_violation() => {}
            answer => return answer,
        }
    }
    retry_once(pool, job).await
}

async fn retry_once(pool: &PgPool, job: JobId) -> Result<(), QueueError> {
    let mut tx = pool.begin().await?;
    let row = sqlx::query!("select status, unique_key from background_jobs where id = $1 for update", job.0)
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(QueueError::NotFound(job))?;
    if !matches!(row.status.as_str(), "failed" | "pending") {
        let advice = "only a failed or a waiting job can be retried; enqueue a new one";
        return Err(QueueError::WrongState { job, status: row.status, advice });
    }
    if row.status == "failed" {
        let holder = sqlx::query_scalar!(
            r#"select id as "id: JobId" from background_jobs
                where unique_key = $1 and status in ('pending', 'running') and unique_key is not null"#,
            row.unique_key,
        )
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(holder) = holder {
            return Err(QueueError::KeyHeld { job, holder });
        }
    }
    // The rank stays empty: the sweeper promotes it and wakes its lane, as with everything due.
    sqlx::query!(
        r#"
        update background_jobs
           set status = 'pending', failure = null, completed_at = null, cancel_requested_at = null, result = null,
               attempt = case when status = 'failed' then 0 else attempt end,
               crashes = case when status = 'failed' then 0 else crashes end,
               -- One that waited for a batch has waited enough.
               held = null, run_at = greenroom.now(), rank = null, updated_at = greenroom.now()
         where id = $1
        "#,
        job.0
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}
