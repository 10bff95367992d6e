//! Jobs that are made, and ended, in somebody's transaction.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_raw_insert_is_an_enqueue() {
    let house = House::new().await;
    let worker = house.start(2, quick());
    // Before any worker declared its kinds, or after: either way it runs.
    let job: JobId = sqlx::query_scalar(
        "insert into background_jobs (job_type, payload) values ('probe', '{\"does\": \"nothing\"}') returning id",
    )
    .fetch_one(house.pool())
    .await
    .unwrap();
    let row = house.until_ended(job).await;
    assert_eq!((row.status.as_str(), row.queue.as_str(), row.max_attempts), ("completed", "probes", 3));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn effects_and_completion_commit_together_or_not_at_all() {
    let house = House::new().await;
    let worker = house.start(2, quick());
    let once = house.queue.enqueue(&does(Does::CompleteInTransaction)).await.unwrap().id;
    let twice = house.queue.enqueue(&does(Does::CompleteThenRollBack)).await.unwrap().id;
    assert_eq!(house.until_ended(once).await.result, Some(serde_json::json!({"text": "done"})));
    house.until("failed once", twice, |row| row.error_message.is_some()).await;
    house.db.advance(Duration::from_secs(10)).await;
    assert_eq!(house.until_ended(twice).await.attempt, 2);
    let effects: i64 =
        sqlx::query_scalar("select count(*) from users").fetch_one(house.pool()).await.unwrap();
    assert_eq!(effects, 2, "one effect a job");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_complete_themselves_follow_each_other_at_once() {
    let house = House::new().await;
    let jobs: Vec<NewJob> =
        (0..10).map(|_| NewJob::of(&does(Does::CompleteInTransaction)).unwrap()).collect();
    let last = house.queue.enqueue_many(&jobs).await.unwrap().pop().unwrap().id;
    // One at a time, and no poll in between to help.
    let worker = house.start(1, Settings { poll_interval_ms: 60_000, ..quick() });
    house.until("all done", last, |_| house.runs() == 10).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_key_is_held_and_a_closed_one_is_free() {
    let house = House::new().await;
    let job = Probe { does: Does::Snooze(60), key: Some("one".to_owned()) };
    let first = house.queue.enqueue(&job).await.unwrap();
    let second = house.queue.enqueue(&job).await.unwrap();
    assert!(first.created() && !second.created());
    assert_eq!(first.id, second.id);
    let bulk: Vec<NewJob> = (0..3).map(|_| NewJob::of(&job).unwrap()).collect();
    let answers = house.queue.enqueue_many(&bulk).await.unwrap();
    assert!(answers.iter().all(|answer| !answer.created() && answer.id == first.id));

    // A retry waits with the key in its hands.
    let worker = house.start(1, quick());
    house.until("snoozed", first.id, |row| row.error_message.is_some()).await;
    assert!(!house.queue.enqueue(&job).await.unwrap().created());
    house.db.advance(Duration::from_mins(2)).await;
    house.until_ended(first.id).await;
    assert!(house.queue.enqueue(&job).await.unwrap().created());
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_enqueuers_of_one_key_make_one_job() {
    let house = House::new().await;
    let job = Probe { does: Does::Nothing, key: Some("race".to_owned()) };
    let calls = (0..16).map(|_| {
        let (queue, job) = (house.queue.clone(), job.clone());
        tokio::spawn(async move { queue.enqueue(&job).await.unwrap() })
    });
    let answers = futures::future::join_all(calls).await;
    let created = answers.iter().filter(|answer| answer.as_ref().unwrap().created()).count();
    assert_eq!(created, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolled_back_request_leaves_no_job() {
    let house = House::new().await;
    let mut tx = house.pool().begin().await.unwrap();
    let jobs = enqueue(&mut tx, &[NewJob::of(&does(Does::Nothing)).unwrap()]).await.unwrap();
    tx.rollback().await.unwrap();
    house.queue.wake(&jobs);
    let page = control::list(&mut house.pool().acquire().await.unwrap(), &Filter::default(), None, 10).await;
    assert!(page.unwrap().jobs.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_long_transaction_enqueued_runs_without_a_wake() {
    let house = House::new().await;
    let worker = house.start(2, quick());
    let mut tx = house.pool().begin().await.unwrap();
    let old = enqueue(&mut tx, &[NewJob::of(&does(Does::Nothing)).unwrap()]).await.unwrap();
    // Others come and go meanwhile, so every lane's floor lies behind the old job's rank.
    let others: Vec<NewJob> = (0..50).map(|_| NewJob::of(&does(Does::Nothing)).unwrap()).collect();
    for job in house.queue.enqueue_many(&others).await.unwrap() {
        house.until_ended(job.id).await;
    }
    tx.commit().await.unwrap();
    assert_eq!(house.until_ended(old[0].id).await.status, "completed");
    worker.stop().await;
}
