//! Claim: takes jobs of a queue for one worker, under a random fence.

use std::time::Duration;

use greenroom_model::{JobId, UserId};
use serde_json::value::RawValue;
use sqlx::postgres::types::PgInterval;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;
use uuid::Uuid;

use crate::breaker::Breaker;
use crate::pace::Pace;
use crate::{QueueError, Scope};

/// A job this process holds.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    pub id: JobId,
    pub kind: String,
    pub queue: String,
    pub pool: String,
    pub lane: i64,
    /// Whether the lane may be full: then the end of a job has to wake it.
    pub capped: bool,
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
    pub probes: Option<Breaker>,
    /// The fence: a statement that carries another token changes nothing.
    pub token: i64,
    /// When the lease ends, on this process's own monotonic clock: never later than the database's.
    pub lease_ends: Instant,
}

impl Claimed {
    /// Returns the breaker that a failure of this scope trips. A stripe has none, since its jobs have
    /// nothing in common.
    pub(crate) fn breaker(&self, scope: Scope) -> Option<Breaker> {
        match scope {
            Scope::Pool if !self.pool.is_empty() => Some(Breaker::Pool(self.pool.clone())),
            Scope::Pool | Scope::Lane => (self.lane > 0).then_some(Breaker::Lane(self.lane)),
        }
    }
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

/// Jobs of one queue that draw on one pool: what a claim takes from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Track {
    pub queue: String,
    /// Empty where the jobs draw on none.
    pub pool: String,
    /// The virtual time below which the last claim saw no lane that was awake.
    pub floor: f64,
    /// The lowest of lanes that woke since that claim began.
    pub woken: f64,
    /// When it may be looked at without the floor.
    pub walks: Pace,
}

impl Track {
    pub(crate) fn new(queue: &str, pool: &str) -> Self {
        Self {
            queue: queue.to_owned(),
            pool: pool.to_owned(),
            floor: f64::NEG_INFINITY,
            woken: f64::INFINITY,
            walks: Pace::default(),
        }
    }
}

/// What a claim brought.
#[derive(Debug)]
pub(crate) struct Claims {
    pub jobs: Vec<Claimed>,
    /// The lowest virtual time among the lanes it saw; that from which it looked, where it took nothing.
    pub floor: f64,
}

/// Takes up to `slots` jobs of a track. Which ones, and why in several statements: `greenroom.claim`.
///
/// Kinds in `foreign` are passed over: another release knows them.
///
/// `floor` spares the scan of lanes the dead entries that they leave behind as they move on. A lane that
/// comes back below it is overlooked, so whoever gives one must look without it now and then.
pub(crate) async fn claim(
    conn: &mut PgConnection,
    track: &Track,
    worker: Uuid,
    slots: u32,
    lease: Duration,
    floor: f64,
    foreign: &[String],
) -> Result<Claims, sqlx::Error> {
    let token: i64 = rand::random();
    // Taken before the statement: the lease in the database begins later, so it ends later.
    let lease_ends = Instant::now() + lease;
    let rows = sqlx::query!(
        r#"
        select id as "id!: JobId", kind as "kind!", lane as "lane!", capped as "capped!", user_id as "user: UserId",
               payload as "payload!: Json<Box<RawValue>>", attempt as "attempt!", max_attempts as "max_attempts!",
               checkpoint, cancel_requested as "cancel_requested!", trace, probes,
               floor as "floor!", waited_secs as "waited_secs!"
          from greenroom.claim($1, $2, $3, $4, $5, $6, $7, $8)
        "#,
        track.queue,
        track.pool,
        worker,
        i32::try_from(slots).unwrap_or(i32::MAX),
        token,
        interval(lease),
        floor,
        foreign,
    )
    .fetch_all(conn)
    .await?;
    let floor = rows.first().map_or(floor, |row| row.floor);
    let jobs = rows.into_iter().map(|row| Claimed {
        id: row.id,
        kind: row.kind,
        queue: track.queue.clone(),
        pool: track.pool.clone(),
        lane: row.lane,
        capped: row.capped,
        user: row.user,
        payload: row.payload.0,
        attempt: row.attempt,
        max_attempts: row.max_attempts,
        checkpoint: row.checkpoint,
        cancel_requested: row.cancel_requested,
        trace: row.trace,
        waited_secs: row.waited_secs,
        probes: row.probes.map(|scope| match scope.as_str() {
            "pool" => Breaker::Pool(track.pool.clone()),
            _ => Breaker::Lane(row.lane),
        }),
        token,
        lease_ends,
    });
    Ok(Claims { jobs: jobs.collect(), floor })
}
