//! Jobs that somebody inserts with nothing but SQL.

use crate::process::WorkerProcess;
use crate::world::{Creator, World};

async fn insert(world: &World, creator: &Creator) {
    sqlx::query(
        "insert into background_jobs (job_type, payload)
         values ('youtube.sync_channel', jsonb_build_object('connection_id', $1::uuid))",
    )
    .bind(creator.connection)
    .execute(world.pool())
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_inserted_by_plain_sql_is_run() {
    let world = World::new(5, 50).await;
    let creator = world.creator().await;
    // Before any worker has ever said what kinds there are, and with one that waits.
    insert(&world, &creator).await;
    let mut worker = WorkerProcess::start(&world, "youtube");
    world.until_idle().await;
    insert(&world, &creator).await;
    world.until_idle().await;

    let jobs = "select status || ' ' || queue || ' ' || max_attempts from background_jobs";
    assert_eq!(world.list(jobs).await, ["completed youtube 8", "completed youtube 8"]);
    assert_eq!(world.list("select distinct status from sync_logs").await, ["success"]);
    assert!(world.number("select count(*) from youtube_comments").await > 0);
    assert_eq!(world.number("select count(*) from credit_usage_events where credits_charged = 0").await, 2);
    assert!(worker.stop().await.0.success());
}
