//! The primary dies and a standby takes its place: the house goes on there by itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use greenroom_boot::{Config, pool};
use greenroom_postgres::{Postgres, migrate};
use greenroom_queue::{Context, Done, Job, Jobs, Policy, Queue, Stop, Worker};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

const DATABASE: &str = "house";
/// A watcher asks every two seconds and waits three for the answer; the rest is a busy machine's.
const RECOVERY: Duration = Duration::from_secs(15);

/// A job that ends at once.
#[derive(Serialize, Deserialize)]
struct Step {}

impl Job for Step {
    const KIND: &'static str = "step";
    const POLICY: Policy = Policy::on("steps");
    type State = ();
    type Report = ();

    async fn run(self, (): &(), _: &Context) -> Result<Done<()>, Stop> {
        Ok(().into())
    }
}

async fn until(what: &str, pool: &PgPool, sql: &'static str) -> Duration {
    let begun = Instant::now();
    while !sqlx::query_scalar::<_, bool>(sql).fetch_one(pool).await.unwrap_or(false) {
        assert!(begun.elapsed() < Duration::from_mins(1), "waited for a minute until {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_house_goes_on_where_the_standby_takes_over() {
    let primary = Postgres::alone().await.unwrap();
    primary.create_database(DATABASE).await.unwrap();
    migrate(&primary.options(DATABASE)).await.unwrap();
    let standby = primary.standby().await.unwrap();

    let config = Config::load().unwrap();
    let settings = config.section("database").unwrap();
    // The standby comes first in the list, and is passed over while it is one.
    let urls = [&standby, &primary].map(|server| server.url(DATABASE)).join(",").into();
    let handlers = pool::connect(&urls, &settings, "handlers").await.unwrap();
    let engine = pool::connect_for_engine(&urls, &settings, "engine").await.unwrap();
    let alone = standby.url(DATABASE).into();
    let refused = pool::connect(&alone, &settings, "hasty").await.unwrap_err();
    assert!(refused.to_string().contains("is a standby"), "{refused}");

    let (queue, stop) = (Queue::new(handlers.clone()), CancellationToken::new());
    let jobs = Jobs::new().with::<Step>(Some(&Arc::new(())));
    let worker =
        Worker::new(Queue::new(engine.clone()), jobs, config.section("queue").unwrap()).serve("steps", 2);
    let worker = tokio::spawn(worker.run(stop.clone(), CancellationToken::new()));
    queue.enqueue(&Step {}).await.unwrap();
    until(
        "the first job is done",
        &handlers,
        "select count(*) = 1 from background_jobs where status = 'completed'",
    )
    .await;
    // What the standby has not received would be lost with the primary, which is not what is tested here.
    until(
        "the standby has it all",
        &handlers,
        "select replay_lsn >= pg_current_wal_lsn() from pg_stat_replication",
    )
    .await;

    primary.crash().await.unwrap();
    standby.promote().await.unwrap();
    let promoted = Instant::now();
    while let Err(error) = queue.enqueue(&Step {}).await {
        assert!(
            promoted.elapsed() < RECOVERY,
            "nothing can be enqueued after {:?}: {error}",
            promoted.elapsed()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    until(
        "the second job is done",
        &handlers,
        "select count(*) = 2 from background_jobs where status = 'completed'",
    )
    .await;
    let took = promoted.elapsed();
    assert!(took < RECOVERY, "the house stood still for {took:?}");

    stop.cancel();
    worker.await.unwrap().unwrap();
    handlers.close().await;
    engine.close().await;
    primary.stop().await.unwrap();
    standby.stop().await.unwrap();
}
