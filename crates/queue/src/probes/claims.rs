//! Who gets which job, and when.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_worker_keeps_its_leases() {
    let house = House::new().await;
    // Eight jobs of 1.2 s over two slots, twice as long as the lease of 3 s in all.
    let settings = Settings { lease_secs: 3, statement_timeout_ms: 1_000, ..quick() };
    let workers = [house.start(1, settings.clone()), house.start(1, settings)];
    let jobs: Vec<NewJob> = (0..8).map(|_| NewJob::of(&does(Does::Sleep(1_200))).unwrap()).collect();
    for job in house.queue.enqueue_many(&jobs).await.unwrap() {
        assert_eq!(house.until_ended(job.id).await.attempt, 1);
    }
    assert_eq!(house.runs(), 8, "each ran once");
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_due_later_runs_in_time_also_with_a_listener() {
    let house = House::new().await;
    let worker = house.start(2, quick());
    let due = house.db.clock().now() + TimeDelta::seconds(1);
    let jobs = house.queue.enqueue_many(&[NewJob::of(&does(Does::Nothing)).unwrap().at(due)]).await.unwrap();
    let row = house.until_ended(jobs[0].id).await;
    let late = row.started_at.unwrap() - due;
    assert!(late >= TimeDelta::zero() && late < TimeDelta::seconds(3), "began {late} after it was due");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_worker_is_woken_and_not_polling() {
    let house = House::new().await;
    let worker = house.start(2, Settings { poll_interval_ms: 60_000, sweep_interval_ms: 60_000, ..quick() });
    let warm = house.queue.enqueue(&does(Does::Nothing)).await.unwrap().id;
    house.until_ended(warm).await;
    let begun = Instant::now();
    let job = house.queue.enqueue(&does(Does::Nothing)).await.unwrap().id;
    house.until_ended(job).await;
    assert!(begun.elapsed() < Duration::from_secs(10));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_nobody_here_knows_is_left_alone() {
    let house = House::new().await;
    sqlx::query(
        "insert into greenroom.kinds (kind, queue, priority, max_attempts) values ('newer', 'probes', 5, 4)",
    )
    .execute(house.pool())
    .await
    .unwrap();
    let job: JobId =
        sqlx::query_scalar("insert into background_jobs (job_type) values ('newer') returning id")
            .fetch_one(house.pool())
            .await
            .unwrap();
    let worker = house.start(2, quick());
    let row = house.until("given back", job, |row| row.error_message.is_some()).await;
    assert_eq!((row.status.as_str(), row.attempt), ("pending", 0));
    assert!(row.error_message.unwrap().contains("newer"));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_changes_nothing() {
    let house = House::new().await;
    let job = house.queue.enqueue(&does(Does::Nothing)).await.unwrap().id;
    let mut conn = house.pool().acquire().await.unwrap();
    let zombie = Arc::new(until_claimed(&mut conn).await);
    house.db.advance(Duration::from_secs(61)).await;
    assert_eq!(sweep(house.pool(), &quick()).await.unwrap().rescued, 1);
    let heir = claim(&mut conn, 1).await;
    assert_eq!(heir[0].id, job);

    let (_keep, interrupt) = tokio::sync::watch::channel(None);
    let stopping = CancellationToken::new();
    let ctx = Context::new(Arc::clone(&zombie), house.queue.clone(), interrupt, stopping, Probe::POLICY);
    assert!(matches!(ctx.fence(&mut conn).await, Err(QueueError::LeaseLost(_))));
    assert!(matches!(ctx.save_checkpoint(&mut conn, &1).await, Err(QueueError::LeaseLost(_))));
    assert!(matches!(ctx.complete(&mut conn, ()).await, Err(QueueError::LeaseLost(_))));
    let settlement = Settlement::of(&zombie, Verdict::Completed(None));
    assert_eq!(complete(&mut conn, &[settlement]).await.unwrap(), [job]);
    let row = house.show(job).await;
    assert_eq!((row.status.as_str(), row.attempt), ("running", 1), "the crash gave its attempt back");
    assert_eq!(house.outcomes(job).await, ["crashed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_never_runs_more_than_its_cap() {
    let house = House::new().await;
    let workers = [house.start(8, quick()), house.start(8, quick()), house.start(8, quick())];
    let jobs: Vec<NewJob> =
        (0..20).map(|_| NewJob::of(&Serial { account: "one".to_owned() }).unwrap()).collect();
    for job in house.queue.enqueue_many(&jobs).await.unwrap() {
        house.until_ended(job.id).await;
    }
    assert_eq!(house.runs(), 20);
    assert_eq!(house.seen.most_at_once.load(Ordering::SeqCst), 1);
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn priority_and_then_time_decide_the_order() {
    let house = House::new().await;
    let new = |priority| NewJob::of(&Serial { account: "p".into() }).unwrap().priority(priority);
    let jobs = house.queue.enqueue_many(&[new(9), new(5), new(5), new(0)]).await.unwrap();
    let mut conn = house.pool().acquire().await.unwrap();
    let mut order = Vec::new();
    while order.len() < 4 {
        let claimed = until_claimed(&mut conn).await;
        order.push(jobs.iter().position(|job| job.id == claimed.id).unwrap());
        let settlement = Settlement::of(&claimed, Verdict::Completed(None));
        complete(&mut conn, &[settlement]).await.unwrap();
        wake_full(&mut conn, &[claimed.lane]).await.unwrap();
    }
    assert_eq!(order, [3, 1, 2, 0]);
    assert_eq!(Serial::POLICY.lane, Lane::Keyed { field: "account", cap: 1 });
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_share_the_work_and_each_job_runs_once() {
    let house = House::new().await;
    let workers = [house.start(20, quick()), house.start(20, quick())];
    let jobs: Vec<NewJob> = (0..500).map(|_| NewJob::of(&does(Does::Nothing)).unwrap()).collect();
    for job in house.queue.enqueue_many(&jobs).await.unwrap() {
        assert_eq!(house.until_ended(job.id).await.status, "completed");
    }
    assert_eq!(house.runs(), 500);
    for worker in workers {
        worker.stop().await;
    }
}

/// The claim in one statement: the count comes from the snapshot of its beginning, the lock from later.
/// The sleep stands for whatever delays a real one between the two. Kept to show that it is wrong.
const WRONG_CLAIM: &str = r"
    with delayed as materialized (
        select pg_sleep(0.4)
    ), locked as (
        select l.id, l.cap from delayed, greenroom.turns t join greenroom.lanes l on l.id = t.lane
         where t.queue = 'probes' and t.awake
           for no key update of t skip locked
    ), open_lanes as (
        select id, greatest(0, cap - (select count(*) from background_jobs r
                                       where r.lane = locked.id and r.status = 'running'))::int as free from locked
    ), pick as (
        select j.id from open_lanes o cross join lateral (
            select b.id from background_jobs b where b.lane = o.id and b.status = 'pending' and b.rank is not null
             order by b.rank limit o.free for update skip locked) j
    )
    update background_jobs b set status = 'running', lease_token = 1, leased_until = greenroom.now() + '1 min'
      from pick where b.id = pick.id";

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_in_one_statement_breaks_the_cap_that_ours_keeps() {
    let house = House::new().await;
    let jobs: Vec<NewJob> = (0..3).map(|_| NewJob::of(&Serial { account: "c".into() }).unwrap()).collect();
    house.queue.enqueue_many(&jobs).await.unwrap();
    until_lane_exists(house.pool()).await;

    let pool = house.pool().clone();
    let wrong =
        tokio::spawn(async move { sqlx::query(WRONG_CLAIM).execute(&pool).await.unwrap().rows_affected() });
    tokio::time::sleep(Duration::from_millis(150)).await;
    let mut conn = house.pool().acquire().await.unwrap();
    let first = claim(&mut conn, 5).await.len();
    // Ours put the lane to sleep; what wakes it must not make ours break the cap either.
    sqlx::query("update greenroom.turns set awake = true").execute(&mut *conn).await.unwrap();
    let second = claim(&mut conn, 5).await.len();
    assert_eq!((first, second), (1, 0), "ours keeps the cap of 1");
    sqlx::query("update greenroom.turns set awake = true").execute(&mut *conn).await.unwrap();
    assert_eq!(wrong.await.unwrap(), 1, "the wrong form runs a second job in a lane with a cap of 1");
}

async fn until_lane_exists(pool: &PgPool) {
    loop {
        let lanes: i64 =
            sqlx::query_scalar("select count(*) from greenroom.turns").fetch_one(pool).await.unwrap();
        if lanes > 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
