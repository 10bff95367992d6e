//! Enqueue: rows written in the caller's own transaction, so a rolled-back request leaves no job.
//!
//! Jobs of one call that share a key become one row first, since a statement must not touch a row
//! twice. What meets no holder is inserted; what meets one changes it or leaves it, as its [`Unique`]
//! says. No holder is locked in order to be looked at: the end of a running job never waits for a
//! caller's transaction.
//!
//! Nothing is notified here. NOTIFY inside the transaction would take a lock on the whole database
//! until the commit; [`crate::Queue::wake`] does it afterwards, and the sweeper finds what nobody woke.
//!
//! [`Unique`]: crate::Unique

mod met;
mod new_job;
mod periods;
mod rows;

#[cfg(test)]
mod model;
#[cfg(test)]
mod storm;
#[cfg(test)]
mod tests;

use std::time::Duration;

use greenroom_model::JobId;
use sqlx::{Connection as _, PgConnection};

use crate::EnqueueError;
use met::{Met, fold};
pub use new_job::NewJob;
pub(crate) use periods::prune_periods;

/// How often a key that changes hands between two statements is tried again.
const ROUNDS: usize = 10;

/// A job that is in the table, and what waking it needs.
#[derive(Clone, Debug)]
pub struct Enqueued {
    /// The new job, or the one that holds the same key.
    pub id: JobId,
    /// What the call did.
    pub outcome: Outcome,
    pub(crate) queue: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) lane: Option<WakeLane>,
}

impl Enqueued {
    /// Tells whether this call made the job.
    pub fn created(&self) -> bool {
        self.outcome == Outcome::Created
    }
}

/// What an enqueue did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It made the job.
    Created,
    /// The open job with the same key stays as it is.
    Kept,
    /// The waiting job with the same key has become this one.
    Replaced,
    /// The waiting job with the same key has become this one and was put off.
    Debounced,
    /// The job with the same key runs already, so it could not be changed. Nothing was written.
    Running,
    /// The job with the same key is over, but the period of its key is not. Nothing was written.
    Over,
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

/// Writes the jobs in the caller's transaction: all of them or none, in one statement if no key is held.
///
/// A job whose unique key is held does what its [`Unique`](crate::Unique) says; the holder's id is
/// returned. Of several jobs under one key in the same call, the first is made and the others come
/// under its key. The answers stand in the order of the jobs. After the commit, call
/// [`crate::Queue::wake`].
pub async fn enqueue(conn: &mut PgConnection, jobs: &[NewJob]) -> Result<Vec<Enqueued>, EnqueueError> {
    jobs.iter().try_for_each(NewJob::check)?;
    let (writers, places) = fold(jobs);
    let met = write(conn, &writers).await?;
    Ok(met.answers(jobs, &writers, &places))
}

/// Writes the jobs, and tries again while a holder ends, begins or comes back between two statements.
///
/// A try takes its locks in order: periods, new keys, holders, each by key. So before the next try it
/// gives back what it has, or two calls could wait for each other in a circle.
async fn write(conn: &mut PgConnection, jobs: &[&NewJob]) -> Result<Met, EnqueueError> {
    let mut left = None;
    // One statement is all or nothing anyway, and a single key makes no circle.
    let by_itself = match jobs {
        [job] => job.period_secs().is_none(),
        _ => jobs.iter().all(|job| job.key.is_none()),
    };
    for _ in 0..ROUNDS {
        let mut met = Met::with_capacity(jobs.len());
        if by_itself {
            left = try_to_write(conn, jobs, &mut met).await?;
        } else {
            let mut tx = conn.begin().await?;
            left = try_to_write(&mut tx, jobs, &mut met).await?;
            if left.is_none() { tx.commit().await? } else { tx.rollback().await? }
        }
        if left.is_none() {
            return Ok(met);
        }
    }
    Err(EnqueueError::KeyInFlux { key: left.and_then(|job| job.key.clone()).unwrap_or_default() })
}

/// Writes the jobs as far as their keys keep still; returns one that is left.
async fn try_to_write<'a>(
    conn: &mut PgConnection,
    jobs: &[&'a NewJob],
    met: &mut Met,
) -> Result<Option<&'a NewJob>, sqlx::Error> {
    let free = periods::claim(conn, jobs).await?;
    rows::insert(conn, &free, met).await?;
    let mut left = jobs.to_vec();
    left.retain(|job| !met.has(job));
    if left.is_empty() {
        return Ok(None);
    }
    periods::withdraw(conn, &free, met).await?;
    rows::replace(conn, &left, met).await?;
    left.retain(|job| !met.has(job));
    rows::find_holders(conn, &left, met).await?;
    left.retain(|job| !met.has(job));
    Ok(left.first().copied())
}

/// Returns seconds that a timestamp of the database can still be moved by.
fn secs(duration: Duration) -> f64 {
    const CENTURY: f64 = 100.0 * 365.25 * 86_400.0;
    duration.as_secs_f64().min(CENTURY)
}
