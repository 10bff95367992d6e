//! Limits and holds, each a test: pools, budgets, breakers, pauses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use greenroom_testkit::Database;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::testing::{by_status, drain};
use crate::{
    Context, Done, Job, Jobs, NewJob, Pausable, Policy, Pool, Queue, Scope, Settings, Stop, Worker,
    set_paused, sweep,
};

const POOL: Pool = Pool::named("outside").cap(3).budget(100, "0 0 * * *", "America/Los_Angeles");

/// A call to an account outside.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Call {
    account: String,
    #[serde(default)]
    units: u32,
}

/// A kind that shares the stripes with another.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Plain {}

#[derive(Debug, Default)]
struct Outside {
    runs: AtomicU32,
    at_once: AtomicI64,
    most_at_once: AtomicI64,
    /// The outside answers nobody.
    down: AtomicBool,
    /// The account answers nobody for a minute, and says so.
    busy: AtomicBool,
}

impl Job for Call {
    const KIND: &'static str = "call";
    const POLICY: Policy = Policy::on("calls").lane("account", 10).pool("outside").max_attempts(4);
    type State = Outside;
    type Report = ();

    async fn run(self, outside: &Outside, ctx: &Context) -> Result<Done<()>, Stop> {
        ctx.spend(self.units).await?;
        let now = outside.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        outside.most_at_once.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(5)).await;
        outside.at_once.fetch_sub(1, Ordering::SeqCst);
        outside.runs.fetch_add(1, Ordering::SeqCst);
        if outside.down.load(Ordering::SeqCst) {
            return Err(Stop::trip(Scope::Pool, None, "it did not answer"));
        }
        if outside.busy.load(Ordering::SeqCst) && self.account == "busy" {
            let until = ctx.now().await? + chrono::TimeDelta::seconds(60);
            return Err(Stop::trip(Scope::Lane, Some(until), "it is busy"));
        }
        Ok(().into())
    }
}

impl Job for Plain {
    const KIND: &'static str = "plain";
    const POLICY: Policy = Policy::on("calls");
    type State = Outside;
    type Report = ();

    async fn run(self, _: &Outside, _: &Context) -> Result<Done<()>, Stop> {
        Ok(().into())
    }
}

/// Another kind on the same stripes, to be paused.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Other {}

impl Job for Other {
    const KIND: &'static str = "other";
    const POLICY: Policy = Policy::on("calls");
    type State = Outside;
    type Report = ();

    async fn run(self, _: &Outside, _: &Context) -> Result<Done<()>, Stop> {
        Ok(().into())
    }
}

/// Nothing is kept of it when it is done; it may complete itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Fleeting {
    by_itself: bool,
}

impl Job for Fleeting {
    const KIND: &'static str = "fleeting";
    const POLICY: Policy = Policy::on("calls").forget();
    type State = Outside;
    type Report = ();

    async fn run(self, _: &Outside, ctx: &Context) -> Result<Done<()>, Stop> {
        if !self.by_itself {
            return Ok(().into());
        }
        Ok(ctx.complete(&mut *ctx.queue().pool().acquire().await?, ()).await?)
    }
}

struct House {
    db: Database,
    queue: Queue,
    outside: Arc<Outside>,
}

impl House {
    async fn new() -> Self {
        let db = Database::new().await;
        let queue = Queue::new(db.pool().clone());
        let house = Self { db, queue, outside: Arc::default() };
        house.jobs().register(house.db.pool()).await.unwrap();
        sweep(house.db.pool(), &Settings::default()).await.unwrap();
        house
    }

    fn jobs(&self) -> Jobs {
        let state = Some(&self.outside);
        Jobs::new()
            .with::<Call>(state)
            .with::<Plain>(state)
            .with::<Other>(state)
            .with::<Fleeting>(state)
            .pool(POOL)
    }

    async fn call(&self, account: &str, units: u32, n: usize) {
        let jobs = (0..n).map(|_| NewJob::of(&Call { account: account.to_owned(), units }).unwrap());
        self.queue.enqueue_many(&jobs.collect::<Vec<_>>()).await.unwrap();
    }

    async fn drain(&self) -> usize {
        drain(&self.queue, &self.jobs()).await.unwrap()
    }

    fn runs(&self) -> u32 {
        self.outside.runs.swap(0, Ordering::SeqCst)
    }

    async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.db.pool()).await.unwrap()
    }

    async fn set_paused(&self, what: &Pausable, paused: bool) -> bool {
        set_paused(&mut self.db.pool().acquire().await.unwrap(), what, paused).await.unwrap()
    }
}

/// A call to one of two.
#[derive(Debug, Serialize, Deserialize)]
struct Choosy {
    second: bool,
}

impl Job for Choosy {
    const KIND: &'static str = "choosy";
    const POLICY: Policy = Policy::on("calls").pool("outside").pools(&["elsewhere"]);
    type State = Outside;
    type Report = ();

    fn pool(&self) -> &'static str {
        if self.second { "elsewhere" } else { Self::POLICY.pool }
    }

    async fn run(self, outside: &Outside, _: &Context) -> Result<Done<()>, Stop> {
        outside.runs.fetch_add(1, Ordering::SeqCst);
        Ok(().into())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_kind_may_draw_on_different_pools() {
    let house = House::new().await;
    let jobs = house.jobs().with::<Choosy>(Some(&house.outside));
    let calls = [false, false, true, true, true].map(|second| NewJob::of(&Choosy { second }).unwrap());
    house.queue.enqueue_many(&calls).await.unwrap();
    house.set_paused(&Pausable::Pool("outside".to_owned()), true).await;
    drain(&house.queue, &jobs).await.unwrap();
    assert_eq!(house.runs(), 3, "what draws on another pool is not held up");
    let held = "select count(*) from background_jobs where status = 'pending' and pool = 'outside'";
    assert_eq!(house.number(held).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_never_runs_more_than_its_cap_over_all_workers() {
    let house = House::new().await;
    for account in ["a", "b", "c", "d"] {
        house.call(account, 0, 15).await;
    }
    let stop = CancellationToken::new();
    let quick = Settings { poll_interval_ms: 20, ..Settings::default() };
    let workers: Vec<_> = (0..3)
        .map(|_| {
            let worker = Worker::new(house.queue.clone(), house.jobs(), quick.clone()).serve("calls", 8);
            tokio::spawn(worker.run(stop.clone(), CancellationToken::new()))
        })
        .collect();
    let mut most = 0;
    while house.number("select count(*) from background_jobs where status <> 'completed'").await > 0 {
        most = most.max(house.number("select count(*) from background_jobs where status = 'running'").await);
    }
    stop.cancel();
    for worker in workers {
        worker.await.unwrap().unwrap();
    }
    assert_eq!(house.runs(), 60);
    assert!(most <= 3, "{most} ran at once in the table");
    assert_eq!(house.outside.most_at_once.load(Ordering::SeqCst), 3, "the cap was used, and kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_never_exceeded_and_comes_back_with_the_window() {
    let house = House::new().await;
    house.call("a", 7, 20).await;
    house.drain().await;
    assert_eq!(house.runs(), 14, "14 calls of 7 units fit into 100");
    assert_eq!(house.number("select granted from greenroom.pools").await, 98);
    let waiting = house
        .number("select count(*) from background_jobs b, greenroom.pools p where b.status = 'pending' and b.attempt = 0 and (b.run_at = p.window_ends_at or b.rank is not null)")
        .await;
    assert_eq!(waiting, 6, "they wait for the window's end, and keep their attempts");
    house.db.advance(Duration::from_hours(25)).await;
    house.drain().await;
    assert_eq!(house.runs(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_spend_at_the_same_time_share_one_budget() {
    let house = House::new().await;
    let spent = Arc::new(AtomicU32::new(0));
    let mut spenders = tokio::task::JoinSet::new();
    for _ in 0..4 {
        // A handle of its own is what another process has.
        let units = crate::units::Units::new(house.db.pool().clone());
        for _ in 0..10 {
            let (units, spent) = (units.clone(), Arc::clone(&spent));
            spenders.spawn(async move {
                for _ in 0..5 {
                    if units.spend("outside", 1, 100).await.is_ok() {
                        spent.fetch_add(1, Ordering::SeqCst);
                    }
                }
                units
            });
        }
    }
    for units in spenders.join_all().await {
        units.give_back(Duration::ZERO).await;
    }
    let spent = spent.load(Ordering::SeqCst);
    assert!((60..=100).contains(&spent), "{spent} were spent");
    let granted = house.number("select granted from greenroom.pools").await;
    assert_eq!(granted, i64::from(spent), "what nobody spent was given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_leaves_the_rest_to_others() {
    let house = House::new().await;
    let units = crate::units::Units::new(house.db.pool().clone());
    let mut spent = 0;
    while units.spend("outside", 1, 30).await.is_ok() {
        spent += 1;
    }
    assert_eq!(spent, 30);
    assert!(units.spend("outside", 1, 100).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_opens_lets_one_try_and_closes() {
    let house = House::new().await;
    house.outside.down.store(true, Ordering::SeqCst);
    house.call("a", 0, 12).await;
    house.drain().await;
    let failed = house.runs();
    // Three at a time run into it, so some may be under way when the fifth failure opens it.
    assert!((5..=7).contains(&failed), "{failed} ran into it");
    assert_eq!(house.number("select count(*) from background_jobs where status = 'pending'").await, 12);
    let burned = house.number("select sum(attempt) from background_jobs").await;
    assert_eq!(burned, 4, "the failures before the one that opened it counted");
    assert_eq!(house.drain().await, 0, "the others wait");

    // One alone tries, fails, and burns nothing.
    house.db.advance(Duration::from_secs(40)).await;
    house.drain().await;
    assert_eq!(house.runs(), 1);
    assert_eq!(house.number("select sum(attempt) from background_jobs").await, burned);
    let wait = house
        .number("select extract(epoch from open_until - greenroom.now())::bigint from greenroom.pools")
        .await;
    assert!((40..=80).contains(&wait), "it doubles: {wait} s");

    house.outside.down.store(false, Ordering::SeqCst);
    house.db.advance(Duration::from_mins(2)).await;
    house.drain().await;
    assert_eq!(house.runs(), 12);
    assert_eq!(by_status(house.db.pool()).await.unwrap(), [("completed".to_owned(), 12)].into());
    assert_eq!(
        house.number("select count(*) from greenroom.pools where open_until is null and failures = 0").await,
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lanes_breaker_holds_up_that_lane_alone() {
    let house = House::new().await;
    house.outside.busy.store(true, Ordering::SeqCst);
    house.call("busy", 0, 4).await;
    house.call("idle", 0, 4).await;
    house.drain().await;
    assert_eq!(
        by_status(house.db.pool()).await.unwrap(),
        [("completed".to_owned(), 4), ("pending".to_owned(), 4)].into()
    );
    assert_eq!(house.number("select sum(attempt) from background_jobs where status = 'pending'").await, 0);
    // New work does not open it.
    house.call("busy", 0, 1).await;
    assert_eq!(house.drain().await, 0);
    house.outside.busy.store(false, Ordering::SeqCst);
    house.db.advance(Duration::from_secs(61)).await;
    house.drain().await;
    assert_eq!(by_status(house.db.pool()).await.unwrap(), [("completed".to_owned(), 9)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_paused_waits_and_is_not_lost() {
    let house = House::new().await;
    let lane = |key: &str| Pausable::Lane {
        queue: "calls".to_owned(),
        pool: "outside".to_owned(),
        key: format!("account:{key}"),
    };
    for what in [Pausable::Queue("calls".to_owned()), Pausable::Pool("outside".to_owned()), lane("a")] {
        assert!(house.set_paused(&what, true).await);
        assert!(!house.set_paused(&what, true).await, "it was paused already");
        house.call("a", 0, 3).await;
        assert_eq!(house.drain().await, 0, "{what:?}");
        assert!(house.set_paused(&what, false).await);
        assert_eq!(house.drain().await, 3, "{what:?}");
    }
    assert!(house.set_paused(&lane("new"), true).await, "a lane may be paused before it has a job");
    house.call("new", 0, 1).await;
    assert_eq!(house.drain().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_kind_is_set_aside_and_others_pass() {
    let house = House::new().await;
    house.set_paused(&Pausable::Kind("other".to_owned()), true).await;
    for _ in 0..3 {
        let mut jobs: Vec<NewJob> = (0..50).map(|_| NewJob::of(&Other {}).unwrap()).collect();
        jobs.push(NewJob::of(&Plain {}).unwrap());
        house.queue.enqueue_many(&jobs).await.unwrap();
    }
    assert_eq!(house.drain().await, 3, "the plain ones behind them ran");
    assert_eq!(
        house.number("select count(*) from background_jobs where held = 'kind' and attempt = 0").await,
        150
    );
    house.set_paused(&Pausable::Kind("other".to_owned()), false).await;
    assert_eq!(house.drain().await, 150);
    let unknown = Pausable::Kind("nobodys".to_owned());
    let refused = set_paused(&mut house.db.pool().acquire().await.unwrap(), &unknown, true).await;
    assert_eq!(refused.unwrap_err().to_string(), "there is no kind \"nobodys\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_kind_that_is_forgotten_no_row_is_left() {
    let house = House::new().await;
    for by_itself in [false, true] {
        house.queue.enqueue(&Fleeting { by_itself }).await.unwrap();
    }
    house.queue.enqueue(&Plain {}).await.unwrap();
    assert_eq!(house.drain().await, 3);
    assert_eq!(by_status(house.db.pool()).await.unwrap(), [("completed".to_owned(), 1)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_is_paused_as_it_is_made_gets_its_cap() {
    let house = House::new().await;
    let mut pausing = house.db.pool().begin().await.unwrap();
    let made = "select greenroom.make_lane('calls', 'outside', 'account:new')";
    let lane: i64 = sqlx::query_scalar(made).fetch_one(&mut *pausing).await.unwrap();
    let pool = house.db.pool().clone();
    let waking = tokio::spawn(async move {
        let wake = "select greenroom.wake(array[$1], array['calls'], array['outside'], array['account:new'], array[10], array[1::bigint])";
        sqlx::query(wake).bind(lane).execute(&pool).await.unwrap();
    });
    // It has begun, and does not see the lane that it will meet.
    let waits = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    while house.number(waits).await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    pausing.commit().await.unwrap();
    waking.await.unwrap();
    let kept = "select count(*) from greenroom.lanes l join greenroom.turns t on t.lane = l.id where l.key = 'account:new' and l.cap = 10";
    assert_eq!(house.number(kept).await, 1);
}
