//! Many jobs, many workers, long transactions: who waits for whom, and what a claim costs.

use std::time::{Duration, Instant};

use greenroom_queue::{
    Jobs, NewJob, Pausable, Queue, Settings, Worker, enqueue, set_lane, set_paused, sweep,
};
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::errand::{self, Does, Errand};
use super::house::House;

/// Workers of this process.
struct Crew {
    stop: CancellationToken,
    workers: Vec<JoinHandle<()>>,
}

impl Crew {
    fn start(house: &House, workers: usize, slots: u32, settings: &Settings) -> Self {
        Self::of(&errand::jobs(&house.pool), house, workers, slots, settings)
    }

    fn of(jobs: &Jobs, house: &House, workers: usize, slots: u32, settings: &Settings) -> Self {
        let stop = CancellationToken::new();
        let start = |_| {
            let worker = Worker::new(Queue::new(house.pool.clone()), jobs.clone(), settings.clone())
                .serve("errands", slots);
            let stop = stop.clone();
            tokio::spawn(async move { worker.run(stop, CancellationToken::new()).await.unwrap() })
        };
        Self { workers: (0..workers).map(start).collect(), stop }
    }

    async fn stop(self) {
        self.stop.cancel();
        for worker in self.workers {
            worker.await.unwrap();
        }
    }
}

fn settings() -> Settings {
    Settings { batch: 500, ..Settings::default() }
}

/// All jobs are due in the same second, and all workers start in it.
async fn all_at_once(jobs: usize, workers: usize) {
    let house = House::new().await;
    let due: chrono::DateTime<chrono::Utc> =
        sqlx::query_scalar("select greenroom.now() + interval '1 s'").fetch_one(&house.pool).await.unwrap();
    for _ in 0..jobs / 1_000 {
        let some: Vec<NewJob> =
            (0..1_000).map(|_| NewJob::of(&Errand { does: Does::Wait(0) }).unwrap().at(due)).collect();
        house.queue.enqueue_many(&some).await.unwrap();
    }
    let begun = Instant::now();
    let crew = Crew::start(&house, workers, 10, &settings());
    house.until_idle(Duration::from_secs(30 + jobs as u64 / 50)).await;
    println!("{jobs} jobs by {workers} workers took {:?}", begun.elapsed());
    assert_eq!(house.all_was_done_once(jobs).await, 0, "run again");
    assert_eq!(house.number("select count(*) from greenroom.attempts").await, 0);
    crew.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_jobs_that_are_due_at_once_are_run_once_each() {
    all_at_once(2_000, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long, 30 minutes"]
async fn long_many_jobs_that_are_due_at_once_are_run_once_each() {
    all_at_once(1_000_000, 200).await;
}

/// Fills one lane with far more than can be done, and others with a little, later.
async fn whale(whale: usize) {
    let house = House::new().await;
    let (small, lanes) = (40, 5);
    let mut conn = house.pool.acquire().await.unwrap();
    let key = |whose: &str| format!("whose:{whose}");
    for whose in (0..lanes).map(|n| format!("small{n}")).chain(["whale".to_owned()]) {
        set_lane(&mut conn, ("errands", "", &key(&whose)), Some(1_000), None).await.unwrap();
    }
    drop(conn);
    for some in (0..whale).collect::<Vec<_>>().chunks(50_000) {
        house.turns(some.len(), "whale", Does::Wait(0)).await;
    }
    let crew = Crew::start(&house, 2, 10, &settings());
    house.until("the whale is at work", "exists (select from effects)").await;
    for n in 0..lanes {
        house.turns(small, &format!("small{n}"), Does::Wait(0)).await;
    }
    let smalls = "select id from background_jobs where payload ->> 'whose' like 'small%'";
    house
        .within(
            Duration::from_mins(2),
            "the small ones are done",
            &format!("count(*) = {} from effects where job in ({smalls})", small * lanes),
        )
        .await;
    let begun = format!("select min(started_at) from background_jobs where id in ({smalls})");
    let ended = format!("select max(started_at) from background_jobs where id in ({smalls})");
    let meanwhile = house
        .number(&format!(
            "select count(*) from background_jobs where payload ->> 'whose' = 'whale'
              and started_at between ({begun}) and ({ended})"
        ))
        .await;
    // Its fair share is what one small lane got; claims come in batches, some of which were under way.
    let fair = i64::try_from(small).unwrap() + 2 * 2 * 10;
    println!("{whale} jobs of the whale; while {lanes} lanes had {small} each, it had {meanwhile}");
    assert!(meanwhile <= fair, "the whale had {meanwhile} of its {fair}");
    crew.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whale_takes_no_more_than_its_share() {
    whale(5_000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long, 15 minutes"]
async fn long_a_whale_takes_no_more_than_its_share() {
    whale(1_000_000).await;
}

/// Gives every lane its weight and more jobs than are done; returns how many were of each.
#[expect(clippy::cast_precision_loss, reason = "a few thousand")]
async fn weigh(lanes: &[(&str, f32)], until_done: usize) -> Vec<f64> {
    let house = House::new().await;
    let mut conn = house.pool.acquire().await.unwrap();
    for (whose, weight) in lanes {
        let key = format!("whose:{whose}");
        set_lane(&mut conn, ("errands", "", &key), Some(1_000), Some(*weight)).await.unwrap();
    }
    set_paused(&mut conn, &Pausable::Queue("errands".to_owned()), true).await.unwrap();
    for (whose, _) in lanes {
        house.turns(until_done, whose, Does::Wait(0)).await;
    }
    let crew = Crew::start(&house, 1, 10, &settings());
    house.until("it is there", "exists (select from greenroom.workers)").await;
    set_paused(&mut conn, &Pausable::Queue("errands".to_owned()), false).await.unwrap();
    house.until("some are done", &format!("count(*) >= {until_done} from effects")).await;
    crew.stop().await;
    let mut counts = Vec::new();
    for (whose, _) in lanes {
        let of = format!(
            "select count(*) from (select job from effects order by at limit {until_done}) first
               join background_jobs b on b.id = first.job where b.payload ->> 'whose' = '{whose}'"
        );
        counts.push(house.number(&of).await as f64);
    }
    println!("weights {lanes:?} had {counts:?}");
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_of_three_times_the_weight_has_three_times_as_much() {
    let had = weigh(&[("one", 1.0), ("three", 3.0)], 600).await;
    assert!((2.5..=3.5).contains(&(had[1] / had[0])), "{had:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long, 1 minute"]
async fn long_weights_are_kept_among_many_lanes() {
    let lanes = [("a", 1.0), ("b", 1.0), ("c", 1.0), ("d", 1.0), ("three", 3.0)];
    let had = weigh(&lanes, 3_000).await;
    let others = had[..4].iter().sum::<f64>() / 4.0;
    assert!((2.5..=3.5).contains(&(had[4] / others)), "{had:?}");
}

/// Returns how many pages a claim of this many jobs touches, and how many it took; takes it back. The floor is
/// what the claim before it has seen.
async fn cost_of_a_claim(conn: &mut PgConnection, slots: u32, floor: f64) -> (i64, i64) {
    let sql = format!(
        "explain (analyze, buffers, format json)
         select * from greenroom.claim('errands', '', gen_random_uuid(), {slots}, 1, interval '1 min', '{floor}')"
    );
    sqlx::raw_sql("begin").execute(&mut *conn).await.unwrap();
    let plan: serde_json::Value = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *conn).await.unwrap();
    sqlx::raw_sql("rollback").execute(&mut *conn).await.unwrap();
    let plan = &plan[0]["Plan"];
    // Rows are told with decimals by some versions.
    #[expect(clippy::cast_possible_truncation, reason = "a few thousand")]
    let number = |name: &str| plan[name].as_f64().unwrap() as i64;
    (number("Shared Hit Blocks") + number("Shared Read Blocks"), number("Actual Rows"))
}

/// Lets jobs come and go while an old snapshot keeps every dead row from being removed.
async fn pin_a_snapshot(rounds: usize) {
    let house = House::new().await;
    let mut pin = house.pool.begin().await.unwrap();
    sqlx::raw_sql("set transaction isolation level repeatable read; select count(*) from background_jobs")
        .execute(&mut *pin)
        .await
        .unwrap();
    let mut costs = Vec::new();
    for _ in 0..rounds {
        house.errands(1_000, Does::Wait(0)).await;
        let crew = Crew::start(&house, 1, 100, &settings());
        house.until_idle(Duration::from_mins(2)).await;
        crew.stop().await;
        house.errands(200, Does::Wait(0)).await;
        house.until("their lanes are awake", "count(*) = 8 from greenroom.turns where awake").await;
        let mut conn = house.pool.acquire().await.unwrap();
        let floor = "select min(vtime) from greenroom.turns where awake";
        let floor = sqlx::query_scalar(floor).fetch_one(&mut *conn).await.unwrap();
        let (pages, jobs) = cost_of_a_claim(&mut conn, 50, floor).await;
        let (walked, _) = cost_of_a_claim(&mut conn, 50, f64::NEG_INFINITY).await;
        assert!(jobs >= 25, "it got {jobs}");
        costs.push((pages / jobs, walked / jobs));
    }
    println!("pages a claimed job, and without a floor, a thousand jobs apart: {costs:?}");
    let (first, last) = (costs[0].0, costs.last().unwrap().0);
    assert!(last <= first * 2 && last <= 60, "a claim went from {first} to {last} pages a job");
    pin.rollback().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_snapshot_makes_no_claim_dearer() {
    pin_a_snapshot(4).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long, 5 minutes"]
async fn long_a_pinned_snapshot_makes_no_claim_dearer() {
    pin_a_snapshot(100).await;
}

/// Lets the planner believe that the table is empty while it is anything but.
async fn mislead_the_planner(jobs: usize) {
    let house = House::new().await;
    sqlx::raw_sql("alter table background_jobs set (autovacuum_enabled = off); analyze background_jobs")
        .execute(&house.pool)
        .await
        .unwrap();
    let fill = "insert into background_jobs (job_type, queue, lane, max_attempts, priority, rank, payload)
                select 'errand', 'errands', greenroom.lane_id('errands', '', '#' || n % 8), 10, 5,
                       greenroom.job_rank(greenroom.now(), 5::smallint) + n, '{\"does\": {\"wait\": 0}}'
                  from generate_series(1, 50000) n";
    for _ in 0..jobs.div_ceil(50_000) {
        sqlx::query(fill).execute(&house.pool).await.unwrap();
    }
    sqlx::raw_sql(
        "insert into background_jobs (job_type, queue, lane, max_attempts, priority, run_at)
         select 'errand', 'errands', 1, 10, 5, greenroom.now() - interval '1 s' from generate_series(1, 100)",
    )
    .execute(&house.pool)
    .await
    .unwrap();
    assert_eq!(
        house
            .number("select greatest(reltuples, 0)::bigint from pg_class where relname = 'background_jobs'")
            .await,
        0
    );
    let scans =
        "select coalesce(seq_scan, 0)::bigint from pg_stat_user_tables where relname = 'background_jobs'";
    sqlx::raw_sql("select pg_stat_force_next_flush()").execute(&house.pool).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let before = house.number(scans).await;
    assert_eq!(sweep(&house.pool, &settings()).await.unwrap().promoted, 100);
    let mut conn = house.pool.acquire().await.unwrap();
    let (pages, claimed) = cost_of_a_claim(&mut conn, 100, f64::NEG_INFINITY).await;
    assert!(claimed >= 50, "it got {claimed}");
    // The sessions tell what they did when they are asked something later.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    for _ in 0..8 {
        sqlx::raw_sql("select pg_stat_force_next_flush()").execute(&house.pool).await.unwrap();
    }
    sqlx::raw_sql("select pg_stat_force_next_flush()").execute(&mut *conn).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let read_whole = house.number(scans).await - before;
    println!(
        "{jobs} jobs, none by the statistics: {} pages a claimed job, {read_whole} scans of the whole",
        pages / claimed
    );
    assert!(pages / claimed <= 60, "{pages} pages for {claimed} jobs");
    assert_eq!(read_whole, 0, "the whole table was read");
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_that_are_wrong_change_no_plan() {
    mislead_the_planner(50_000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long, 10 minutes"]
async fn long_statistics_that_are_wrong_change_no_plan() {
    mislead_the_planner(10_000_000).await;
}

/// Enqueues in a transaction that goes on and on, while others come and go.
async fn take_long_to_commit(length: Duration) {
    let house = House::new().await;
    let crew = Crew::start(&house, 1, 10, &settings());
    house.until("somebody sweeps", "exists (select from greenroom.leaders)").await;
    let mut tx = house.pool.begin().await.unwrap();
    sqlx::raw_sql("set local idle_in_transaction_session_timeout = 0").execute(&mut *tx).await.unwrap();
    let slow: Vec<NewJob> = (0..20).map(|_| NewJob::of(&Errand { does: Does::Wait(0) }).unwrap()).collect();
    let slow = enqueue(&mut tx, &slow).await.unwrap();
    let (begun, mut others) = (Instant::now(), 0);
    while begun.elapsed() < length {
        others += house.errands(5, Does::Wait(0)).await.len();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    house.until_idle(Duration::from_secs(10)).await;
    assert_eq!(house.number("select count(*) from effects").await, i64::try_from(others).unwrap());
    let worst = "select (max(extract(epoch from started_at - run_at)) * 1000)::bigint from background_jobs";
    let worst = house.number(worst).await;
    tx.commit().await.unwrap();
    // Nobody is told; every lane has long moved on beyond the ranks of these.
    let took = house
        .within(
            Duration::from_secs(10),
            "its jobs are done",
            &format!("count(*) = {} from effects", others + slow.len()),
        )
        .await;
    println!(
        "a transaction of {length:?}: others waited {worst} ms at worst, its own were done {took:?} after it"
    );
    assert!(worst < 3_000, "others waited {worst} ms");
    assert!(took < Duration::from_secs(5), "its own waited {took:?}");
    house.all_was_done_once(others + slow.len()).await;
    crew.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_transaction_holds_up_nobody_and_its_jobs_run_after_it() {
    take_long_to_commit(Duration::from_secs(4)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long, 10 minutes"]
async fn long_a_long_transaction_holds_up_nobody_and_its_jobs_run_after_it() {
    take_long_to_commit(Duration::from_mins(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_releases_the_old_one_leaves_alone_what_it_does_not_know() {
    let house = House::new().await;
    let state = std::sync::Arc::new(house.pool.clone());
    let old = Crew::of(&Jobs::new().with::<Errand>(Some(&state)), &house, 1, 4, &settings());
    // The newer release says more in its payloads, and has a kind more.
    sqlx::raw_sql(
        r#"insert into background_jobs (job_type, payload) select 'errand', '{"does": {"wait": 0}, "since": "the next release"}'
             from generate_series(1, 20)"#,
    )
    .execute(&house.pool)
    .await
    .unwrap();
    for whose in ["ann", "bob"] {
        house.turns(5, whose, Does::Wait(0)).await;
    }
    house.until("the old one does what it knows", "count(*) = 20 from effects").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let left = "select distinct status || ' ' || attempt || ' ' || crashes from background_jobs where job_type = 'turn'";
    assert_eq!(house.list(left).await, ["pending 0 0"]);
    let new = Crew::of(&errand::jobs(&house.pool), &house, 1, 4, &settings());
    // Whatever the old one gives back waits a while for the new one.
    house.until("the new one does the rest", "count(*) = 30 from effects").await;
    assert_eq!(house.number("select count(*) from background_jobs where attempt <> 1").await, 0);
    house.all_was_done_once(30).await;
    old.stop().await;
    new.stop().await;
}
