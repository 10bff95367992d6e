//! Settle: writes down what became of jobs, in batches, fenced by their tokens.
//!
//! Rows are found by id and token only. With a status in the WHERE the planner could walk the dead
//! entries of the partial index on running rows, which costs six times as much under a held snapshot.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use greenroom_model::JobId;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::breaker::Breaker;
use crate::claim::Claimed;
use crate::fingerprint;

/// The most bytes of an error's text that are stored.
const ERROR_LIMIT: usize = 16 * 1024;
/// The most bytes of a report that are stored.
const REPORT_LIMIT: usize = 256 * 1024;

/// What became of a running job.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// Done, with a report if there is anything to tell.
    Completed(Option<Value>),
    /// Done, and its kind asks that nothing is kept of it.
    Forgotten,
    /// Done inside the handler's own transaction; nothing is left to write.
    CompletedInTransaction,
    /// Failed; to be tried again after the wait, or given up when it was the last attempt.
    Retry { error: String, after: Duration },
    /// Given back until then.
    Snoozed { until: DateTime<Utc>, reason: String },
    /// Given back because this process cannot run it now; ready again after the wait.
    Released { after: Option<Duration>, reason: String },
    /// Failed because the outside does not serve; what becomes of the job its breaker decides.
    Tripped { breaker: Breaker, until: Option<DateTime<Utc>>, error: String, after: Duration },
    /// Ended for good by its handler.
    Discarded { reason: String },
    /// Ended for good by an operator.
    Cancelled,
    /// The lease was lost: nothing of this attempt may be written.
    Lost,
    /// It never began: the worker stopped, and has given it back already.
    Withdrawn,
}

impl Verdict {
    /// Returns the verdict on a job that is done, with what it reported.
    pub(crate) fn completed(report: Value) -> Self {
        Self::Completed((!report.is_null()).then(|| storable_report(report)))
    }
}

/// A verdict on one job, under its fence.
#[derive(Clone, Debug)]
pub(crate) struct Settlement {
    pub id: JobId,
    pub token: i64,
    pub attempt: i16,
    pub max_attempts: i16,
    /// The breaker that this job went alone to try.
    pub probes: Option<Breaker>,
    /// The job's lane, where the job's end may make room in it.
    pub full_lane: Option<i64>,
    pub verdict: Verdict,
}

/// A row's change, as one statement applies many of them.
struct Change {
    outcome: &'static str,
    /// Why it failed, when it has.
    failure: Option<&'static str>,
    error: Option<String>,
    /// What it says in general, where an attempt failed.
    alike: Option<i64>,
    /// Seconds from now until it is ready again; `None` with no `until` is at once, in its old place.
    after_secs: Option<f64>,
    until: Option<DateTime<Utc>>,
    gives_back: bool,
}

impl Settlement {
    pub(crate) fn of(job: &Claimed, verdict: Verdict) -> Self {
        Self {
            id: job.id,
            token: job.token,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            probes: job.probes.clone(),
            full_lane: job.capped.then_some(job.lane),
            verdict,
        }
    }

    fn change(&self) -> Option<Change> {
        let change = |outcome| Change {
            outcome,
            failure: None,
            error: None,
            alike: None,
            after_secs: None,
            until: None,
            gives_back: false,
        };
        Some(match &self.verdict {
            Verdict::Completed(_)
            | Verdict::Forgotten
            | Verdict::CompletedInTransaction
            | Verdict::Tripped { .. }
            | Verdict::Lost
            | Verdict::Withdrawn => return None,
            Verdict::Retry { error, .. } if self.attempt >= self.max_attempts => {
                let alike = Some(fingerprint::of_error(error));
                Change {
                    failure: Some("exhausted"),
                    error: Some(storable(error)),
                    alike,
                    ..change("exhausted")
                }
            }
            Verdict::Retry { error, after } => Change {
                error: Some(storable(error)),
                alike: Some(fingerprint::of_error(error)),
                after_secs: Some(after.as_secs_f64()),
                ..change("retried")
            },
            Verdict::Snoozed { until, reason } => Change {
                error: Some(storable(reason)),
                until: Some(*until),
                gives_back: true,
                ..change("snoozed")
            },
            Verdict::Released { after, reason } => Change {
                error: Some(storable(reason)),
                after_secs: after.map(|wait| wait.as_secs_f64()),
                gives_back: true,
                ..change("released")
            },
            Verdict::Discarded { reason } => {
                let alike = Some(fingerprint::of_error(reason));
                Change {
                    failure: Some("discarded"),
                    error: Some(storable(reason)),
                    alike,
                    ..change("discarded")
                }
            }
            Verdict::Cancelled => Change {
                failure: Some("cancelled"),
                error: Some("cancelled by an operator".to_owned()),
                ..change("cancelled")
            },
        })
    }
}

/// Makes a text that PostgreSQL can hold: no NUL, not longer than an error should be.
pub(crate) fn storable(text: &str) -> String {
    let mut kept = text.replace('\0', "\u{fffd}");
    if kept.len() > ERROR_LIMIT {
        let mut end = ERROR_LIMIT;
        while !kept.is_char_boundary(end) {
            end -= 1;
        }
        kept.truncate(end);
        kept.push('…');
    }
    kept
}

/// Makes a report that a row can hold: one that is too large, or has a NUL, is replaced by a note.
fn storable_report(report: Value) -> Value {
    let text = report.to_string();
    if text.len() > REPORT_LIMIT {
        return serde_json::json!({ "report_too_large": true, "bytes": text.len() });
    }
    if text.contains("\\u0000") {
        return serde_json::json!({ "report_holds_nul": true });
    }
    report
}

/// Completes jobs; returns the ids whose lease was lost.
pub(crate) async fn complete(
    conn: &mut PgConnection,
    settlements: &[Settlement],
) -> Result<Vec<JobId>, sqlx::Error> {
    let mut ids = Vec::new();
    let mut tokens = Vec::new();
    let mut reports = Vec::new();
    for settlement in settlements {
        if let Verdict::Completed(report) = &settlement.verdict {
            ids.push(settlement.id.0);
            tokens.push(settlement.token);
            reports.push(report);
        }
    }
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let done = sqlx::query_scalar!(
        r#"
        update background_jobs b
           set status = 'completed', completed_at = greenroom.now(), updated_at = greenroom.now(),
               result = g.report, error_message = null, lease_token = null, leased_until = null
          from unnest($1::uuid[], $2::bigint[], $3::jsonb[]) as g (id, token, report)
         where b.id = g.id and b.lease_token = g.token
        returning b.id as "id: JobId"
        "#,
        &ids,
        &tokens,
        &reports as &[&Option<Value>],
    )
    .fetch_all(conn)
    .await?;
    Ok(missing(ids.into_iter().map(JobId), done))
}

/// Deletes jobs that are done and to be forgotten; returns the ids whose lease was lost.
pub(crate) async fn forget(
    conn: &mut PgConnection,
    settlements: &[Settlement],
) -> Result<Vec<JobId>, sqlx::Error> {
    let done = sqlx::query_scalar!(
        r#"
        delete from background_jobs b using unnest($1::uuid[], $2::bigint[]) as g (id, token)
         where b.id = g.id and b.lease_token = g.token
        returning b.id as "id: JobId"
        "#,
        &settlements.iter().map(|s| s.id.0).collect::<Vec<_>>(),
        &settlements.iter().map(|s| s.token).collect::<Vec<_>>(),
    )
    .fetch_all(conn)
    .await?;
    Ok(missing(settlements.iter().map(|s| s.id), done))
}

/// Returns which of the ids are not among those that came back.
fn missing(ids: impl ExactSizeIterator<Item = JobId>, done: Vec<JobId>) -> Vec<JobId> {
    if done.len() == ids.len() {
        return Vec::new();
    }
    let done: HashSet<JobId> = done.into_iter().collect();
    ids.filter(|id| !done.contains(id)).collect()
}

/// Writes every other end of an attempt; returns the ids whose lease was lost.
pub(crate) async fn change(
    conn: &mut PgConnection,
    worker: Uuid,
    settlements: &[Settlement],
) -> Result<Vec<JobId>, sqlx::Error> {
    let changes: Vec<(&Settlement, Change)> =
        settlements.iter().filter_map(|s| s.change().map(|change| (s, change))).collect();
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let done = sqlx::query_scalar!(
        r#"
        with given as (
            select g.*, coalesce(g.until, greenroom.now() + make_interval(secs => g.after_secs)) as ready_at
              from unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::float8[],
                          $7::timestamptz[], $8::bool[], $10::bigint[])
                   as g (id, token, outcome, failure, error, after_secs, until, gives_back, alike)
        ), moved as (
            update background_jobs b
               set status = case when g.failure is null then 'pending' else 'failed' end,
                   failure = g.failure,
                   -- Of the last time it failed for good; what is cancelled after a redrive is in its group again.
                   fingerprint = case when g.failure is not null and g.alike is not null
                                      then hashtextextended(b.job_type, g.alike) else b.fingerprint end,
                   error_message = g.error,
                   completed_at = case when g.failure is not null then greenroom.now() end,
                   updated_at = greenroom.now(),
                   attempt = b.attempt - g.gives_back::int::smallint,
                   run_at = coalesce(g.ready_at, b.run_at),
                   -- What is ready at once keeps its place; the rest is promoted when it is due.
                   rank = case when g.ready_at is null then b.rank end,
                   lease_token = null, leased_until = null
              from given g
             where b.id = g.id and b.lease_token = g.token
            returning b.id, b.lane, b.rank, b.attempt, b.started_at, b.status, g.outcome, g.error,
                      -- The kind and the error: what failed alike.
                      hashtextextended(b.job_type, g.alike) as fingerprint
        ), noted as (
            insert into greenroom.attempts (job_id, attempt, outcome, error, fingerprint, worker_id, started_at)
            select id, attempt, outcome, error, fingerprint, $9, started_at from moved
        ), woken as materialized (
            select greenroom.rouse(array_agg(lane), array_agg(rank))
              from (select lane, min(rank) filter (where status = 'pending') as rank from moved group by lane) back
        )
        select id as "id: JobId" from moved where (select count(*) from woken) >= 0
        "#,
        &changes.iter().map(|(s, _)| s.id.0).collect::<Vec<_>>(),
        &changes.iter().map(|(s, _)| s.token).collect::<Vec<_>>(),
        &changes.iter().map(|(_, c)| c.outcome.to_owned()).collect::<Vec<_>>(),
        &changes.iter().map(|(_, c)| c.failure.map(str::to_owned)).collect::<Vec<_>>() as &[Option<String>],
        &changes.iter().map(|(_, c)| c.error.clone()).collect::<Vec<_>>() as &[Option<String>],
        &changes.iter().map(|(_, c)| c.after_secs).collect::<Vec<_>>() as &[Option<f64>],
        &changes.iter().map(|(_, c)| c.until).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &changes.iter().map(|(_, c)| c.gives_back).collect::<Vec<_>>(),
        worker,
        &changes.iter().map(|(_, c)| c.alike).collect::<Vec<_>>() as &[Option<i64>],
    )
    .fetch_all(conn)
    .await?;
    Ok(missing(changes.iter().map(|(s, _)| s.id), done))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_postgres_cannot_hold_is_replaced() {
        assert_eq!(storable("a\0b"), "a\u{fffd}b");
        let long = storable(&"é".repeat(ERROR_LIMIT));
        assert!(long.len() <= ERROR_LIMIT + '…'.len_utf8() && long.ends_with('…'));
        assert_eq!(
            storable_report(serde_json::json!({"a": "\0"})),
            serde_json::json!({"report_holds_nul": true})
        );
        let huge = storable_report(Value::String("x".repeat(REPORT_LIMIT)));
        assert_eq!(huge["report_too_large"], true);
    }
}
