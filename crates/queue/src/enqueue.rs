//! Enqueue: rows written in the caller's own transaction, so a rolled-back request leaves no job.
//!
//! Nothing is notified here. NOTIFY inside the transaction would take a lock on the whole database
//! until the commit; [`crate::Queue::wake`] does it afterwards, and the sweeper finds what nobody woke.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use greenroom_model::{JobId, UserId};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{EnqueueError, Job, Lane, TraceParent};

/// The most bytes a payload may have as JSON text.
pub(crate) const PAYLOAD_LIMIT: usize = 64 * 1024;

/// The lanes that jobs without a lane of their own are spread over.
const STRIPES: u8 = 8;

/// A job about to be enqueued.
#[derive(Clone, Debug)]
pub struct NewJob {
    id: JobId,
    kind: &'static str,
    payload: Value,
    queue: &'static str,
    pool: &'static str,
    lane_key: String,
    lane_cap: Option<i32>,
    priority: i16,
    max_attempts: i16,
    unique_key: Option<String>,
    user: Option<UserId>,
    run_at: Option<DateTime<Utc>>,
    trace: Option<TraceParent>,
}

impl NewJob {
    /// Reads everything about the job from its declaration.
    pub fn of<J: Job>(job: &J) -> Result<Self, EnqueueError> {
        let payload =
            serde_json::to_value(job).map_err(|source| EnqueueError::Payload { kind: J::KIND, source })?;
        let id = JobId::new();
        let (lane_key, lane_cap) = match J::POLICY.lane {
            Lane::Shared => (stripe(id.0), None),
            Lane::Keyed { field, cap } => {
                let key = payload
                    .get(field)
                    .and_then(Value::as_str)
                    .ok_or_else(|| EnqueueError::NoLane { kind: J::KIND.to_owned(), field })?;
                (format!("{field}:{key}"), Some(i32::from(cap)))
            }
        };
        Ok(Self {
            id,
            kind: J::KIND,
            payload,
            queue: J::POLICY.queue,
            pool: J::POLICY.pool,
            lane_key,
            lane_cap,
            priority: i16::from(J::POLICY.priority),
            max_attempts: i16::try_from(J::POLICY.max_attempts).unwrap_or(i16::MAX),
            // A key is a promise of one kind; kinds do not shut each other out.
            unique_key: job.key().map(|key| format!("{}:{key}", J::KIND)),
            user: None,
            run_at: None,
            trace: TraceParent::current(),
        })
    }

    /// Names the user whose job it is; it goes when the user goes.
    #[must_use]
    pub fn for_user(mut self, user: UserId) -> Self {
        self.user = Some(user);
        self
    }

    /// Sets the instant before which it does not run.
    #[must_use]
    pub fn at(mut self, instant: DateTime<Utc>) -> Self {
        self.run_at = Some(instant);
        self
    }

    /// Sets who asks for it, where that is not the request or the attempt that runs here.
    #[must_use]
    pub fn trace(mut self, trace: TraceParent) -> Self {
        self.trace = Some(trace);
        self
    }

    /// Overrides the policy's priority, from 0 (first) to 9 (last).
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = i16::from(priority.min(9));
        self
    }

    /// Overrides the unique key, which is kept apart by kind.
    #[must_use]
    pub fn unique(mut self, key: &str) -> Self {
        self.unique_key = Some(format!("{}:{key}", self.kind));
        self
    }
}

/// Picks a stripe by an id's random bits, as the insert trigger does.
fn stripe(id: Uuid) -> String {
    format!("stripe:{}", id.as_bytes()[15] % STRIPES)
}

/// A job that is in the table, and what waking it needs.
#[derive(Clone, Debug)]
pub struct Enqueued {
    /// The new job, or the open one that holds the same key.
    pub id: JobId,
    /// Whether this call made it.
    pub created: bool,
    pub(crate) queue: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) lane: Option<WakeLane>,
}

/// A lane to wake, with what makes its row when it is new.
#[derive(Clone, Debug)]
pub(crate) struct WakeLane {
    pub id: i64,
    pub queue: String,
    pub pool: String,
    pub key: String,
    pub cap: Option<i32>,
    pub rank: i64,
}

/// Writes the jobs in the caller's transaction, in one statement for one or many.
///
/// A job whose unique key is held by an open job is not written; that job's id is returned in its
/// place. The answers stand in the order of the jobs. After the commit, call [`crate::Queue::wake`].
pub async fn enqueue(conn: &mut PgConnection, jobs: &[NewJob]) -> Result<Vec<Enqueued>, EnqueueError> {
    jobs.iter().try_for_each(check)?;
    let mut answers: HashMap<JobId, Enqueued> = HashMap::with_capacity(jobs.len());
    let mut left: Vec<&NewJob> = jobs.iter().collect();
    // A key's holder can end between the insert that meets it and the look for it; then the insert
    // is tried once more. Three rounds outlast any honest race.
    for _ in 0..3 {
        insert(conn, &left, &mut answers).await?;
        left.retain(|job| !answers.contains_key(&job.id));
        if left.is_empty() {
            break;
        }
        find_holders(conn, &left, &mut answers).await?;
        left.retain(|job| !answers.contains_key(&job.id));
        if left.is_empty() {
            break;
        }
    }
    if let Some(job) = left.first() {
        return Err(EnqueueError::KeyInFlux { key: job.unique_key.clone().unwrap_or_default() });
    }
    Ok(jobs.iter().filter_map(|job| answers.remove(&job.id)).collect())
}

fn check(job: &NewJob) -> Result<(), EnqueueError> {
    let text = job.payload.to_string();
    if text.len() > PAYLOAD_LIMIT {
        let kind = job.kind.to_owned();
        return Err(EnqueueError::PayloadTooLarge { kind, bytes: text.len(), limit: PAYLOAD_LIMIT });
    }
    if text.contains("\\u0000") && has_nul(&job.payload) {
        return Err(EnqueueError::Nul { kind: job.kind.to_owned() });
    }
    Ok(())
}

/// Tells whether a text or a key anywhere in the value holds a NUL.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        _ => false,
    }
}

async fn insert(
    conn: &mut PgConnection,
    jobs: &[&NewJob],
    answers: &mut HashMap<JobId, Enqueued>,
) -> Result<(), sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        -- Jobs of one statement share an instant, so their position tells their order in the lane.
        insert into background_jobs
               (id, user_id, job_type, payload, queue, pool, lane, priority, max_attempts, unique_key, run_at, trace, rank)
        select g.id, g.user_id, g.kind, g.payload, g.queue, g.pool, greenroom.lane_id(g.queue, g.pool, g.lane_key),
               g.priority, g.max_attempts, g.unique_key, coalesce(g.run_at, t.instant), g.trace,
               case when g.run_at is null or g.run_at <= t.instant
                    then greenroom.job_rank(coalesce(g.run_at, t.instant), g.priority) + g.position end
          from (select greenroom.now() as instant) t
         cross join unnest($1::uuid[], $2::uuid[], $3::text[], $4::jsonb[], $5::text[], $6::text[],
                           $7::int2[], $8::int2[], $9::text[], $10::timestamptz[], $11::text[], $12::text[]) with ordinality
               as g (id, user_id, kind, payload, queue, lane_key, priority, max_attempts, unique_key, run_at, pool, trace, position)
        on conflict (unique_key) where status in ('pending', 'running') and unique_key is not null do nothing
        returning id as "id: JobId", lane, rank
        "#,
        &jobs.iter().map(|j| j.id.0).collect::<Vec<_>>(),
        &jobs.iter().map(|j| j.user.map(|u| u.0)).collect::<Vec<_>>() as &[Option<Uuid>],
        &jobs.iter().map(|j| j.kind.to_owned()).collect::<Vec<_>>(),
        &jobs.iter().map(|j| j.payload.clone()).collect::<Vec<_>>(),
        &jobs.iter().map(|j| j.queue.to_owned()).collect::<Vec<_>>(),
        &jobs.iter().map(|j| j.lane_key.clone()).collect::<Vec<_>>(),
        &jobs.iter().map(|j| j.priority).collect::<Vec<_>>(),
        &jobs.iter().map(|j| j.max_attempts).collect::<Vec<_>>(),
        &jobs.iter().map(|j| j.unique_key.clone()).collect::<Vec<_>>() as &[Option<String>],
        &jobs.iter().map(|j| j.run_at).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &jobs.iter().map(|j| j.pool.to_owned()).collect::<Vec<_>>(),
        &jobs.iter().map(|j| j.trace.map(|trace| trace.to_string())).collect::<Vec<_>>() as &[Option<String>],
    )
    .fetch_all(conn)
    .await?;

    let by_id: HashMap<JobId, &NewJob> = jobs.iter().map(|job| (job.id, *job)).collect();
    for row in rows {
        let Some(job) = by_id.get(&row.id) else { continue };
        let lane = row.rank.map(|rank| WakeLane {
            id: row.lane,
            queue: job.queue.to_owned(),
            pool: job.pool.to_owned(),
            key: job.lane_key.clone(),
            cap: job.lane_cap,
            rank,
        });
        let (queue, kind) = (job.queue, job.kind);
        answers.insert(row.id, Enqueued { id: row.id, created: true, queue, kind, lane });
    }
    Ok(())
}

async fn find_holders(
    conn: &mut PgConnection,
    jobs: &[&NewJob],
    answers: &mut HashMap<JobId, Enqueued>,
) -> Result<(), sqlx::Error> {
    let keys: Vec<String> = jobs.iter().filter_map(|job| job.unique_key.clone()).collect();
    let rows = sqlx::query!(
        r#"
        select id as "id: JobId", unique_key as "unique_key!"
          from background_jobs
         where unique_key = any($1) and status in ('pending', 'running') and unique_key is not null
        "#,
        &keys
    )
    .fetch_all(conn)
    .await?;
    let holders: HashMap<String, JobId> = rows.into_iter().map(|row| (row.unique_key, row.id)).collect();
    for job in jobs {
        if let Some(holder) = job.unique_key.as_ref().and_then(|key| holders.get(key)) {
            let (queue, kind) = (job.queue, job.kind);
            answers.insert(job.id, Enqueued { id: *holder, created: false, queue, kind, lane: None });
        }
    }
    Ok(())
}
