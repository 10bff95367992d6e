//! Probes, and the end of the process.

use std::time::{Duration, Instant};

use super::*;

fn brief(shutdown_timeout_secs: u64) -> Settings {
    Settings { drain_delay_ms: 300, shutdown_timeout_secs, ..settings() }
}

/// Begins a request that waits until the answered transaction ends.
async fn begin(
    world: &World,
) -> (JoinHandle<reqwest::Result<Response>>, sqlx::Transaction<'static, sqlx::Postgres>) {
    let mut tx = world.pool().begin().await.unwrap();
    sqlx::query("lock table background_jobs in access exclusive mode").execute(&mut *tx).await.unwrap();
    let request = world.request(Method::POST, &sync_path(world.ours.connection));
    let request = tokio::spawn(request.bearer_auth(&world.ours.token).send());
    let waits = "select count(*) from pg_locks where not granted";
    while sqlx::query_scalar::<_, i64>(waits).fetch_one(world.pool()).await.unwrap() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (request, tx)
}

#[tokio::test]
async fn probes_tell_life_from_readiness_and_metrics_count() {
    let world = World::new().await;
    assert_eq!(world.get("/readyz", "").await.body["status"], "ready");
    world.get("/v1/jobs", &world.ours.token).await;
    let metrics = world.get("/metrics", "").await;
    assert!(metrics.header("content-type").starts_with("text/plain"));
    let line = r#"greenroom_http_requests_total{route="/v1/jobs",method="GET",status="200"}"#;
    assert!(metrics.body.as_str().unwrap().contains(line), "{:?}", metrics.body);

    let last = "delete from _sqlx_migrations where version = (select max(version) from _sqlx_migrations)";
    sqlx::query(last).execute(world.pool()).await.unwrap();
    assert_eq!(world.get("/readyz", "").await.problem(), (503, "schema_not_current"));
    world.pool().close().await;
    assert_eq!(world.get("/readyz", "").await.problem(), (503, "database_unreachable"));
    assert_eq!(world.get("/v1/jobs", &world.ours.token).await.problem(), (503, "unavailable"));
    assert_eq!(world.get("/healthz", "").await.body["status"], "alive");
    assert_eq!(world.get("/livez", "").await.body["status"], "alive");
}

#[tokio::test]
async fn a_signal_lets_begun_requests_finish_and_takes_no_more() {
    let world = World::with(brief(20)).await;
    let (request, tx) = begin(&world).await;
    world.shutdown.requested.cancel();
    assert_eq!(world.get("/readyz", "").await.problem(), (503, "draining"));
    assert_eq!(world.get("/healthz", "").await.status, 200, "still taken, for those who have not looked yet");

    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(world.request(Method::GET, "/healthz").send().await.is_err(), "nobody listens");
    assert!(!world.server.is_finished() && !request.is_finished());
    tx.rollback().await.unwrap();
    assert_eq!(request.await.unwrap().unwrap().status(), 202);
    world.server.await.unwrap().unwrap();
}

#[tokio::test]
async fn idle_clients_do_not_hold_the_process() {
    let world = World::with(brief(20)).await;
    let _silent = tokio::net::TcpStream::connect(world.address).await.unwrap();
    // The client of this test keeps its connection open.
    world.get("/healthz", "").await;
    world.shutdown.requested.cancel();
    let begun = Instant::now();
    world.server.await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_request_that_does_not_finish_in_time_is_given_up() {
    let world = World::with(brief(1)).await;
    let (request, _tx) = begin(&world).await;
    world.shutdown.requested.cancel();
    world.server.await.unwrap().unwrap();
    assert!(request.await.unwrap().is_err());
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let world = World::with(brief(20)).await;
    let (request, _tx) = begin(&world).await;
    world.shutdown.requested.cancel();
    world.shutdown.insisted.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(2), world.server).await.unwrap().unwrap();
    assert!(matches!(ended, Err(StartError::Insisted)), "{ended:?}");
    assert!(request.await.unwrap().is_err());
}
