//! For tests of jobs: run the queue to its end in this process, look at what is enqueued, move the clock.
//!
//! The same claim, router and settling as in production, without apalis, without waiting. Behind the feature
//! `testing`, to be named among `dev-dependencies`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::claim::{Track, claim};
use crate::engine::Engine;
use crate::settle::{Settlement, Verdict};
use crate::{Job, Jobs, Queue, QueueError, Settings, sweep};

/// Lets [`advance`] move the clock of a database that has the schema: `greenroom.now()`, by which the engine
/// judges every due time, lease and window. Once a database, and never one that is in use.
pub async fn movable_clock(conn: &mut PgConnection) -> Result<(), QueueError> {
    sqlx::raw_sql(include_str!("testing/movable_clock.sql")).execute(conn).await?;
    Ok(())
}

/// Moves the database's clock forward. What was promoted, leased or due by the old time is as late as if so
/// much time had passed.
pub async fn advance(pool: &PgPool, by: Duration) -> Result<(), QueueError> {
    let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    // The table is there in tests only, so no query of this build can be checked against it.
    sqlx::query("update greenroom.clock_offset set by_micros = by_micros + $1")
        .bind(micros)
        .execute(pool)
        .await?;
    Ok(())
}

/// Runs every job that is due, and what those enqueue, until none is; returns how many runs it took.
///
/// Jobs whose time has not come stay: move the clock and drain again. So do jobs that a pause, a pool or a
/// breaker holds up.
pub async fn drain(queue: &Queue, jobs: &Jobs) -> Result<usize, QueueError> {
    let (worker, settings) = (Uuid::now_v7(), Arc::new(Settings::default()));
    let queues: BTreeSet<&str> = jobs.kinds().map(|info| info.policy.queue).collect();
    let tracks: BTreeSet<(&str, &str)> =
        queues.iter().flat_map(|queue| jobs.pools_of(queue).into_iter().map(|pool| (*queue, pool))).collect();
    jobs.register(queue.pool()).await?;
    let (mut runs, mut empty_looks, mut foreign) = (0, 0, Vec::new());
    loop {
        sweep(queue.pool(), &settings).await?;
        let mut conn = queue.pool().acquire().await?;
        let mut claimed = Vec::new();
        for (queue, pool) in &tracks {
            let track = Track::new(queue, pool);
            let claims =
                claim(&mut conn, &track, worker, 100, settings.lease(), track.floor, &foreign).await?;
            claimed.extend(claims.jobs);
        }
        drop(conn);
        if claimed.is_empty() {
            // A waker may have held the lanes; what is still there then is blocked.
            empty_looks += 1;
            if empty_looks > 20 || !has_runnable(queue.pool(), &queues).await? {
                return Ok(runs);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        }
        empty_looks = 0;
        for job in claimed {
            runs += 1;
            if !jobs.knows(&job.kind) {
                foreign.push(job.kind.clone());
            }
            let job = Arc::new(job);
            let (keep, interrupt) = watch::channel(None);
            let verdict = jobs
                .run(Arc::clone(&job), queue.clone(), interrupt, CancellationToken::new(), &settings)
                .await;
            drop(keep);
            if matches!(verdict, Verdict::Lost | Verdict::CompletedInTransaction) {
                continue;
            }
            let engine = Engine::new(worker, queue.pool().clone(), Arc::clone(&settings));
            let settled = engine.settle(vec![Settlement::of(&job, verdict)]).await;
            if !settled.left.is_empty() {
                return Err(QueueError::Unsettled(job.id));
            }
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

/// Runs random histories over one house, each from its first step to its last; a failed one is made as short as it can be.
#[cfg(test)]
pub(crate) fn histories<S: proptest::strategy::Strategy, H>(
    cases: u32,
    steps: &S,
    house: impl AsyncFnOnce() -> H,
    history: &impl AsyncFn(&H, S::Value),
) {
    use proptest::test_runner::{Config, TestRunner};
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let house = runtime.block_on(house());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let outcome = TestRunner::new(config).run(steps, |steps| {
        runtime.block_on(history(&house, steps));
        Ok(())
    });
    if let Err(failed) = outcome {
        panic!("{failed}");
    }
}
