//! Periods: keys that stay held after their job, one row each, claimed before the job is inserted.
//!
//! The claim keeps its row locked until the commit, so of two transactions the second waits and then
//! sees the period of the first, even if the first's job has ended by then.

use std::collections::HashSet;

use greenroom_model::JobId;
use sqlx::PgConnection;

use super::met::Met;
use super::{NewJob, secs};

impl NewJob {
    /// Returns the seconds its key stays held whatever becomes of the job, if it has a key and a period.
    pub(super) fn period_secs(&self) -> Option<f64> {
        self.key.as_ref().and(self.unique.period).map(secs)
    }
}

/// Claims the periods of those that have one; returns the jobs that may be inserted.
pub(super) async fn claim<'a>(
    conn: &mut PgConnection,
    jobs: &[&'a NewJob],
) -> Result<Vec<&'a NewJob>, sqlx::Error> {
    let mut keys = Vec::new();
    let mut ids = Vec::new();
    let mut periods = Vec::new();
    for job in jobs {
        if let (Some(key), Some(period)) = (&job.key, job.period_secs()) {
            keys.push(key.clone());
            ids.push(job.id.0);
            periods.push(period);
        }
    }
    if keys.is_empty() {
        return Ok(jobs.to_vec());
    }
    let claimed: HashSet<JobId> = sqlx::query_scalar!(
        r#"
        insert into greenroom.unique_periods as p (unique_key, job_id, until)
        select g.unique_key, g.id, greenroom.now() + make_interval(secs => g.secs)
          from unnest($1::text[], $2::uuid[], $3::float8[]) as g (unique_key, id, secs)
         order by g.unique_key   -- so that two calls never wait for each other in a circle
        on conflict (unique_key) do update set job_id = excluded.job_id, until = excluded.until
         where p.until <= greenroom.now()
        returning job_id as "id: JobId"
        "#,
        &keys,
        &ids,
        &periods,
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .collect();
    Ok(jobs.iter().copied().filter(|job| job.period_secs().is_none() || claimed.contains(&job.id)).collect())
}

/// Gives back the periods of jobs that were not inserted: an open job without a period holds the key.
pub(super) async fn withdraw(
    conn: &mut PgConnection,
    jobs: &[&NewJob],
    met: &Met,
) -> Result<(), sqlx::Error> {
    let (keys, ids): (Vec<String>, Vec<_>) = jobs
        .iter()
        .filter(|job| job.period_secs().is_some() && !met.has(job))
        .filter_map(|job| Some((job.key.clone()?, job.id.0)))
        .unzip();
    if keys.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "delete from greenroom.unique_periods where unique_key = any($1) and job_id = any($2)",
        &keys,
        &ids,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Removes one batch of the periods that are over; returns how many.
pub(crate) async fn prune_periods(conn: &mut PgConnection, batch: i64) -> Result<u64, sqlx::Error> {
    let pruned = sqlx::query!(
        r#"
        with ended as (
            select unique_key from greenroom.unique_periods
             where until <= greenroom.now() order by until limit $1 for update skip locked
        )
        delete from greenroom.unique_periods p using ended where p.unique_key = ended.unique_key
        "#,
        batch,
    )
    .execute(conn)
    .await?;
    Ok(pruned.rows_affected())
}
