//! Retention: deletes finished jobs some time after their end; their attempts go with them.
//!
//! Ids are UUIDv7, so the primary key is the order of birth, and whatever is old enough lies before the
//! id of an instant. A round walks the key up to there, a batch at a time, remembers how far it is, and
//! rests when it is through. It never reads a payload, and never holds a lock for longer than one batch.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;
use tracing::{info, warn};
use uuid::Uuid;

use crate::claim::timed;
use crate::{QueueError, Settings};

/// The most rows that one statement looks at, and deletes.
const BATCH: usize = 500;
/// How long one turn may take of the sweeper's time.
const SHARE: Duration = Duration::from_millis(200);
/// How long others have the table for themselves between two batches.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a round is over before the next begins. Rows that stay are walked once a round.
const REST: Duration = Duration::from_mins(10);

/// One walk over the jobs that are old enough, and where it is.
#[derive(Debug, Default)]
pub(crate) struct Pruner {
    after: Uuid,
    /// Whether it is among the ids that no clock made, such as those that a SQL client drew by lot.
    beyond: bool,
    /// What a batch could not delete together: one row that the database keeps must not keep the others.
    alone: Vec<Uuid>,
    pruned: u64,
    rests_until: Option<Instant>,
}

/// Before which instants jobs must have ended to be deleted.
#[derive(Clone, Copy)]
struct Before {
    completed: DateTime<Utc>,
    failed: DateTime<Utc>,
}

/// What lies on the next stretch of the key.
struct Stretch {
    seen: usize,
    last: Option<Uuid>,
    over: Vec<Uuid>,
}

impl Pruner {
    /// Goes on with the round for a short while; returns how many jobs were deleted.
    pub(crate) async fn turn(&mut self, pool: &PgPool, settings: &Settings) -> Result<u64, QueueError> {
        if self.rests_until.is_some_and(|until| Instant::now() < until) {
            return Ok(0);
        }
        self.rests_until = None;
        let (began, limit) = (Instant::now(), settings.statement_timeout());
        let now = timed(pool, limit, async |conn: &mut PgConnection| {
            sqlx::query_scalar!(r#"select greenroom.now() as "now!""#).fetch_one(conn).await
        })
        .await?;
        let before = Before {
            completed: now - seconds(settings.keep_completed_secs),
            failed: now - seconds(settings.keep_failed_secs),
        };
        let mut pruned = 0;
        while self.rests_until.is_none() && began.elapsed() < SHARE {
            if let Some(job) = self.alone.pop() {
                pruned += delete_alone(pool, limit, job, before).await?;
                continue;
            }
            pruned += self.batch(pool, limit, now, before).await?;
            tokio::time::sleep(PAUSE).await;
        }
        metrics::counter!("greenroom_jobs_pruned_total").increment(pruned);
        self.pruned += pruned;
        if self.rests_until.is_some() && self.pruned > 0 {
            info!("Pruned {} jobs whose retention was over", self.pruned);
            self.pruned = 0;
        }
        Ok(pruned)
    }

    async fn batch(
        &mut self,
        pool: &PgPool,
        limit: Duration,
        now: DateTime<Utc>,
        before: Before,
    ) -> Result<u64, QueueError> {
        let (after, until) = if self.beyond {
            (self.after.max(first_id(now + TimeDelta::days(1))), Uuid::max())
        } else {
            (self.after, first_id(before.completed.max(before.failed)))
        };
        let stretch =
            timed(pool, limit, async |conn: &mut PgConnection| look(conn, after, until, before).await)
                .await?;
        let mut pruned = 0;
        if !stretch.over.is_empty() {
            let together =
                timed(pool, limit, async |conn: &mut PgConnection| delete(conn, &stretch.over, before).await)
                    .await;
            match together {
                Ok(deleted) => pruned = deleted,
                Err(error) if is_about_rows(&error) => self.alone = stretch.over,
                // Nothing is lost: the next turn comes here again.
                Err(error) => return Err(error),
            }
        }
        match stretch.last {
            Some(last) if stretch.seen == BATCH => self.after = last,
            _ if self.beyond => {
                (self.after, self.beyond) = (Uuid::nil(), false);
                self.rests_until = Some(Instant::now() + REST);
            }
            _ => self.beyond = true,
        }
        Ok(pruned)
    }
}

/// Finds the ids of a stretch whose jobs are over for long enough.
async fn look(
    conn: &mut PgConnection,
    after: Uuid,
    until: Uuid,
    before: Before,
) -> Result<Stretch, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        with stretch as materialized (
            select id, status, completed_at from background_jobs where id > $1 and id <= $2 order by id limit $3
        )
        select count(*) as "seen!", (select id from stretch order by id desc limit 1) as last,
               coalesce(array_agg(id order by id) filter (
                   where (status = 'completed' and completed_at < $4) or (status = 'failed' and completed_at < $5)), '{}') as "over!"
          from stretch
        "#,
        after,
        until,
        i64::try_from(BATCH).unwrap_or(i64::MAX),
        before.completed,
        before.failed,
    )
    .fetch_one(conn)
    .await?;
    Ok(Stretch { seen: usize::try_from(row.seen).unwrap_or_default(), last: row.last, over: row.over })
}

/// Deletes the jobs that are still over: somebody may have retried one since it was found.
async fn delete(conn: &mut PgConnection, jobs: &[Uuid], before: Before) -> Result<u64, sqlx::Error> {
    let deleted = sqlx::query!(
        r#"
        delete from background_jobs
         where id = any($1)
           and ((status = 'completed' and completed_at < $2) or (status = 'failed' and completed_at < $3))
        "#,
        jobs,
        before.completed,
        before.failed,
    )
    .execute(conn)
    .await?;
    Ok(deleted.rows_affected())
}

/// Deletes one job, or says why it stays.
async fn delete_alone(pool: &PgPool, limit: Duration, job: Uuid, before: Before) -> Result<u64, QueueError> {
    match timed(pool, limit, async |conn: &mut PgConnection| delete(conn, &[job], before).await).await {
        Err(error) if is_about_rows(&error) => {
            warn!(job.id = %job, %error, "A finished job could not be deleted; the others are");
            Ok(0)
        }
        deleted => deleted,
    }
}

/// Tells whether other rows may fare better: the database refused these, or took too long over them.
fn is_about_rows(error: &QueueError) -> bool {
    matches!(error, QueueError::Timeout(_) | QueueError::Database(sqlx::Error::Database(_)))
}

/// Returns the lowest id that can be made at an instant.
fn first_id(instant: DateTime<Utc>) -> Uuid {
    let millis = u64::try_from(instant.timestamp_millis()).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid()
}

fn seconds(seconds: u64) -> TimeDelta {
    TimeDelta::seconds(i64::try_from(seconds).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use greenroom_testkit::Database;

    use super::*;
    use crate::{Filter, list};

    const DAY: Duration = Duration::from_hours(24);

    /// Writes jobs that stand so, all born now, and returns their ids.
    async fn write(db: &Database, status: &str, n: i32) -> Vec<Uuid> {
        sqlx::query_scalar(
            "insert into background_jobs (job_type, status, completed_at, failure, lease_token, leased_until)
             select 'old', $1, case when $1 in ('completed', 'failed') then greenroom.now() end,
                    case when $1 = 'failed' then 'exhausted' end, case when $1 = 'running' then 1 end,
                    case when $1 = 'running' then greenroom.now() end
               from generate_series(1, $2) returning id",
        )
        .bind(status)
        .bind(n)
        .fetch_all(db.pool())
        .await
        .unwrap()
    }

    /// Prunes to the end of a round; returns how many jobs went.
    async fn round(pruner: &mut Pruner, db: &Database) -> u64 {
        let mut gone = 0;
        pruner.rests_until = None;
        while pruner.rests_until.is_none() {
            gone += pruner.turn(db.pool(), &Settings::default()).await.unwrap();
        }
        gone
    }

    async fn left(db: &Database) -> BTreeSet<Uuid> {
        let ids: Vec<Uuid> =
            sqlx::query_scalar("select id from background_jobs").fetch_all(db.pool()).await.unwrap();
        ids.into_iter().collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_over_for_long_enough_goes_and_all_else_stays() {
        let db = Database::new().await;
        let mut pruner = Pruner::default();
        write(&db, "completed", 1_200).await;
        let failed = write(&db, "failed", 3).await;
        let open = [write(&db, "pending", 2).await, write(&db, "running", 2).await].concat();
        sqlx::query("insert into greenroom.attempts (job_id, attempt, outcome) select id, 1, 'retried' from background_jobs")
            .execute(db.pool())
            .await
            .unwrap();
        // A client that draws its ids by lot; a job that was born long ago and ended late.
        let lot: Uuid = "f47ac10b-58cc-4372-a567-0e02b2c3d479".parse().unwrap();
        sqlx::query(
            "insert into background_jobs (id, job_type, status, completed_at)
             values ($1, 'old', 'completed', greenroom.now()),
                    (gen_random_uuid(), 'late', 'completed', greenroom.now() + interval '6 days')",
        )
        .bind(lot)
        .execute(db.pool())
        .await
        .unwrap();

        db.advance(Duration::from_mins(7 * 24 * 60 - 1)).await;
        assert_eq!(round(&mut pruner, &db).await, 0, "a week is not over");
        db.advance(Duration::from_mins(2)).await;
        assert_eq!(pruner.turn(db.pool(), &Settings::default()).await.unwrap(), 0, "it rests");
        assert_eq!(round(&mut pruner, &db).await, 1_201);
        let stays = left(&db).await;
        assert_eq!(stays.len(), 8);
        assert!(failed.iter().chain(&open).all(|id| stays.contains(id)) && !stays.contains(&lot));
        let attempts: i64 =
            sqlx::query_scalar("select count(*) from greenroom.attempts").fetch_one(db.pool()).await.unwrap();
        assert_eq!(attempts, 7, "the attempts of those that went are gone");

        // One that is retried in time is not over any more.
        crate::retry(db.pool(), greenroom_model::JobId(failed[0])).await.unwrap();
        db.advance(DAY * 24).await;
        assert_eq!(round(&mut pruner, &db).await, 3);
        let mut kept: Vec<Uuid> = [open, vec![failed[0]]].concat();
        kept.sort();
        assert_eq!(left(&db).await.into_iter().collect::<Vec<_>>(), kept);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_row_that_the_database_keeps_does_not_keep_the_others() {
        let db = Database::new().await;
        let jobs = write(&db, "completed", 600).await;
        sqlx::raw_sql("create table keeps (job_id uuid references background_jobs)")
            .execute(db.pool())
            .await
            .unwrap();
        sqlx::query("insert into keeps values ($1), ($2)")
            .bind(jobs[3])
            .bind(jobs[555])
            .execute(db.pool())
            .await
            .unwrap();
        db.advance(DAY * 8).await;
        let mut pruner = Pruner::default();
        assert_eq!(round(&mut pruner, &db).await, 598);
        assert_eq!(left(&db).await, BTreeSet::from([jobs[3], jobs[555]]));
        sqlx::query("truncate keeps").execute(db.pool()).await.unwrap();
        assert_eq!(round(&mut pruner, &db).await, 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn history_is_read_while_it_is_pruned() {
        let db = Database::new().await;
        let old = write(&db, "completed", 2_000).await;
        db.advance(DAY * 8).await;
        let young = write(&db, "completed", 200).await;
        let mut conn = db.pool().acquire().await.unwrap();
        let (mut pruner, now) = (Pruner::default(), db.clock().now());
        let before = Before { completed: now - TimeDelta::days(7), failed: now - TimeDelta::days(30) };
        let (mut seen, mut after, mut gone) = (Vec::new(), None, 0);
        loop {
            let page = list(&mut conn, &Filter::default(), after, 100).await.unwrap();
            seen.extend(page.jobs.iter().map(|job| job.id.0));
            after = page.next;
            if after.is_none() {
                break;
            }
            if pruner.rests_until.is_none() {
                gone += pruner.batch(db.pool(), Duration::from_secs(5), now, before).await.unwrap();
            }
        }
        assert_eq!(gone, 2_000);
        assert!(seen.is_sorted_by(|one, next| one > next), "each once, in order");
        assert!((201..2_000).contains(&seen.len()), "{} were read while they went", seen.len());
        let mut read_young: Vec<Uuid> = seen.into_iter().filter(|id| !old.contains(id)).collect();
        read_young.sort();
        let mut young = young;
        young.sort();
        assert_eq!(read_young, young, "what stays was read whole");
    }
}
