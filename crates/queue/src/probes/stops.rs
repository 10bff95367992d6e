//! A worker that stops, and what becomes of its jobs.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_burns_no_attempt() {
    let house = House::new().await;
    let worker = house.start(2, quick());
    let quick_job = house.queue.enqueue(&does(Does::Sleep(200))).await.unwrap().id;
    let long_job = house.queue.enqueue(&does(Does::Sleep(1_400))).await.unwrap().id;
    for job in [quick_job, long_job] {
        house.until("running", job, |row| row.status == "running").await;
    }
    worker.stop().await;
    assert_eq!(house.show(quick_job).await.status, "completed", "it could finish in time");
    let row = house.show(long_job).await;
    assert_eq!((row.status.as_str(), row.attempt), ("pending", 0));
    assert_eq!(house.outcomes(long_job).await, ["released"]);
    let worker = house.start(2, quick());
    assert_eq!(house.until_ended(long_job).await.attempt, 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hurried_stop_gives_everything_back_at_once() {
    let house = House::new().await;
    let worker = house.start(2, quick());
    let job = house.queue.enqueue(&does(Does::Sleep(30_000))).await.unwrap().id;
    house.until("running", job, |row| row.status == "running").await;
    worker.at_once.cancel();
    worker.stop().await;
    assert_eq!(house.show(job).await.attempt, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_job_resumes_from_its_checkpoint() {
    let house = House::new().await;
    let worker = house.start(1, quick());
    let job = house.queue.enqueue(&does(Does::Checkpoint)).await.unwrap().id;
    let row = house.until_ended(job).await;
    assert_eq!(row.result, Some(serde_json::json!({"text": "resumed at 2"})));
    assert_eq!(row.attempt, 1);
    worker.stop().await;
}
