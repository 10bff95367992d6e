//! Batches: a job that waits until others are over.
//!
//! A batch is an id that jobs share, and nothing else: no row of its own, no counter. A job that comes
//! after it is *held*: it is pending without a rank, so no claim sees it, until the sweeper finds that
//! the batch has no open job. How the batch went is counted from its jobs.
//!
//! So a batch must be filled before anybody looks: enqueue its jobs before, or in the same transaction
//! as, the job that waits for it. A job of the batch may add further ones to it while it runs, in or
//! before the transaction that completes it, since it is open itself until then.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::claim::timed;
use crate::{Context, QueueError};

const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// How many held jobs one sweep looks at, each by one probe of an index.
const LOOKED_AT: i64 = 4_000;

/// Jobs whose common end another job can wait for. It may travel in payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Batch(pub Uuid);

impl Batch {
    /// Returns a new batch, which has no jobs and is therefore over.
    #[expect(clippy::new_without_default, reason = "every one is another")]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// Counts its jobs by what became of them. Those that retention has removed are not counted.
    pub async fn counts(self, conn: &mut PgConnection) -> Result<BatchCounts, sqlx::Error> {
        let rows = sqlx::query!(
            r#"select status, failure, count(*) as "n!" from background_jobs where batch = $1 group by 1, 2"#,
            self.0,
        )
        .fetch_all(conn)
        .await?;
        let mut counts = BatchCounts::default();
        for row in rows {
            let n = row.n.unsigned_abs();
            match (row.status.as_str(), row.failure) {
                ("completed", _) => counts.completed += n,
                (_, Some(failure)) => {
                    counts.failed.insert(failure, n);
                }
                _ => counts.open += n,
            }
        }
        Ok(counts)
    }
}

/// What became of a batch's jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchCounts {
    /// Those that wait or run: none when the batch is over, unless somebody retried one.
    pub open: u64,
    /// Those that are done.
    pub completed: u64,
    /// Those that failed, by why: `exhausted`, `discarded`, `cancelled` or `quarantined`.
    pub failed: BTreeMap<String, u64>,
}

impl Context {
    /// Counts the jobs of the batch that this one waited for, if it waited for one.
    pub async fn batch(&self) -> Result<Option<BatchCounts>, QueueError> {
        timed(self.queue().pool(), STATEMENT_TIMEOUT, async |conn: &mut PgConnection| {
            let after =
                sqlx::query_scalar!(r#"select after_batch from background_jobs where id = $1"#, self.id().0,)
                    .fetch_optional(&mut *conn)
                    .await?;
            match after.flatten() {
                Some(batch) => Batch(batch).counts(conn).await.map(Some),
                None => Ok(None),
            }
        })
        .await
    }
}

/// Where the next look at held jobs begins: after this kind and id.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeldCursor {
    kind: String,
    id: Uuid,
}

/// Lets go of held jobs whose batch has no open job, some thousands looked at a call, and wakes their
/// lanes; returns how many, and their queues.
pub(crate) async fn release(
    conn: &mut PgConnection,
    cursor: &mut HeldCursor,
) -> Result<(u64, Vec<String>), sqlx::Error> {
    let row = sqlx::query!(
        r#"
        with seen as materialized (
            select id, job_type, after_batch from background_jobs
             where status = 'pending' and held = 'batch' and (job_type, id) > ($1, $2)
             order by job_type, id limit $3
        ), ended as materialized (
            -- Subqueries that cannot become joins: one probe each, whatever the planner expects.
            select s.id from seen s
             where (select true from background_jobs m
                     where m.batch = s.after_batch and m.status = 'pending' limit 1) is null
               and (select true from background_jobs m
                     where m.batch = s.after_batch and m.status = 'running' limit 1) is null
        ), free as materialized (
            select id from background_jobs where id = any (array(select id from ended))
             order by id for update skip locked
        ), released as (
            -- It is ready from now on, not from when it was enqueued.
            update background_jobs b
               set held = null, run_at = greatest(b.run_at, greenroom.now()), updated_at = greenroom.now(),
                   rank = case when b.run_at <= greenroom.now()
                               then greenroom.job_rank(greenroom.now(), b.priority) end
             where b.id = any (array(select id from free)) and b.status = 'pending' and b.held = 'batch'
            returning b.id, b.lane, b.queue, b.pool, b.rank, b.job_type, b.payload
        ), named as (
            select r.lane, r.queue, r.pool, r.rank, k.lane_cap,
                   greenroom.lane_key(k.lane_field, r.payload, r.id) as key
              from released r left join greenroom.kinds k on k.kind = r.job_type
             where r.rank is not null
        )
        select (select count(*) from released) as "count!",
               coalesce(array_agg(distinct queue), '{}') as "queues!",
               (select count(*) from seen) as "seen!",
               (select job_type from seen order by job_type desc, id desc limit 1) as last_kind,
               (select id from seen order by job_type desc, id desc limit 1) as last_id,
               greenroom.wake(array_agg(lane), array_agg(queue), array_agg(pool), array_agg(key), array_agg(lane_cap), array_agg(rank))
          from named
        "#,
        cursor.kind,
        cursor.id,
        LOOKED_AT,
    )
    .fetch_one(conn)
    .await?;
    *cursor = match (row.last_kind, row.last_id) {
        (Some(kind), Some(id)) if row.seen == LOOKED_AT => HeldCursor { kind, id },
        _ => HeldCursor::default(),
    };
    Ok((row.count.unsigned_abs(), row.queues))
}
