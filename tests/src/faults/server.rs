//! A server that dies, and sessions that it ends.

use std::time::{Duration, Instant};

use greenroom_postgres::{Postgres, migrate};
use greenroom_queue::NewJob;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::postgres::PgPoolOptions;

use super::errand::{Does, Errand};
use super::house::House;

const DATABASE: &str = "house";

/// Lets the server die as in a power cut, again and again, under enqueuers and workers.
async fn crash_the_server(times: usize, limit: Duration) {
    let server = Postgres::alone().await.unwrap();
    server.create_database(DATABASE).await.unwrap();
    migrate(&server.options(DATABASE)).await.unwrap();
    let pool = PgPoolOptions::new()
        .acquire_timeout(Duration::from_millis(500))
        .connect_with(server.options(DATABASE))
        .await
        .unwrap();
    let house = House::at(server.url(DATABASE), pool).await;
    let crew: Vec<_> = (0..2).map(|_| house.worker().slots(5).start()).collect();
    // A process that loses its first session does not start, which is its supervisor's affair.
    house.until("both work", "count(*) = 2 from greenroom.workers").await;
    let (mut acknowledged, mut worst) = (Vec::new(), Duration::ZERO);
    for _ in 0..times {
        acknowledged.extend(house.errands(60, Does::Wait(20)).await);
        house.until("it works", "exists (select from background_jobs where status = 'running')").await;
        server.crash().await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.restart().await.unwrap();
        let back = Instant::now();
        let first = loop {
            let job = NewJob::of(&Errand { does: Does::Wait(0) }).unwrap();
            if let Ok(jobs) = house.queue.enqueue_many(&[job]).await {
                break jobs[0].id;
            }
        };
        acknowledged.push(first);
        let done = format!("exists (select from effects where job = '{first}')");
        house.within(Duration::from_secs(20), "a new job is done", &done).await;
        worst = worst.max(back.elapsed());
    }
    house.until_idle(Duration::from_mins(2)).await;
    // One that was written while its answer was lost is there as well, and done once.
    let jobs = house.number("select count(*) from background_jobs").await;
    house.all_was_done_once(usize::try_from(jobs).unwrap()).await;
    let kept: i64 = sqlx::query_scalar("select count(*) from effects where job = any ($1)")
        .bind(acknowledged.iter().map(|id| id.0).collect::<Vec<_>>())
        .fetch_one(&house.pool)
        .await
        .unwrap();
    assert_eq!(usize::try_from(kept).unwrap(), acknowledged.len(), "an acknowledged job was lost");
    assert!(worst < limit, "it took {worst:?} after the server was back");
    println!("{times} crashes, {jobs} jobs, worst recovery {worst:?}");
    for process in crew {
        process.stop().await;
    }
    house.pool.close().await;
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn work_goes_on_when_the_server_is_back_from_a_crash() {
    crash_the_server(2, Duration::from_secs(15)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long, 1 minute"]
async fn long_work_goes_on_when_the_server_is_back_from_a_crash() {
    crash_the_server(10, Duration::from_secs(5)).await;
}

/// Ends sessions of the workers at random, those that listen among them.
async fn end_sessions(jobs: usize, pause: Duration) {
    let house = House::new().await;
    house.errands(jobs, Does::Wait(10)).await;
    let crew: Vec<_> = (0..2).map(|_| house.worker().slots(5).start()).collect();
    // A process that loses its first session does not start, which is its supervisor's affair.
    house.until("both work", "count(*) = 2 from greenroom.workers").await;
    let mut dice = StdRng::seed_from_u64(6);
    let (mut ended, idle) =
        (0, "not exists (select from background_jobs where status in ('pending', 'running'))");
    let begun = Instant::now();
    while !house.holds(idle).await {
        assert!(begun.elapsed() < Duration::from_mins(20), "it does not come to an end");
        ended += house
            .number(
                "select count(pg_terminate_backend(pid)) from (
                     select pid from pg_stat_activity
                      where datname = current_database() and application_name like 'errands-%'
                      order by random() limit 1) one",
            )
            .await;
        tokio::time::sleep(pause.mul_f64(dice.random_range(0.5..1.5))).await;
    }
    assert!(ended > 10, "only {ended} sessions were ended");
    let again = house.all_was_done_once(jobs).await;
    println!("{ended} sessions ended, {jobs} jobs, {again} begun again, in {:?}", begun.elapsed());
    for process in crew {
        process.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_ended_at_random_cost_no_job() {
    end_sessions(300, Duration::from_millis(30)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long, 4 minutes"]
async fn long_sessions_that_are_ended_at_random_cost_no_job() {
    end_sessions(20_000, Duration::from_millis(50)).await;
}
