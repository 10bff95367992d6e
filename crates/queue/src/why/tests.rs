//! Each reason, made by the engine or by the hand that would make it, and then asked for.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use greenroom_model::JobId;
use greenroom_testkit::Database;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Why, why};
use crate::claim::{Track, claim};
use crate::testing::drain;
use crate::{
    Batch, Context, Done, Job, Jobs, NewJob, Pausable, Policy, Pool, Queue, Settings, Stop, cancel,
    set_paused, sweep, workers,
};

const OUTSIDE: Pool = Pool::named("outside").cap(2).budget(10, "0 0 * * *", "UTC");

/// A call to an account, one at a time for each.
#[derive(Serialize, Deserialize)]
struct Call {
    account: String,
}

/// A kind without a pool, which ends as it is told.
#[derive(Serialize, Deserialize)]
struct Plain {
    #[serde(default)]
    ends: String,
}

impl Job for Call {
    const KIND: &'static str = "call";
    const POLICY: Policy = Policy::on("calls").lane("account", 1).pool("outside");
    type State = ();
    type Report = ();

    async fn run(self, (): &(), _: &Context) -> Result<Done<()>, Stop> {
        Ok(().into())
    }
}

impl Job for Plain {
    const KIND: &'static str = "plain";
    const POLICY: Policy = Policy::on("plain").max_attempts(2);
    type State = ();
    type Report = ();

    async fn run(self, (): &(), _: &Context) -> Result<Done<()>, Stop> {
        match self.ends.as_str() {
            "badly" => Err(Stop::retry("it broke")),
            "for good" => Err(Stop::cancel("it makes no sense")),
            _ => Ok(().into()),
        }
    }
}

/// A database that a worker serves and sweeps.
struct World {
    db: Database,
    queue: Queue,
    worker: Uuid,
}

impl World {
    async fn new() -> Self {
        let db = Database::new().await;
        let (queue, worker) = (Queue::new(db.pool().clone()), Uuid::now_v7());
        let world = Self { db, queue, worker };
        World::jobs().register(world.db.pool()).await.unwrap();
        let served = ["calls", "plain"].map(|name| workers::Served { name: name.to_owned(), slots: 8 });
        let mut conn = world.db.pool().acquire().await.unwrap();
        workers::started(&mut conn, worker, "a-worker", &served).await.unwrap();
        world.sweep().await;
        world.lead().await;
        world
    }

    fn jobs() -> Jobs {
        let state = Arc::new(());
        Jobs::new().with::<Call>(Some(&state)).with::<Plain>(Some(&state)).pool(OUTSIDE)
    }

    async fn lead(&self) {
        self.sql(
            "insert into greenroom.leaders (role, holder, until)
                  select 'sweeper', id, greenroom.now() + interval '30 days' from greenroom.workers",
        )
        .await;
    }

    async fn sweep(&self) {
        sweep(self.db.pool(), &Settings::default()).await.unwrap();
    }

    async fn sql(&self, statement: &'static str) {
        sqlx::raw_sql(statement).execute(self.db.pool()).await.unwrap();
    }

    /// Enqueues and wakes.
    async fn put(&self, job: NewJob) -> JobId {
        let id = self.queue.enqueue_many(&[job]).await.unwrap()[0].id;
        self.sweep().await;
        id
    }

    async fn call(&self, account: &str) -> JobId {
        self.put(NewJob::of(&Call { account: account.to_owned() }).unwrap()).await
    }

    async fn plain(&self, ends: &str) -> JobId {
        self.put(plain(ends)).await
    }

    /// Claims what there is of a queue and pool.
    async fn claim(&self, queue: &str, pool: &str) -> usize {
        let mut conn = self.db.pool().acquire().await.unwrap();
        let (track, lease) = (Track::new(queue, pool), Duration::from_mins(1));
        let mut claimed = 0;
        // A claim takes half of a few lanes.
        for _ in 0..8 {
            let claims = claim(&mut conn, &track, self.worker, 8, lease, track.floor, &[]).await.unwrap();
            claimed += claims.jobs.len();
        }
        claimed
    }

    async fn pause(&self, what: Pausable, paused: bool) {
        set_paused(&mut self.db.pool().acquire().await.unwrap(), &what, paused).await.unwrap();
    }

    async fn why(&self, id: JobId) -> Why {
        why(&mut self.db.pool().acquire().await.unwrap(), id).await.unwrap()
    }

    /// Asks, and expects exactly these reasons.
    async fn expect(&self, id: JobId, codes: &[&str]) -> Why {
        let why = self.why(id).await;
        assert_eq!(why.reasons.iter().map(|reason| reason.code).collect::<Vec<_>>(), codes, "{why:#?}");
        assert_eq!(why.verdict, why.reasons[0].text);
        why
    }
}

fn plain(ends: &str) -> NewJob {
    NewJob::of(&Plain { ends: ends.to_owned() }).unwrap()
}

fn command(why: &Why) -> &str {
    why.reasons[0].command.as_deref().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_time_has_not_come() {
    let world = World::new().await;
    let in_a_minute = world.db.clock().now() + TimeDelta::minutes(1);
    let later = world.put(plain("").at(in_a_minute)).await;
    let told = world.expect(later, &["not_due"]).await;
    assert_eq!(told.until, Some(told.job.run_at));
    assert_eq!(command(&told), format!("greenroom jobs retry {later}"));

    let again = world.plain("badly").await;
    drain(&world.queue, &World::jobs()).await.unwrap();
    let told = world.expect(again, &["not_due"]).await;
    assert!(
        told.verdict.contains("retried, with 1 of 2 used up; the next is due later: it broke"),
        "{told:?}"
    );

    world.db.advance(Duration::from_mins(2)).await;
    world.sql("update greenroom.workers set seen_at = greenroom.now()").await;
    world.expect(later, &["due"]).await;
    world.sql("update greenroom.leaders set until = greenroom.now()").await;
    let told = world.expect(later, &["nobody_sweeps"]).await;
    assert_eq!(told.until, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_set_aside() {
    let world = World::new().await;
    let aside = world.plain("").await;
    world.pause(Pausable::Kind("plain".to_owned()), true).await;
    world.expect(aside, &["kind_paused"]).await;
    assert_eq!(world.claim("plain", "").await, 0);
    let told = world.expect(aside, &["kind_paused"]).await;
    assert_eq!(told.job.held.as_deref(), Some("kind"));
    assert_eq!(command(&told), "greenroom queues resume --kind plain");
    world.pause(Pausable::Kind("plain".to_owned()), false).await;
    let told = world.expect(aside, &["kind_paused"]).await;
    assert!(told.verdict.contains("was resumed") && command(&told).is_empty(), "{told:?}");
    world.sweep().await;
    world.expect(aside, &["in_turn"]).await;

    let batch = Batch::new();
    let part = world.put(plain("").in_batch(batch)).await;
    let whole = world.put(plain("").after(batch)).await;
    let told = world.expect(whole, &["batch_open"]).await;
    assert_eq!(told.reasons[0].holders, [part]);
    assert!(told.verdict.ends_with("which has 1 job open"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_nobody_is_there_for() {
    let world = World::new().await;
    let (running, waiting) = (world.plain("").await, world.plain("").await);
    world.sql("update greenroom.workers set queue_slots = '{8,1}'").await;
    let mut conn = world.db.pool().acquire().await.unwrap();
    let track = Track::new("plain", "");
    let lease = Duration::from_mins(1);
    let mut claimed = Vec::new();
    while claimed.is_empty() {
        claimed = claim(&mut conn, &track, world.worker, 1, lease, track.floor, &[]).await.unwrap().jobs;
    }
    let (running, waiting) = if claimed[0].id == running { (running, waiting) } else { (waiting, running) };
    let told = world.why(waiting).await;
    assert_eq!((told.reasons[0].code, told.reasons[0].holders.as_slice()), ("workers_busy", &[running][..]));

    world.sql("update greenroom.workers set seen_at = greenroom.now() - interval '61 s'").await;
    let told = world.why(waiting).await;
    assert_eq!(told.verdict, "no worker serves the queue plain: start one");

    world.sql("update greenroom.workers set seen_at = greenroom.now()").await;
    let left = world.call("a").await;
    world.sql("update greenroom.kinds set pool = 'another' where kind = 'call'").await;
    let told = world.expect(left, &["no_worker"]).await;
    assert!(told.verdict.contains("draws on the pool outside any more"), "{told:?}");

    let id: JobId =
        sqlx::query_scalar("insert into background_jobs (job_type) values ('unheard') returning id")
            .fetch_one(world.db.pool())
            .await
            .unwrap();
    world.sweep().await;
    let told = world.expect(id, &["no_worker"]).await;
    assert!(told.verdict.contains("knows the kind unheard"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_behind_what_is_paused() {
    let world = World::new().await;
    let id = world.call("it's a").await;
    let (queue, pool) = ("calls".to_owned(), "outside".to_owned());
    let lane = Pausable::Lane { queue: queue.clone(), pool: pool.clone(), key: "account:it's a".to_owned() };
    for what in [Pausable::Queue(queue), Pausable::Pool(pool), lane] {
        world.pause(what, true).await;
    }
    let told = world.expect(id, &["queue_paused", "pool_paused", "lane_paused"]).await;
    let commands: Vec<_> = told.reasons.iter().filter_map(|reason| reason.command.as_deref()).collect();
    assert_eq!(
        commands,
        [
            "greenroom queues resume calls",
            "greenroom queues resume --pool outside",
            r"greenroom queues resume calls --lane 'account:it'\''s a' --pool outside"
        ]
    );
    assert_eq!(told.until, None, "that is for operators to say");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_behind_a_breaker() {
    let world = World::new().await;
    let id = world.call("a").await;
    world
        .sql(
            "update greenroom.pools set open_until = greenroom.now() + interval '30 s', open_reason = 'it was down';
             update greenroom.lanes set open_until = greenroom.now() + interval '20 s'
              where key = 'account:a'",
        )
        .await;
    let told = world.expect(id, &["breaker_open", "breaker_open"]).await;
    assert_eq!(told.verdict, "the breaker of its pool outside is open: it was down");
    assert_eq!(told.until, told.reasons[0].until, "when the last of both ends");
    assert_eq!(command(&told), "greenroom queues close-breaker --pool outside");
    assert_eq!(
        told.reasons[1].command.as_deref(),
        Some("greenroom queues close-breaker calls --lane account:a --pool outside")
    );
    world.db.advance(Duration::from_secs(31)).await;
    world.sweep().await;
    world.expect(id, &["breaker_half_open", "breaker_half_open"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_pool_or_lane_is_full_or_empty() {
    let world = World::new().await;
    let first = world.call("a").await;
    assert_eq!(world.claim("calls", "outside").await, 1);
    let second = world.call("a").await;
    let told = world.expect(second, &["lane_full"]).await;
    assert_eq!(told.reasons[0].holders, [first]);
    assert_eq!(told.verdict, "its lane account:a runs 1 job, and no more at once; it is the next one of it");

    let other = world.call("b").await;
    assert_eq!(world.claim("calls", "outside").await, 1);
    let third = world.call("c").await;
    let told = world.expect(third, &["pool_full"]).await;
    let mut holders = told.reasons[0].holders.clone();
    holders.sort();
    assert_eq!(holders, [first, other]);

    world.sql("update greenroom.pools set granted = budget, cap = null").await;
    let told = world.expect(third, &["pool_empty"]).await;
    assert_eq!(told.verdict, "its pool outside has spent the 10 units of this window");
    assert!(told.until.is_some_and(|until| until > world.db.clock().now()), "the window's end: {told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_nothing_holds() {
    let world = World::new().await;
    let first = world.call("a").await;
    let told = world.expect(first, &["in_turn"]).await;
    assert_eq!(told.verdict, "nothing holds it, and it is next");
    let (second, third) = (world.call("a").await, world.call("a").await);
    let told = world.expect(third, &["in_turn"]).await;
    assert!(told.verdict.contains("2 jobs of its lane and 0 other lanes"), "{told:?}");
    world.call("b").await;
    world.sql("update greenroom.turns set vtime = 5 where lane = (select id from greenroom.lanes where key = 'account:a')").await;
    let told = world.expect(second, &["in_turn"]).await;
    assert!(told.verdict.contains("1 job of its lane and 1 other lane"), "{told:?}");

    for lost in [
        "update greenroom.turns set awake = false where lane = (select id from greenroom.lanes where key = 'account:a')",
        "update greenroom.turns set head = head + 3600000000 where lane = (select id from greenroom.lanes where key = 'account:a')",
        "delete from greenroom.lanes where key = 'account:a'",
    ] {
        world.sql(lost).await;
        let told = world.expect(first, &["asleep"]).await;
        assert!(told.verdict.contains("wakes it within a second or so"), "{lost}: {told:?}");
        world.sweep().await;
        world.expect(first, &["in_turn"]).await;
    }
    world.sql("update greenroom.turns set awake = false; delete from greenroom.leaders").await;
    let told = world.expect(first, &["asleep"]).await;
    assert!(told.verdict.contains("nobody sweeps"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_runs() {
    let world = World::new().await;
    let id = world.plain("").await;
    assert_eq!(world.claim("plain", "").await, 1);
    let told = world.expect(id, &["running"]).await;
    assert!(told.verdict.contains(" in process ") && !told.verdict.contains("said nothing"), "{told:?}");
    cancel(world.db.pool(), id).await.unwrap();
    world.expect(id, &["cancelling", "running"]).await;

    world.db.advance(Duration::from_secs(75)).await;
    let told = world.expect(id, &["lease_expired", "cancelling", "running"]).await;
    assert!(told.verdict.contains("rescues it within a second or so"), "{told:?}");
    assert!(told.reasons[2].text.contains("said nothing for 75 s"), "{told:?}");
    world.sql("delete from greenroom.leaders; delete from greenroom.workers").await;
    let told = world.expect(id, &["lease_expired", "cancelling", "worker_gone"]).await;
    assert!(told.verdict.contains("nobody rescues it"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_over() {
    let world = World::new().await;
    let (done, bad, worse) =
        (world.plain("").await, world.plain("badly").await, world.plain("for good").await);
    drain(&world.queue, &World::jobs()).await.unwrap();
    world.db.advance(Duration::from_hours(1)).await;
    drain(&world.queue, &World::jobs()).await.unwrap();
    let poison = world.plain("").await;
    for _ in 0..3 {
        assert_eq!(world.claim("plain", "").await, 1);
        world.db.advance(Duration::from_secs(61)).await;
        world.sweep().await;
    }
    let taken_back = world.plain("").await;
    cancel(world.db.pool(), taken_back).await.unwrap();
    for (id, code, says, may_be_retried) in [
        (done, "completed", "it was done at ", false),
        (bad, "exhausted", "it failed 2 times and was given up at ", true),
        (worse, "discarded", "its handler ended it for good at ", true),
        (poison, "quarantined", "its worker died 3 times while it ran", false),
        (taken_back, "cancelled", "an operator cancelled it at ", true),
    ] {
        let told = world.expect(id, &[code]).await;
        assert!(told.verdict.contains(says) && told.until.is_none(), "{told:?}");
        assert_eq!(!command(&told).is_empty(), may_be_retried, "{told:?}");
    }
}
