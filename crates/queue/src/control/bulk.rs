//! Does one thing to many jobs: in batches, each a short transaction of its own, and row by row where one fails.
//!
//! Batches go from the newest job to the oldest and never back, so they end, also where jobs change meanwhile.
//! What is done is done: after an interruption the same call goes on with what is left.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, PgPool};
use tracing::warn;
use uuid::Uuid;

use super::STATEMENT_LIMIT;
use super::cancel::{Cancelled, cancel_these};
use super::filter::{Filter, Status};
use super::look::{Count, count, count_after, page, search};
use super::retry::{Pace, Turns, retry_these};
use crate::QueueError;
use crate::claim::timed;

/// The most jobs of one statement.
const BATCH: usize = 500;
/// The most ids of one search. More than a batch, since a search may have to sort all it finds.
const FOUND: usize = 10_000;

/// What can be done to many jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Put failed ones back, with all their attempts; waiting ones only if the filter says so.
    Retry,
    /// End waiting ones, ask the workers of running ones.
    Cancel,
    /// Remove finished ones, with their attempts.
    Delete,
}

impl Act {
    /// Returns the filter once for each status that this can be done to.
    fn narrowed(self, filter: &Filter) -> Result<Vec<Filter>, QueueError> {
        use Status::{Completed, Failed, Pending, Running};
        let (can, unasked, advice): (&[Status], &[Status], _) = match self {
            Self::Retry => (&[Failed, Pending], &[Failed], "only failed and waiting jobs can be retried"),
            Self::Cancel => {
                (&[Pending, Running], &[Pending, Running], "only jobs that wait or run can be cancelled")
            }
            Self::Delete => (&[Completed, Failed], &[Completed, Failed], "only finished jobs can be deleted"),
        };
        let asked = match self {
            // What was put back still has its fingerprint, and may be cancelled by it.
            Self::Cancel => filter.status.or(filter.failure.map(|_| Failed)),
            Self::Retry | Self::Delete => filter.status(),
        };
        if asked.is_some_and(|status| !can.contains(&status)) {
            return Err(QueueError::NotForThese(advice));
        }
        let statuses = asked.as_ref().map_or(unasked, std::slice::from_ref);
        let narrowed = |status: &Status| Filter { status: Some(*status), ..filter.clone() };
        Ok(statuses.iter().map(narrowed).collect())
    }
}

/// What was done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct BulkOutcome {
    /// Jobs to which it was done.
    pub done: u64,
    /// Running jobs whose workers were asked to end them.
    pub requested: u64,
    /// Jobs left as they were, by the reason.
    pub skipped: BTreeMap<Skip, u64>,
}

/// Why a job was left as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Skip {
    /// Another job with its unique key is open.
    KeyHeld,
    /// It had changed when its turn came.
    Changed,
    /// The database refused it; the log says why.
    Refused,
}

impl Skip {
    /// Says it to people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KeyHeld => "another job with the same unique key is open",
            Self::Changed => "changed meanwhile",
            Self::Refused => "refused by the database",
        }
    }
}

impl BulkOutcome {
    fn skip(&mut self, why: Skip, jobs: usize) {
        if jobs > 0 {
            *self.skipped.entry(why).or_default() += jobs as u64;
        }
    }
}

/// Counts the jobs to which something would be done, by kind and status.
pub async fn count_all(pool: &PgPool, filter: &Filter, act: Act) -> Result<Vec<Count>, QueueError> {
    let mut conn = pool.acquire().await?;
    let mut counts = Vec::new();
    for filter in act.narrowed(filter)? {
        counts.extend(count(&mut conn, &filter).await?);
    }
    Ok(counts)
}

/// Retries the failed jobs of a filter, or its waiting ones if it says so; `tell` hears of each batch.
///
/// At a pace the oldest comes first, and the last one when all before it have had their turn. Called again after
/// an interruption, what is left takes the turns that are left.
pub async fn retry_all(
    pool: &PgPool,
    filter: &Filter,
    pace: Pace,
    tell: impl FnMut(&BulkOutcome),
) -> Result<BulkOutcome, QueueError> {
    let mut bulk = Bulk::at_once(pool, Act::Retry, tell);
    if let Pace::PerMinute(_) = pace {
        let begin = sqlx::query_scalar!(r#"select greenroom.now() as "now!""#).fetch_one(pool).await?;
        bulk.turns = Some((begin, pace.step_secs()));
    }
    bulk.over(filter).await
}

/// Cancels the open jobs of a filter; `tell` hears of each batch.
pub async fn cancel_all(
    pool: &PgPool,
    filter: &Filter,
    tell: impl FnMut(&BulkOutcome),
) -> Result<BulkOutcome, QueueError> {
    Bulk::at_once(pool, Act::Cancel, tell).over(filter).await
}

/// Deletes the finished jobs of a filter; `tell` hears of each batch.
pub async fn delete_all(
    pool: &PgPool,
    filter: &Filter,
    tell: impl FnMut(&BulkOutcome),
) -> Result<BulkOutcome, QueueError> {
    Bulk::at_once(pool, Act::Delete, tell).over(filter).await
}

struct Bulk<'a, T> {
    pool: &'a PgPool,
    act: Act,
    /// The first turn of a paced retry, and the seconds to the next one.
    turns: Option<(DateTime<Utc>, f64)>,
    /// Turns that no batch has taken yet: batches come from the newest job, so they take the last ones.
    ///
    /// Counted in the moment in which a page is read: a batch of an interrupted call may still be under way.
    turns_left: u64,
    done: BulkOutcome,
    tell: T,
}

impl<'a, T: FnMut(&BulkOutcome)> Bulk<'a, T> {
    fn at_once(pool: &'a PgPool, act: Act, tell: T) -> Self {
        Self { pool, act, turns: None, turns_left: 0, done: BulkOutcome::default(), tell }
    }

    async fn over(mut self, filter: &Filter) -> Result<BulkOutcome, QueueError> {
        for filter in self.act.narrowed(filter)? {
            let mut after = None;
            loop {
                let mut conn = self.pool.acquire().await?;
                let mut search = search(&mut conn).await?;
                let ids = page(&mut search, &filter, after, FOUND).await?;
                let Some(last) = ids.last().copied() else { break };
                if self.turns.is_some() {
                    self.turns_left = ids.len() as u64;
                    if ids.len() == FOUND {
                        let older = count_after(&mut search, &filter, Some(last)).await?;
                        self.turns_left += older.iter().map(|count| count.jobs.unsigned_abs()).sum::<u64>();
                    }
                }
                search.commit().await?;
                drop(conn);
                after = Some(last);
                for batch in ids.chunks(BATCH) {
                    self.batch(filter.status.unwrap_or(Status::Failed), batch).await?;
                    (self.tell)(&self.done);
                }
            }
        }
        Ok(self.done)
    }

    /// Does it to a batch; where the database refuses that, to its rows one by one.
    async fn batch(&mut self, status: Status, ids: &[Uuid]) -> Result<(), QueueError> {
        self.turns_left = self.turns_left.saturating_sub(ids.len() as u64);
        let Err(error) = self.these(status, ids, 0).await else { return Ok(()) };
        if !is_refusal(&error) {
            return Err(error);
        }
        // The oldest first, as within a batch.
        for (place, id) in ids.iter().rev().enumerate() {
            match self.these(status, &[*id], place).await {
                Ok(()) => {}
                Err(error) if is_key_held(&error) => self.done.skip(Skip::KeyHeld, 1),
                Err(error) if is_refusal(&error) => {
                    warn!(job.id = %id, %error, "A job was left as it was");
                    self.done.skip(Skip::Refused, 1);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn these(&mut self, status: Status, ids: &[Uuid], place: usize) -> Result<(), QueueError> {
        let (act, turns) = (self.act, self.turns(place));
        let (done, requested, held) =
            timed(self.pool, STATEMENT_LIMIT, async |conn: &mut PgConnection| match act {
                Act::Retry => {
                    let told = retry_these(conn, &[status], ids, turns).await?;
                    let held = told.iter().filter(|job| job.holder.is_some()).count();
                    Ok((told.len() - held, 0, held))
                }
                Act::Cancel => {
                    let told = cancel_these(conn, ids).await?;
                    let asked = told.iter().filter(|(_, how)| *how == Cancelled::Requested).count();
                    Ok((told.len() - asked, asked, 0))
                }
                Act::Delete => Ok((delete_these(conn, ids).await?, 0, 0)),
            })
            .await?;
        self.done.done += done as u64;
        self.done.requested += requested as u64;
        self.done.skip(Skip::KeyHeld, held);
        self.done.skip(Skip::Changed, ids.len() - done - requested - held);
        Ok(())
    }

    /// Returns the turns from one of this batch on.
    fn turns(&self, place: usize) -> Option<Turns> {
        #[expect(clippy::cast_precision_loss, reason = "there are not 2^52 jobs")]
        let before = self.turns_left as f64 + place as f64;
        self.turns.map(|(begin, step_secs)| Turns { from: after_secs(begin, before * step_secs), step_secs })
    }
}

/// Adds seconds to an instant; where the calendar ends, that is its end.
pub(super) fn after_secs(begin: DateTime<Utc>, secs: f64) -> DateTime<Utc> {
    #[expect(clippy::cast_possible_truncation, reason = "it saturates")]
    let wait = TimeDelta::milliseconds((secs * 1000.0) as i64);
    begin.checked_add_signed(wait).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

async fn delete_these(conn: &mut PgConnection, ids: &[Uuid]) -> Result<usize, sqlx::Error> {
    let deleted = sqlx::query!(
        "delete from background_jobs where id = any($1) and status in ('completed', 'failed')",
        ids
    )
    .execute(conn)
    .await?;
    Ok(usize::try_from(deleted.rows_affected()).unwrap_or(usize::MAX))
}

/// Tells a statement that was refused, whose rows may do one by one, from a database that is not there.
fn is_refusal(error: &QueueError) -> bool {
    matches!(error, QueueError::Database(sqlx::Error::Database(_)))
}

fn is_key_held(error: &QueueError) -> bool {
    matches!(error, QueueError::Database(sqlx::Error::Database(refused)) if refused.is_unique_violation())
}
