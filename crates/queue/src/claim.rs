//! Claim: takes jobs of a queue for one worker, under a random fence.

use std::time::Duration;

use greenroom_model::{JobId, UserId};
use serde_json::value::RawValue;
use sqlx::postgres::types::PgInterval;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;
use uuid::Uuid;

use crate::QueueError;

/// A job this process holds.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    pub id: JobId,
    pub kind: String,
    pub queue: String,
    pub pool: String,
    pub lane: i64,
    pub user: Option<UserId>,
    pub payload: Box<RawValue>,
    pub attempt: i16,
    pub max_attempts: i16,
    pub checkpoint: Option<serde_json::Value>,
    pub cancel_requested: bool,
    /// The traceparent of whoever enqueued it.
    pub trace: Option<String>,
    /// How long it had been ready, in seconds, by the database's clock.
    pub waited_secs: f64,
    /// Whether it runs alone to try a half-open breaker.
    pub probes: Option<Scope>,
    /// The fence: a statement that carries another token changes nothing.
    pub token: i64,
    /// When the lease ends, on this process's own monotonic clock: never later than the database's.
    pub lease_ends: Instant,
}

/// Runs a statement on a connection of the pool; when it does not answer in time, the connection is
/// closed and not returned, since an answer may still come to it.
pub(crate) async fn timed<T>(
    pool: &PgPool,
    limit: Duration,
    statement: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
) -> Result<T, QueueError> {
    let expired = || QueueError::Timeout(limit.as_millis());
    let mut conn = tokio::time::timeout(limit, pool.acquire()).await.map_err(|_| expired())??;
    if let Ok(answer) = tokio::time::timeout(limit, statement(&mut conn)).await {
        return Ok(answer?);
    }
    conn.close_on_drop();
    Err(expired())
}

/// Turns a duration into PostgreSQL's interval; a longer one than it can hold becomes its longest.
pub(crate) fn interval(duration: Duration) -> PgInterval {
    let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    PgInterval { months: 0, days: 0, microseconds }
}

/// What a breaker stands before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Lane,
    Pool,
}

/// Takes up to `slots` jobs of a queue that draw on a pool. Which ones, and why in two statements: `greenroom.claim`.
pub(crate) async fn claim(
    conn: &mut PgConnection,
    queue: &str,
    pool: &str,
    worker: Uuid,
    slots: u32,
    lease: Duration,
) -> Result<Vec<Claimed>, sqlx::Error> {
    let token: i64 = rand::random();
    // Taken before the statement: the lease in the database begins later, so it ends later.
    let lease_ends = Instant::now() + lease;
    let rows = sqlx::query!(
        r#"
        select id as "id!: JobId", kind as "kind!", lane as "lane!", user_id as "user: UserId",
               payload as "payload!: Json<Box<RawValue>>", attempt as "attempt!", max_attempts as "max_attempts!",
               checkpoint, cancel_requested as "cancel_requested!", trace, probes,
               waited_secs as "waited_secs!"
          from greenroom.claim($1, $2, $3, $4, $5, $6)
        "#,
        queue,
        pool,
        worker,
        i32::try_from(slots).unwrap_or(i32::MAX),
        token,
        interval(lease),
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Claimed {
            id: row.id,
            kind: row.kind,
            queue: queue.to_owned(),
            pool: pool.to_owned(),
            lane: row.lane,
            user: row.user,
            payload: row.payload.0,
            attempt: row.attempt,
            max_attempts: row.max_attempts,
            checkpoint: row.checkpoint,
            cancel_requested: row.cancel_requested,
            trace: row.trace,
            waited_secs: row.waited_secs,
            probes: row.probes.map(|scope| if scope == "pool" { Scope::Pool } else { Scope::Lane }),
            token,
            lease_ends,
        })
        .collect())
}
