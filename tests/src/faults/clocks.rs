//! Workers whose own clocks are wrong: due times, leases and ranks are the database's affair.

use std::time::Duration;

use greenroom_queue::NewJob;

use super::errand::{Does, Errand};
use super::house::House;

/// Where Debian's package puts it; the loader fills in the machine's own folder.
const FAKETIME: &str = "/usr/$LIB/faketime/libfaketime.so.1";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs libfaketime"]
async fn needs_faketime_a_wrong_clock_hurries_and_delays_nothing() {
    let house = House::new().await;
    let skewed = |by: &str| {
        house
            .worker()
            .slots(3)
            .env("LD_PRELOAD", FAKETIME)
            .env("FAKETIME", by)
            .env("DONT_FAKE_MONOTONIC", "1")
            .env("GREENROOM__LOG__FILTER", "info")
    };
    let mut crew = [skewed("+3600s").start(), skewed("-3600s").start()];
    house.until("both are there", "count(*) = 2 from greenroom.workers").await;
    let soon: chrono::DateTime<chrono::Utc> =
        sqlx::query_scalar("select greenroom.now() + interval '3 s'").fetch_one(&house.pool).await.unwrap();
    let later: Vec<NewJob> =
        (0..20).map(|_| NewJob::of(&Errand { does: Does::Wait(0) }).unwrap().at(soon)).collect();
    house.queue.enqueue_many(&later).await.unwrap();
    // Longer than a lease, so that it is renewed; by wrong clocks each would seem over, or endless.
    house.errands(6, Does::Wait(4_000)).await;
    house.errands(100, Does::Wait(5)).await;
    house.until_idle(Duration::from_mins(1)).await;

    assert_eq!(house.all_was_done_once(126).await, 0, "run again");
    assert_eq!(house.number("select count(*) from greenroom.attempts").await, 0, "a lease was lost");
    let early = "select count(*) from background_jobs where started_at < run_at";
    assert_eq!(house.number(early).await, 0, "begun before its time");
    let late = "select count(*) from background_jobs where started_at > run_at + interval '5 min'";
    assert_eq!(house.number(late).await, 0, "begun long after its time");
    let busy = "select count(distinct worker_id) from background_jobs";
    assert_eq!(house.number(busy).await, 2, "both worked");
    // The test is worth something only where their clocks were wrong.
    let this_hour = greenroom_model::Clock::system().now().format("%Y-%m-%dT%H:").to_string();
    for process in &mut crew {
        let log = process.log();
        assert!(log.contains("Working on") && !log.contains(&this_hour), "its clock is right:\n{log}");
    }
    for process in crew {
        process.stop().await;
    }
}
