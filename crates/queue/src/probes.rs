//! The probes: what other engines were seen to lose, repeat or strand, each a test here.
//!
//! Real workers on a real database; the first six are those that `apalis-postgres` 1.0 fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use greenroom_model::JobId;
use greenroom_testkit::Database;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::claim::{Claimed, Track};
use crate::control::{self, Cancelled};
use crate::lane::wake_full;
use crate::settle::{Settlement, Verdict, complete};
use crate::{
    Backoff, Context, Done, Filter, Job, JobRow, Jobs, Lane, NewJob, Policy, Queue, QueueError, Settings,
    Stop, Worker, WorkerError, enqueue, sweep,
};

/// Does what its payload says, and counts how often.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Probe {
    does: Does,
    #[serde(default)]
    key: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Does {
    Nothing,
    Sleep(u64),
    Fail,
    Panic,
    Snooze(i64),
    Discard,
    CompleteInTransaction,
    CompleteThenRollBack,
    WaitForInterrupt,
    Checkpoint,
    ReportNul,
}

#[derive(Default)]
struct Seen {
    runs: AtomicU32,
    at_once: AtomicU32,
    most_at_once: AtomicU32,
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Report {
    text: String,
}

impl Job for Probe {
    const KIND: &'static str = "probe";
    const POLICY: Policy = Policy::on("probes")
        .max_attempts(3)
        .timeout(Duration::from_millis(1_500))
        .backoff(Backoff::new(Duration::from_secs(3), Duration::from_mins(1)));
    type State = Seen;
    type Report = Report;

    fn key(&self) -> Option<String> {
        self.key.clone()
    }

    async fn run(self, seen: &Seen, ctx: &Context) -> Result<Done<Report>, Stop> {
        seen.runs.fetch_add(1, Ordering::SeqCst);
        let report = Report { text: "done".to_owned() };
        match self.does {
            Does::Sleep(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Does::Fail => return Err(Stop::retry("it broke")),
            #[expect(clippy::panic, reason = "this is what is probed")]
            Does::Panic => panic!("the handler panicked"),
            Does::Snooze(secs) if seen.runs.load(Ordering::SeqCst) == 1 => {
                let until = greenroom_model::Clock::system().now() + TimeDelta::seconds(secs);
                return Err(Stop::snooze_until(until, "the platform said so"));
            }
            Does::Nothing | Does::Snooze(_) => {}
            Does::Discard => return Err(Stop::cancel("it can never work")),
            Does::CompleteInTransaction | Does::CompleteThenRollBack => {
                let mut tx = ctx.queue().pool().begin().await?;
                sqlx::query!("insert into users (email) values ($1)", format!("{}@example.test", ctx.id()))
                    .execute(&mut *tx)
                    .await?;
                let done = ctx.complete(&mut tx, report).await?;
                if self.does == Does::CompleteThenRollBack && ctx.attempt() == 1 {
                    tx.rollback().await?;
                    return Err(Stop::retry("the commit failed"));
                }
                tx.commit().await?;
                return Ok(done);
            }
            Does::WaitForInterrupt => {
                ctx.interrupted().await;
                return Err(Stop::interrupted());
            }
            Does::Checkpoint => {
                let step: u32 = ctx.checkpoint()?.unwrap_or(0);
                if step < 2 {
                    let mut conn = ctx.queue().pool().acquire().await?;
                    ctx.save_checkpoint(&mut conn, &(step + 1)).await?;
                    return Err(Stop::interrupted());
                }
                return Ok(Report { text: format!("resumed at {step}") }.into());
            }
            Does::ReportNul => {
                return Ok(Report { text: "a\0b".to_owned() }.into());
            }
        }
        Ok(report.into())
    }
}

/// One of a connection's jobs: never two at a time.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Serial {
    account: String,
}

impl Job for Serial {
    const KIND: &'static str = "serial";
    const POLICY: Policy = Policy::on("probes").lane("account", 1);
    type State = Seen;
    type Report = ();

    async fn run(self, seen: &Seen, _: &Context) -> Result<Done<()>, Stop> {
        let now = seen.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most_at_once.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
        seen.at_once.fetch_sub(1, Ordering::SeqCst);
        seen.runs.fetch_add(1, Ordering::SeqCst);
        Ok(().into())
    }
}

fn does(does: Does) -> Probe {
    Probe { does, key: None }
}

struct House {
    db: Database,
    queue: Queue,
    seen: Arc<Seen>,
}

struct Running {
    worker: JoinHandle<Result<(), WorkerError>>,
    gently: CancellationToken,
    at_once: CancellationToken,
}

impl Running {
    async fn stop(self) {
        self.gently.cancel();
        self.worker.await.unwrap().unwrap();
    }
}

fn quick() -> Settings {
    Settings { poll_interval_ms: 200, sweep_interval_ms: 100, cancel_grace_ms: 300, ..Settings::default() }
}

impl House {
    async fn new() -> Self {
        let db = Database::new().await;
        let queue = Queue::new(db.pool().clone());
        Self { db, queue, seen: Arc::default() }
    }

    fn pool(&self) -> &PgPool {
        self.db.pool()
    }

    fn jobs(&self) -> Jobs {
        Jobs::new().with::<Probe>(Some(&self.seen)).with::<Serial>(Some(&self.seen))
    }

    fn start(&self, slots: u32, settings: Settings) -> Running {
        let (gently, at_once) = (CancellationToken::new(), CancellationToken::new());
        let worker = Worker::new(self.queue.clone(), self.jobs(), settings)
            .serve("probes", slots)
            .shutdown_timeout(Duration::from_millis(400));
        Running { worker: tokio::spawn(worker.run(gently.clone(), at_once.clone())), gently, at_once }
    }

    async fn show(&self, job: JobId) -> JobRow {
        control::show(&mut self.pool().acquire().await.unwrap(), job).await.unwrap()
    }

    async fn until(&self, what: &str, job: JobId, holds: impl Fn(&JobRow) -> bool) -> JobRow {
        let begun = Instant::now();
        loop {
            let row = self.show(job).await;
            if holds(&row) {
                return row;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "never {what}: {row:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn until_ended(&self, job: JobId) -> JobRow {
        self.until("ended", job, |row| row.completed_at.is_some()).await
    }

    async fn outcomes(&self, job: JobId) -> Vec<String> {
        let attempts = control::attempts(&mut self.pool().acquire().await.unwrap(), job).await.unwrap();
        attempts.into_iter().map(|attempt| attempt.outcome).collect()
    }

    fn runs(&self) -> u32 {
        self.seen.runs.load(Ordering::SeqCst)
    }
}

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

async fn claim(conn: &mut sqlx::PgConnection, slots: u32) -> Vec<Claimed> {
    let (track, lease) = (Track::new("probes", ""), Duration::from_mins(1));
    crate::claim::claim(conn, &track, uuid::Uuid::now_v7(), slots, lease, track.floor, &[])
        .await
        .unwrap()
        .jobs
}

/// The wake follows the commit by some milliseconds.
async fn until_claimed(conn: &mut sqlx::PgConnection) -> Claimed {
    loop {
        if let Some(claimed) = claim(conn, 1).await.pop() {
            return claimed;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
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
