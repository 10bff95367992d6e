//! What fails alike: groups of failed jobs, and how to put one back.

use chrono::{DateTime, Utc};
use greenroom_model::JobId;
use sqlx::{PgConnection, PgPool};

use super::bulk::{Act, BulkOutcome, after_secs, count_all, retry_all};
use super::filter::{Filter, first_id};
use super::look::{search, searched};
use super::retry::Pace;
use crate::{Fingerprint, QueueError};

/// Failed jobs of one kind that failed alike.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Group {
    /// What they share.
    pub fingerprint: Fingerprint,
    /// Their kind.
    pub kind: String,
    /// How many there are.
    pub jobs: i64,
    /// Why the newest is at its end.
    pub failure: Option<String>,
    /// The error of the newest.
    pub error: Option<String>,
    /// When the oldest job ended.
    pub first_at: Option<DateTime<Utc>>,
    /// When the newest job ended.
    pub last_at: Option<DateTime<Utc>>,
    /// The newest job.
    pub newest: JobId,
}

/// Lists what fails alike, the largest groups first; counts jobs enqueued at `since` or later.
///
/// Reads the index of what failed alike from end to end, and of the table only two rows a group.
pub async fn failures(
    conn: &mut PgConnection,
    kind: Option<&str>,
    since: Option<DateTime<Utc>>,
    limit: u16,
) -> Result<Vec<Group>, QueueError> {
    let mut tx = search(conn).await?;
    let groups = sqlx::query_as!(
        Group,
        r#"
        with alike as (
            select fingerprint, count(*) as jobs from background_jobs
             where status = 'failed' and fingerprint is not null and ($2::uuid is null or id >= $2)
             group by fingerprint
        )
        select a.fingerprint as "fingerprint!: Fingerprint", newest.job_type as kind, a.jobs as "jobs!",
               newest.failure, newest.error_message as error, oldest.completed_at as first_at,
               newest.completed_at as last_at, newest.id as "newest: JobId"
          from alike a
         cross join lateral (
               select id, job_type, failure, error_message, completed_at from background_jobs b
                where b.status = 'failed' and b.fingerprint = a.fingerprint
                order by b.id desc limit 1) newest
         cross join lateral (
               select completed_at from background_jobs b
                where b.status = 'failed' and b.fingerprint = a.fingerprint and ($2::uuid is null or b.id >= $2)
                order by b.id limit 1) oldest
         where $1::text is null or newest.job_type = $1
         order by a.jobs desc, a.fingerprint
         limit $3
        "#,
        kind,
        since.map(first_id),
        i64::from(limit),
    )
    .fetch_all(&mut *tx)
    .await;
    let groups = searched(groups)?;
    tx.commit().await?;
    Ok(groups)
}

/// What it would be to put a group back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Redrive {
    /// How many jobs.
    pub jobs: i64,
    /// When the last of them may run.
    pub until: DateTime<Utc>,
}

/// Returns the filter of a group.
fn group(fingerprint: Fingerprint) -> Filter {
    Filter { fingerprint: Some(fingerprint), ..Filter::default() }
}

/// Says how many jobs a redrive would put back, and until when.
pub async fn plan_redrive(
    pool: &PgPool,
    fingerprint: Fingerprint,
    pace: Pace,
) -> Result<Redrive, QueueError> {
    let jobs: i64 =
        count_all(pool, &group(fingerprint), Act::Retry).await?.iter().map(|count| count.jobs).sum();
    let now = sqlx::query_scalar!(r#"select greenroom.now() as "now!""#).fetch_one(pool).await?;
    #[expect(clippy::cast_precision_loss, reason = "there are not 2^52 jobs")]
    let until = after_secs(now, (jobs - 1).max(0) as f64 * pace.step_secs());
    Ok(Redrive { jobs, until })
}

/// Puts a group back at a pace; `tell` hears of each batch. What was too much is taken back by cancelling
/// its waiting jobs: they keep their fingerprint, and so are in the group again.
pub async fn redrive(
    pool: &PgPool,
    fingerprint: Fingerprint,
    pace: Pace,
    tell: impl FnMut(&BulkOutcome),
) -> Result<BulkOutcome, QueueError> {
    retry_all(pool, &group(fingerprint), pace, tell).await
}
