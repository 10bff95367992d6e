//! For tests of jobs: run the queue to its end in this process, and look at what is enqueued.
//!
//! The same claim, router and settling as in production, without apalis, without waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sqlx::{Connection as _, PgPool};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::claim::claim;
use crate::settle::{Settlement, Verdict, settle};
use crate::{Job, Jobs, Queue, QueueError, Settings, sweep};

/// Runs every job that is due, and what those enqueue, until none is; returns how many runs it took.
///
/// Jobs whose time has not come stay: move the clock and drain again.
pub async fn drain(queue: &Queue, jobs: &Jobs) -> Result<usize, QueueError> {
    let (worker, settings) = (Uuid::now_v7(), Settings::default());
    let queues: BTreeSet<&str> = jobs.kinds().map(|info| info.policy.queue).collect();
    let tracks: BTreeSet<(&str, &str)> =
        jobs.kinds().map(|info| (info.policy.queue, info.policy.pool)).collect();
    jobs.register(queue.pool()).await?;
    let mut runs = 0;
    loop {
        sweep(queue.pool(), &settings).await?;
        let mut conn = queue.pool().acquire().await?;
        let mut claimed = Vec::new();
        for (queue, pool) in &tracks {
            claimed.extend(claim(&mut conn, queue, pool, worker, 100, settings.lease()).await?);
        }
        drop(conn);
        if claimed.is_empty() && !has_runnable(queue.pool(), &queues).await? {
            return Ok(runs);
        }
        for job in claimed {
            runs += 1;
            let job = Arc::new(job);
            let (keep, interrupt) = watch::channel(None);
            let verdict = jobs
                .run(Arc::clone(&job), queue.clone(), interrupt, CancellationToken::new(), &settings)
                .await;
            drop(keep);
            let settlement = Settlement {
                id: job.id,
                token: job.token,
                attempt: job.attempt,
                max_attempts: job.max_attempts,
                verdict,
            };
            if matches!(settlement.verdict, Verdict::Lost | Verdict::CompletedInTransaction) {
                continue;
            }
            let mut conn = queue.pool().acquire().await?;
            let mut tx = conn.begin().await?;
            settle(&mut tx, worker, &[settlement]).await?;
            tx.commit().await?;
        }
    }
}

async fn has_runnable(pool: &PgPool, queues: &BTreeSet<&str>) -> Result<bool, QueueError> {
    let names: Vec<String> = queues.iter().map(|name| (*name).to_owned()).collect();
    Ok(sqlx::query_scalar!(
        r#"select exists (select from background_jobs
                           where status = 'pending' and rank is not null and queue = any($1)) as "some!""#,
        &names,
    )
    .fetch_one(pool)
    .await?)
}

/// Returns the payloads of the open jobs of a kind, oldest first.
pub async fn enqueued<J: Job>(pool: &PgPool) -> Result<Vec<J>, QueueError> {
    let payloads = sqlx::query_scalar!(
        "select payload from background_jobs where job_type = $1 and status in ('pending', 'running') order by id",
        J::KIND,
    )
    .fetch_all(pool)
    .await?;
    payloads.into_iter().map(|payload| Ok(serde_json::from_value(payload)?)).collect()
}

/// Counts jobs by status; a test world that ends with anything but `completed` has something to explain.
pub async fn by_status(pool: &PgPool) -> Result<BTreeMap<String, i64>, QueueError> {
    let rows = sqlx::query!(
        r#"select case when status = 'failed' then 'failed: ' || failure else status end as "status!", count(*) as "n!"
             from background_jobs group by 1"#
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (row.status, row.n)).collect())
}
