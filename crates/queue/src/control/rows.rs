//! Jobs and attempts as people see them.

use chrono::{DateTime, Utc};
use greenroom_model::{JobId, UserId};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Fingerprint;

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
    /// The outside budget it draws on; empty where there is none.
    pub pool: String,
    /// The key of its lane, once that exists.
    pub lane: Option<String>,
    /// `pending`, `running`, `completed` or `failed`.
    pub status: String,
    /// Why it is set aside: `kind` (its kind is paused) or `batch` (that batch is not over).
    pub held: Option<String>,
    /// Why it failed: `exhausted`, `discarded`, `cancelled` or `quarantined`.
    pub failure: Option<String>,
    /// The group it belongs to by its last failure for good.
    pub fingerprint: Option<Fingerprint>,
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
    /// The batch it belongs to.
    pub batch: Option<Uuid>,
    /// The batch whose end it waits for.
    pub after_batch: Option<Uuid>,
    /// The worker that runs it, or ran it last.
    pub worker_id: Option<Uuid>,
    /// Until when its worker holds it, unless the lease is renewed.
    pub leased_until: Option<DateTime<Utc>>,
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

/// A page of a list, newest first.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Page {
    /// The jobs.
    pub jobs: Vec<JobRow>,
    /// Where the next page begins, if there is one.
    pub next: Option<JobId>,
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
    /// The group of what failed alike.
    pub fingerprint: Option<Fingerprint>,
    /// The worker that ran it.
    pub worker_id: Option<Uuid>,
    /// When it began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
}

/// Reads the jobs of these ids, newest first.
pub(super) async fn read(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<JobRow>, sqlx::Error> {
    sqlx::query_as!(
        JobRow,
        r#"
        select b.id as "id: JobId", b.user_id as "user_id: UserId", b.job_type as kind, b.queue, b.pool,
               l.key as "lane?", b.status, b.held, b.failure, b.fingerprint as "fingerprint: Fingerprint",
               b.payload, b.result, b.progress, b.error_message, b.attempt, b.max_attempts, b.priority,
               b.batch, b.after_batch, b.worker_id, b.leased_until, b.run_at, b.started_at, b.completed_at,
               b.created_at, b.cancel_requested_at is not null as "cancel_requested!"
          from background_jobs b left join greenroom.lanes l on l.id = b.lane
         where b.id = any($1)
         order by b.id desc
        "#,
        ids,
    )
    .fetch_all(conn)
    .await
}
