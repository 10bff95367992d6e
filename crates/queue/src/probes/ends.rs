//! How a job ends: by its word, by a failure, by a crash, by an operator.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_does_not_decode_ends_only_itself() {
    let house = House::new().await;
    house.jobs().register(house.pool()).await.unwrap();
    let bad: JobId = sqlx::query_scalar(
        "insert into background_jobs (job_type, payload) values ('probe', '{\"does\": \"fly\"}') returning id",
    )
    .fetch_one(house.pool())
    .await
    .unwrap();
    let worker = house.start(2, quick());
    let good = house.queue.enqueue(&does(Does::Nothing)).await.unwrap().id;
    assert_eq!(house.until_ended(good).await.status, "completed");
    let row = house.until("tried", bad, |row| row.error_message.is_some()).await;
    assert_eq!((row.status.as_str(), row.attempt), ("pending", 1));
    assert!(row.error_message.unwrap().starts_with("the payload does not decode"));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_waits_in_the_database_and_ends_after_its_attempts() {
    let house = House::new().await;
    let worker = house.start(2, quick());
    let job = house.queue.enqueue(&does(Does::Fail)).await.unwrap().id;
    for attempt in 1..=3_i16 {
        let row = house.until("tried", job, |row| row.attempt == attempt && row.status != "running").await;
        assert_eq!(house.runs(), u32::from(attempt.unsigned_abs()), "no retry in the process");
        if attempt < 3 {
            assert_eq!(row.status, "pending");
            let wait = row.run_at - house.db.clock().now();
            assert!(wait > TimeDelta::seconds(1), "waits for {wait}");
            house.db.advance(Duration::from_secs(10)).await;
        }
    }
    let row = house.until_ended(job).await;
    assert_eq!((row.failure.as_deref(), row.error_message.as_deref()), (Some("exhausted"), Some("it broke")));
    assert_eq!(house.outcomes(job).await, ["retried", "retried", "exhausted"]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snooze_gives_the_attempt_back() {
    let house = House::new().await;
    let worker = house.start(2, quick());
    let job = house.queue.enqueue(&does(Does::Snooze(3_600))).await.unwrap().id;
    let row = house.until("snoozed", job, |row| row.error_message.is_some()).await;
    assert_eq!((row.status.as_str(), row.attempt), ("pending", 0));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(house.runs(), 1, "it is left alone until then");
    house.db.advance(Duration::from_secs(3_700)).await;
    assert_eq!(house.until_ended(job).await.status, "completed");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_and_a_timeout_are_failures_of_the_job_alone() {
    let house = House::new().await;
    let worker = house.start(3, quick());
    let panics = house.queue.enqueue(&does(Does::Panic)).await.unwrap().id;
    let hangs = house.queue.enqueue(&does(Does::Sleep(60_000))).await.unwrap().id;
    let fine = house.queue.enqueue(&does(Does::Nothing)).await.unwrap().id;
    assert_eq!(house.until_ended(fine).await.status, "completed");
    let row = house.until("caught", panics, |row| row.error_message.is_some()).await;
    assert_eq!((row.status.as_str(), row.attempt), ("pending", 1));
    assert!(row.error_message.unwrap().contains("the handler panicked"));
    let row = house.until("timed out", hangs, |row| row.error_message.is_some()).await;
    assert_eq!((row.status.as_str(), row.attempt), ("pending", 1));
    assert_eq!(row.error_message.unwrap(), "took longer than its limit of 1.5 s");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_crashes_quarantine_a_job() {
    let house = House::new().await;
    let job = house.queue.enqueue(&does(Does::Nothing)).await.unwrap().id;
    let mut conn = house.pool().acquire().await.unwrap();
    for _ in 0..3 {
        until_claimed(&mut conn).await;
        house.db.advance(Duration::from_secs(61)).await;
        sweep(house.pool(), &quick()).await.unwrap();
    }
    let row = house.show(job).await;
    assert_eq!(
        (row.status.as_str(), row.failure.as_deref(), row.attempt),
        ("failed", Some("quarantined"), 0)
    );
    assert_eq!(house.outcomes(job).await, ["crashed", "crashed", "quarantined"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_ends_a_waiting_job_at_once_and_a_running_one_soon() {
    let house = House::new().await;
    let later = house.db.clock().now() + TimeDelta::hours(1);
    let waiting =
        house.queue.enqueue_many(&[NewJob::of(&does(Does::Nothing)).unwrap().at(later)]).await.unwrap()[0].id;
    assert_eq!(control::cancel(house.pool(), waiting).await.unwrap(), Cancelled::AtOnce);
    assert_eq!(house.show(waiting).await.failure.as_deref(), Some("cancelled"));

    let worker = house.start(3, quick());
    let heeds = house.queue.enqueue(&does(Does::WaitForInterrupt)).await.unwrap().id;
    let ignores = house.queue.enqueue(&does(Does::Sleep(60_000))).await.unwrap().id;
    for job in [heeds, ignores] {
        house.until("running", job, |row| row.status == "running").await;
        assert_eq!(control::cancel(house.pool(), job).await.unwrap(), Cancelled::Requested);
        let row = house.until_ended(job).await;
        assert_eq!((row.failure.as_deref(), row.attempt), (Some("cancelled"), 1));
    }
    assert!(matches!(control::cancel(house.pool(), heeds).await, Err(QueueError::WrongState { .. })));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_job_is_retried_with_all_its_attempts() {
    let house = House::new().await;
    let job = Probe { does: Does::Discard, key: Some("k".to_owned()) };
    let worker = house.start(2, quick());
    let failed = house.queue.enqueue(&job).await.unwrap().id;
    let row = house.until_ended(failed).await;
    assert_eq!(
        (row.failure.as_deref(), row.error_message.as_deref()),
        (Some("discarded"), Some("it can never work"))
    );
    worker.stop().await;

    let holder = house.queue.enqueue(&job).await.unwrap().id;
    assert!(matches!(control::retry(house.pool(), failed).await, Err(QueueError::KeyHeld { .. })));
    control::cancel(house.pool(), holder).await.unwrap();
    control::retry(house.pool(), failed).await.unwrap();
    let row = house.show(failed).await;
    assert_eq!((row.status.as_str(), row.attempt, row.failure), ("pending", 0, None));
    assert!(matches!(control::retry(house.pool(), JobId::new()).await, Err(QueueError::NotFound(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_postgres_cannot_hold_is_noted_and_the_job_done() {
    let house = House::new().await;
    let worker = house.start(1, quick());
    let job = house.queue.enqueue(&does(Does::ReportNul)).await.unwrap().id;
    let row = house.until_ended(job).await;
    assert_eq!(
        (row.status.as_str(), row.result),
        ("completed", Some(serde_json::json!({"report_holds_nul": true})))
    );
    let nul = Probe { does: Does::Nothing, key: Some("a\0b".to_owned()) };
    assert!(matches!(house.queue.enqueue(&nul).await, Err(crate::EnqueueError::Nul { .. })));
    let huge = Probe { does: Does::Nothing, key: Some("x".repeat(70_000)) };
    assert!(matches!(house.queue.enqueue(&huge).await, Err(crate::EnqueueError::PayloadTooLarge { .. })));
    worker.stop().await;
}
