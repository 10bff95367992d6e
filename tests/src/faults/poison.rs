//! Jobs that harm whoever runs them.

use std::time::Duration;

use greenroom_queue::{EnqueueError, NewJob};

use super::errand::{Does, Errand};
use super::house::House;

async fn status(house: &House, does: &str) -> Vec<String> {
    house
        .list(&format!(
            "select status || coalesce(' ' || failure, '') || ' ' || crashes from background_jobs
              where payload ->> 'does' = '{does}' or payload -> 'does' ? '{does}'"
        ))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_kills_its_process_is_set_aside_and_others_live() {
    let house = House::new().await;
    let bystander = house.bystander().await;
    house.errands(1, Does::Abort).await;
    house.errands(60, Does::Wait(5)).await;
    let set_aside = "exists (select from background_jobs where failure = 'quarantined')";
    let mut deaths = 0;
    // One at a time: a crash counts for every job that its process held.
    let mut process = house.worker().slots(1).start();
    while !house.holds(set_aside).await {
        if process.has_ended().is_some() {
            deaths += 1;
            process = house.worker().slots(1).start();
        }
        assert!(deaths <= 3, "it kills on and on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    if process.has_ended().is_some() {
        process = house.worker().slots(1).start();
    }
    house.until_idle(Duration::from_secs(30)).await;
    assert_eq!(status(&house, "abort").await, ["failed quarantined 3"]);
    assert_eq!(house.number("select count(*) from background_jobs where status = 'completed'").await, 60);
    assert_eq!(house.number("select count(distinct job) from effects").await, 60);
    process.stop().await;
    bystander.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn panics_huge_reports_and_nul_harm_nobody_else() {
    // A tenth of a tenth of a gigabyte, since this build takes ten times as long over it as a release.
    let huge = 10_000_000;
    let house = House::new().await;
    let nul = NewJob::of(&Errand { does: Does::Say("a\0b".to_owned()) });
    let refused = match nul {
        Ok(job) => house.queue.enqueue_many(&[job]).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(refused, EnqueueError::Nul { .. }), "{refused}");
    let panics = NewJob::of(&Errand { does: Does::Panic }).unwrap();
    house.queue.enqueue_many(&[panics]).await.unwrap();
    house.errands(1, Does::Report(huge)).await;
    house.errands(1, Does::ReportNul).await;
    house.errands(50, Does::Wait(5)).await;
    let process = house.worker().slots(4).start();
    house
        .until(
            "all but the one that panics are done",
            "count(*) = 52 from background_jobs where status = 'completed'",
        )
        .await;
    let reports =
        "select left(result::text, 60) from background_jobs where result::text like '%report_%' order by 1";
    assert_eq!(
        house.list(reports).await,
        ["{\"bytes\": 10000002, \"report_too_large\": true}", "{\"report_holds_nul\": true}"]
    );
    house
        .until(
            "it panicked again",
            "attempt >= 2 and crashes = 0 from background_jobs where payload ->> 'does' = 'panic'",
        )
        .await;
    let error = "select error_message from background_jobs where payload ->> 'does' = 'panic'";
    assert!(house.list(error).await[0].starts_with("the handler panicked: out of its mind"));
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_loop_holds_up_neither_other_jobs_nor_the_end_of_its_process() {
    let house = House::new().await;
    let bystander = house.bystander().await;
    house.errands(1, Does::Spin).await;
    let process = house.worker().slots(4).start();
    house.until("it spins", "exists (select from runs)").await;
    house.errands(50, Does::Wait(5)).await;
    house
        .within(
            Duration::from_secs(30),
            "the others are done",
            "count(*) = 50 from background_jobs where status = 'completed'",
        )
        .await;
    let took = process.stop().await;
    assert!(took < Duration::from_secs(10), "it took {took:?} to stop");
    assert_eq!(status(&house, "spin").await, ["pending 0"], "given back, to be seen and cancelled");
    bystander.stop().await;
}
