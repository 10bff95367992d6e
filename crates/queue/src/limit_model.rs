//! Random histories of limits and holds, in the tables and in a model of a few lines; they must agree.
//!
//! The model knows caps, pauses, breakers, budgets and crashes, and not which job comes first: it says how
//! many a claim must bring, no more and no fewer, and of which lanes and kinds none may be. So it tells
//! both that no limit is broken and that nothing waits that need not. `enqueue/model.rs` has the keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use greenroom_model::JobId;
use greenroom_testkit::Database;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::breaker::Breaker;
use crate::claim::{Claimed, Track, claim};
use crate::engine::Engine;
use crate::lease::renew;
use crate::settle::{Settlement, Verdict};
use crate::testing::histories;
use crate::units::Units;
use crate::{
    Context, Done, Job, Jobs, NewJob, Pausable, Policy, Pool, Queue, QueueError, Settings, Stop,
    close_breaker, set_lane, set_paused, sweep,
};

const QUEUE: &str = "calls";
const POOL: &str = "outside";
const POOL_CAP: usize = 3;
const LANE_CAP: u32 = 2;
const BUDGET: u32 = 15;
const OUTSIDE: Pool = Pool::named(POOL).cap(3).budget(BUDGET, "0 * * * *", "UTC");
const MAX_ATTEMPTS: i16 = 3;
const BACKOFF: i64 = 30;
/// So few that a history meets a breaker that opens by counting.
const THRESHOLD: i32 = 2;
const ACCOUNTS: [&str; 3] = ["a", "b", "c"];
const KINDS: [&str; 2] = ["call", "other"];

#[derive(Debug, Serialize, Deserialize)]
struct Call {
    account: String,
}

/// Another kind in the same lanes.
#[derive(Debug, Serialize, Deserialize)]
struct Other {
    account: String,
}

macro_rules! job {
    ($name:ident, $kind:literal) => {
        impl Job for $name {
            const KIND: &'static str = $kind;
            const POLICY: Policy = Policy::on(QUEUE).lane("account", 2).pool(POOL).max_attempts(3);
            type State = ();
            type Report = ();

            async fn run(self, (): &(), _: &Context) -> Result<Done<()>, Stop> {
                Ok(().into())
            }
        }
    };
}
job!(Call, "call");
job!(Other, "other");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Queue,
    Pool,
    Kind(usize),
    Lane(usize),
}

#[derive(Clone, Copy, Debug)]
enum End {
    Complete,
    Fail,
    Snooze,
    Discard,
    Release,
    Trip { pool: bool, until: Option<i64> },
}

#[derive(Clone, Debug)]
enum Step {
    Enqueue {
        account: usize,
        kind: usize,
        jobs: usize,
    },
    Claim(usize),
    /// Of those at work, the one at this place, counted round.
    End(usize, End),
    Pause(What, bool),
    Cap(usize, u32),
    Close {
        pool: bool,
        account: usize,
    },
    Spend(u32),
    Pass(i64),
    /// Every worker dies; the sweeper rescues what they held.
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (account, kind) = (|| 0..ACCOUNTS.len(), || 0..KINDS.len());
    let end = prop_oneof![
        3 => Just(End::Complete),
        2 => Just(End::Fail),
        1 => Just(End::Snooze),
        1 => Just(End::Discard),
        1 => Just(End::Release),
        4 => (any::<bool>(), prop::option::weighted(0.3, 20..200_i64)).prop_map(|(pool, until)| End::Trip { pool, until }),
    ];
    let what = prop_oneof![
        Just(What::Queue),
        Just(What::Pool),
        kind().prop_map(What::Kind),
        account().prop_map(What::Lane)
    ];
    let step = prop_oneof![
        5 => (account(), kind(), 1..5_usize).prop_map(|(account, kind, jobs)| Step::Enqueue { account, kind, jobs }),
        6 => (1..6_usize).prop_map(Step::Claim),
        6 => (0..8_usize, end).prop_map(|(which, end)| Step::End(which, end)),
        2 => (what.clone(), any::<bool>()).prop_map(|(what, paused)| Step::Pause(what, paused)),
        // Most pauses end soon, or nothing would run.
        2 => what.prop_map(|what| Step::Pause(what, false)),
        1 => (account(), 1..4_u32).prop_map(|(account, cap)| Step::Cap(account, cap)),
        1 => (any::<bool>(), account()).prop_map(|(pool, account)| Step::Close { pool, account }),
        2 => (1..7_u32).prop_map(Step::Spend),
        4 => (1..12_i64).prop_map(|tens| Step::Pass(tens * 10)),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..50)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waits,
    Runs,
    Completed,
    Failed(&'static str),
}

/// A job as the model has it.
#[derive(Clone, Debug)]
struct Row {
    account: usize,
    kind: usize,
    state: State,
    attempt: i16,
    crashes: i16,
    /// When it is due; in seconds.
    due: i64,
}

/// A breaker as the model has it.
#[derive(Clone, Debug, Default)]
struct Fuse {
    failures: i32,
    trips: i32,
    /// Taken from the row, where chance decided and it was what it may be.
    open_until: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug)]
struct LaneModel {
    cap: u32,
    paused: bool,
    fuse: Fuse,
}

struct World<'a> {
    db: &'a Database,
    queue: Queue,
    settings: Arc<Settings>,
    worker: Uuid,
    units: Units,
    now: i64,
    rows: BTreeMap<JobId, Row>,
    hands: Vec<Claimed>,
    lanes: Vec<LaneModel>,
    pool: Fuse,
    /// Who tries for the pool.
    probe: Option<JobId>,
    granted: i64,
    window_ends_at: Option<DateTime<Utc>>,
    paused: Vec<What>,
}

fn secs(secs: i64) -> Duration {
    Duration::from_secs(secs.unsigned_abs())
}

impl<'a> World<'a> {
    async fn new(db: &'a Database) -> Self {
        let clean = "delete from background_jobs; delete from greenroom.turns; delete from greenroom.lanes;
                     delete from greenroom.pools; delete from greenroom.kinds; delete from greenroom.queues";
        sqlx::raw_sql(clean).execute(db.pool()).await.unwrap();
        let jobs = Jobs::new().with::<Call>(None).with::<Other>(None).pool(OUTSIDE);
        jobs.register(db.pool()).await.unwrap();
        let lane = LaneModel { cap: LANE_CAP, paused: false, fuse: Fuse::default() };
        let mut world = Self {
            db,
            queue: Queue::new(db.pool().clone()),
            settings: Arc::new(Settings { breaker_threshold: THRESHOLD, ..Settings::default() }),
            worker: Uuid::now_v7(),
            units: Units::new(db.pool().clone()),
            now: 0,
            rows: BTreeMap::new(),
            hands: Vec::new(),
            lanes: vec![lane; ACCOUNTS.len()],
            pool: Fuse::default(),
            probe: None,
            granted: 0,
            window_ends_at: None,
            paused: Vec::new(),
        };
        world.sweep().await;
        world
    }

    async fn clock(&self) -> DateTime<Utc> {
        sqlx::query_scalar("select greenroom.now()").fetch_one(self.db.pool()).await.unwrap()
    }

    async fn sweep(&mut self) {
        sweep(self.db.pool(), &self.settings).await.unwrap();
        let ends: Option<DateTime<Utc>> =
            sqlx::query_scalar("select window_ends_at from greenroom.pools where name = $1")
                .bind(POOL)
                .fetch_one(self.db.pool())
                .await
                .unwrap();
        if self.window_ends_at != ends {
            (self.granted, self.window_ends_at) = (0, ends);
        }
    }

    fn key(account: usize) -> String {
        format!("account:{}", ACCOUNTS[account])
    }

    async fn take(&mut self, step: &Step) {
        match *step {
            Step::Enqueue { account, kind, jobs } => self.enqueue(account, kind, jobs).await,
            Step::Claim(slots) => self.claim(slots).await,
            Step::End(which, end) if !self.hands.is_empty() => {
                let job = self.hands.remove(which % self.hands.len());
                self.end(&job, end).await;
            }
            Step::End(..) => {}
            Step::Pause(what, paused) => self.pause(what, paused).await,
            Step::Cap(account, cap) => {
                let mut conn = self.db.pool().acquire().await.unwrap();
                let key = Self::key(account);
                set_lane(&mut conn, (QUEUE, POOL, &key), Some(cap), None).await.unwrap();
                self.lanes[account].cap = cap;
            }
            Step::Close { pool, account } => {
                let mut conn = self.db.pool().acquire().await.unwrap();
                let breaker = if pool {
                    self.pool = Fuse::default();
                    Breaker::Pool(POOL.to_owned())
                } else {
                    let lane = Breaker::lane(&mut conn, QUEUE, POOL, &Self::key(account)).await;
                    let fuse = std::mem::take(&mut self.lanes[account].fuse);
                    match lane {
                        Ok(lane) => lane,
                        // Its first jobs make it when they wake it, which is after the enqueue.
                        Err(QueueError::NoSuch { .. }) => return assert_eq!(fuse.failures, 0),
                        Err(error) => panic!("{error}"),
                    }
                };
                close_breaker(&mut conn, &breaker).await.unwrap();
            }
            Step::Spend(units) => {
                self.sweep().await;
                let spent = self.units.spend(POOL, units, 100).await;
                let fits = self.granted + i64::from(units) <= i64::from(BUDGET);
                match spent {
                    Ok(()) => assert!(fits, "{units} units on top of {}", self.granted),
                    Err(QueueError::NoUnits { .. }) => assert!(!fits, "{units} of {} units", self.granted),
                    Err(error) => panic!("{error}"),
                }
                self.granted += if fits { i64::from(units) } else { 0 };
            }
            Step::Pass(by) => {
                self.pass(by).await;
                let hands: Vec<(JobId, i64)> = self.hands.iter().map(|job| (job.id, job.token)).collect();
                let mut conn = self.db.pool().acquire().await.unwrap();
                let renewed = renew(&mut conn, &hands, self.settings.lease()).await.unwrap();
                assert!(renewed.iter().all(|job| job.held), "nobody has rescued what was held");
            }
            Step::Crash => {
                self.pass(i64::try_from(self.settings.lease_secs).unwrap() + 10).await;
                self.sweep().await;
                for job in self.hands.drain(..) {
                    let row = self.rows.get_mut(&job.id).unwrap();
                    row.attempt -= 1;
                    row.crashes += 1;
                    row.state = if row.crashes == 3 { State::Failed("quarantined") } else { State::Waits };
                }
            }
        }
    }

    async fn pass(&mut self, by: i64) {
        self.db.advance(secs(by)).await;
        self.now += by;
    }

    async fn enqueue(&mut self, account: usize, kind: usize, jobs: usize) {
        let name = || ACCOUNTS[account].to_owned();
        let new = |()| match kind {
            0 => NewJob::of(&Call { account: name() }).unwrap(),
            _ => NewJob::of(&Other { account: name() }).unwrap(),
        };
        let jobs: Vec<NewJob> = std::iter::repeat_n((), jobs).map(new).collect();
        for made in self.queue.enqueue_many(&jobs).await.unwrap() {
            let (state, due) = (State::Waits, self.now);
            self.rows.insert(made.id, Row { account, kind, state, attempt: 0, crashes: 0, due });
        }
    }

    async fn pause(&mut self, what: What, paused: bool) {
        let pausable = match what {
            What::Queue => Pausable::Queue(QUEUE.to_owned()),
            What::Pool => Pausable::Pool(POOL.to_owned()),
            What::Kind(kind) => Pausable::Kind(KINDS[kind].to_owned()),
            What::Lane(account) => {
                self.lanes[account].paused = paused;
                Pausable::Lane { queue: QUEUE.to_owned(), pool: POOL.to_owned(), key: Self::key(account) }
            }
        };
        let mut conn = self.db.pool().acquire().await.unwrap();
        let changed = set_paused(&mut conn, &pausable, paused).await.unwrap();
        let was = self.paused.contains(&what);
        assert_eq!(changed, was != paused, "{what:?}");
        self.paused.retain(|other| *other != what);
        if paused {
            self.paused.push(what);
        }
    }

    fn running(&self, account: Option<usize>) -> usize {
        let runs =
            |row: &&Row| row.state == State::Runs && account.is_none_or(|account| row.account == account);
        self.rows.values().filter(runs).count()
    }

    /// How many a claim of many slots must bring from each lane at most, and in all.
    fn due(&self, slots: usize, now: DateTime<Utc>) -> (Vec<usize>, usize) {
        let none = (vec![0; self.lanes.len()], 0);
        let shut = |fuse: &Fuse| fuse.open_until.is_some_and(|until| until > now);
        if self.paused.contains(&What::Queue)
            || self.paused.contains(&What::Pool)
            || self.granted >= i64::from(BUDGET)
            || shut(&self.pool)
            || (self.pool.open_until.is_some()
                && self.probe.is_some_and(|job| self.rows[&job].state == State::Runs))
        {
            return none;
        }
        let room = POOL_CAP.saturating_sub(self.running(None));
        let room = if self.pool.open_until.is_some() { room.min(1) } else { room };
        let of_lane = |(account, lane): (usize, &LaneModel)| {
            if lane.paused || shut(&lane.fuse) {
                return 0;
            }
            let cap = if lane.fuse.open_until.is_some() { 1 } else { lane.cap as usize };
            let waits = self.rows.values().filter(|row| {
                row.account == account
                    && row.state == State::Waits
                    && row.due <= self.now
                    && !self.paused.contains(&What::Kind(row.kind))
            });
            cap.saturating_sub(self.running(Some(account))).min(waits.count())
        };
        let lanes: Vec<usize> = self.lanes.iter().enumerate().map(of_lane).collect();
        let all = lanes.iter().sum::<usize>().min(room).min(slots);
        (lanes, all)
    }

    async fn claim(&mut self, slots: usize) {
        self.sweep().await;
        let now = self.clock().await;
        let (mut lanes, expected) = self.due(slots, now);
        let track = Track::new(QUEUE, POOL);
        let (mut claimed, mut empty) = (0, 0);
        // A claimer leaves lanes to others, and somebody who wakes one may hold it for a moment.
        while empty < if claimed < expected { 100 } else { 1 } && claimed < slots {
            let mut conn = self.db.pool().acquire().await.unwrap();
            let (wanted, lease) = (u32::try_from(slots - claimed).unwrap(), self.settings.lease());
            let jobs =
                claim(&mut conn, &track, self.worker, wanted, lease, track.floor, &[]).await.unwrap().jobs;
            drop(conn);
            if jobs.is_empty() {
                empty += 1;
                if claimed < expected {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    self.sweep().await;
                }
            }
            for job in jobs {
                claimed += 1;
                let row = self.rows.get_mut(&job.id).unwrap();
                assert_eq!((row.state, row.due <= self.now), (State::Waits, true), "{row:?}");
                assert!(!self.paused.contains(&What::Kind(row.kind)), "of a paused kind: {row:?}");
                assert!(lanes[row.account] > 0, "its lane has no room, or may not: {row:?}");
                lanes[row.account] -= 1;
                (row.state, row.attempt) = (State::Runs, row.attempt + 1);
                let tries = match &job.probes {
                    None => (false, false),
                    Some(Breaker::Pool(_)) => (true, false),
                    Some(Breaker::Lane(_)) => (false, true),
                };
                let (pool, lane) = (&self.pool, &self.lanes[row.account].fuse);
                let open = (pool.open_until.is_some(), lane.open_until.is_some());
                // Where both are half-open it tries for the pool.
                assert_eq!(tries, (open.0, open.1 && !open.0), "{row:?}");
                if tries.0 {
                    self.probe = Some(job.id);
                }
                self.hands.push(job);
            }
        }
        assert_eq!(
            claimed, expected,
            "of {slots} slots at {now}; lanes {:?}, pool {:?}",
            self.lanes, self.pool
        );
    }

    async fn end(&mut self, job: &Claimed, end: End) {
        let clock = self.clock().await;
        let until = clock + TimeDelta::seconds(BACKOFF);
        let (error, after) = ("no".to_owned(), secs(BACKOFF));
        let row = self.rows.get_mut(&job.id).unwrap();
        let account = row.account;
        let retry = |row: &mut Row, now: i64| {
            if row.attempt == MAX_ATTEMPTS {
                row.state = State::Failed("exhausted");
            } else {
                (row.state, row.due) = (State::Waits, now + BACKOFF);
            }
        };
        let mut tripped = None;
        let verdict = match end {
            End::Complete => {
                row.state = State::Completed;
                Verdict::Completed(None)
            }
            End::Discard => {
                row.state = State::Failed("discarded");
                Verdict::Discarded { reason: error }
            }
            End::Fail => {
                retry(row, self.now);
                Verdict::Retry { error, after }
            }
            End::Snooze => {
                (row.state, row.attempt, row.due) = (State::Waits, row.attempt - 1, self.now + BACKOFF);
                Verdict::Snoozed { until, reason: error }
            }
            End::Release => {
                (row.state, row.attempt) = (State::Waits, row.attempt - 1);
                Verdict::Released { after: None, reason: error }
            }
            End::Trip { pool, until } => {
                let until = until.map(|secs| clock + TimeDelta::seconds(secs));
                let breaker = if pool { Breaker::Pool(POOL.to_owned()) } else { Breaker::Lane(job.lane) };
                let fuse = if pool { &mut self.pool } else { &mut self.lanes[account].fuse };
                let was_open = fuse.open_until.is_some();
                fuse.failures += 1;
                let alone = job.probes.as_ref() == Some(&breaker);
                let opens = until.is_some() || alone || (!was_open && fuse.failures >= THRESHOLD);
                fuse.trips += i32::from(opens);
                if opens || was_open {
                    (row.state, row.attempt) = (State::Waits, row.attempt - 1);
                } else {
                    retry(row, self.now);
                }
                tripped = Some((pool, opens, until, fuse.trips - 1));
                Verdict::Tripped { breaker, until, error, after }
            }
        };
        let succeeded = matches!(end, End::Complete);
        match &job.probes {
            Some(Breaker::Pool(_)) if succeeded => self.pool = Fuse::default(),
            Some(Breaker::Lane(_)) if succeeded => self.lanes[account].fuse = Fuse::default(),
            _ => {}
        }
        let settlement = Settlement::of(job, verdict);
        let engine = Engine::new(self.worker, self.db.pool().clone(), Arc::clone(&self.settings));
        assert!(engine.settle(vec![settlement]).await.left.is_empty());
        if let Some((pool, true, until, trips)) = tripped {
            self.note_opened(job, pool, until, trips).await;
        }
    }

    /// Reads until when a breaker is open, which is partly chance, and checks that it may be.
    async fn note_opened(&mut self, job: &Claimed, pool: bool, until: Option<DateTime<Utc>>, trips: i32) {
        let account = self.rows[&job.id].account;
        let sql = if pool {
            "select open_until from greenroom.pools where name = 'outside' and $1::bigint is not null"
        } else {
            "select open_until from greenroom.lanes where id = $1"
        };
        let open_until: Option<DateTime<Utc>> =
            sqlx::query_scalar(sql).bind(job.lane).fetch_one(self.db.pool()).await.unwrap();
        let open_until = open_until.expect("it is open");
        let now = self.clock().await;
        let fuse = if pool { &mut self.pool } else { &mut self.lanes[account].fuse };
        let least = if let Some(until) = until {
            until
        } else {
            let wait = self.settings.breaker_wait().as_secs_f64() * 2_f64.powi(trips);
            let wait = wait.min(self.settings.breaker_longest_wait().as_secs_f64());
            let ahead = (open_until - now).as_seconds_f64();
            let later = fuse.open_until.is_some_and(|before| before == open_until);
            assert!(later || (wait * 0.75 - 5.0..=wait * 1.25).contains(&ahead), "{ahead} s for {wait}");
            open_until
        };
        // What was decided before and lasts longer stands.
        let expected = fuse.open_until.map_or(least, |before| before.max(least));
        assert!((open_until - expected).abs() < TimeDelta::milliseconds(1), "{open_until} is not {expected}");
        fuse.open_until = Some(open_until);
    }

    /// Compares the tables with the model.
    async fn check(&self) {
        type Stored = (Uuid, String, Option<String>, i16, i16);
        let stored: Vec<Stored> =
            sqlx::query_as("select id, status, failure, attempt, crashes from background_jobs order by id")
                .fetch_all(self.db.pool())
                .await
                .unwrap();
        assert_eq!(stored.len(), self.rows.len());
        for (id, status, failure, attempt, crashes) in stored {
            let row = &self.rows[&JobId(id)];
            let expected = match row.state {
                State::Waits => ("pending", None),
                State::Runs => ("running", None),
                State::Completed => ("completed", None),
                State::Failed(why) => ("failed", Some(why)),
            };
            assert_eq!((status.as_str(), failure.as_deref()), expected, "{row:?}");
            assert_eq!((attempt, crashes), (row.attempt, row.crashes), "{row:?}");
        }
        let (failures, trips, open_until, granted): (i32, i32, Option<DateTime<Utc>>, i64) = sqlx::query_as(
            "select failures, trips, open_until, granted from greenroom.pools where name = $1",
        )
        .bind(POOL)
        .fetch_one(self.db.pool())
        .await
        .unwrap();
        let fuse = &self.pool;
        assert_eq!((failures, trips, open_until), (fuse.failures, fuse.trips, fuse.open_until), "the pool");
        assert_eq!(granted, self.granted);
        let lanes: Vec<(String, i32, i32, Option<DateTime<Utc>>)> = sqlx::query_as(
            "select split_part(key, ':', 2), failures, trips, open_until from greenroom.lanes order by 1",
        )
        .fetch_all(self.db.pool())
        .await
        .unwrap();
        for (key, failures, trips, open_until) in lanes {
            let account = ACCOUNTS.iter().position(|account| *account == key).unwrap();
            let fuse = &self.lanes[account].fuse;
            let expected = (fuse.failures, fuse.trips, fuse.open_until);
            assert_eq!((failures, trips, open_until), expected, "lane {key}");
        }
    }
}

async fn history(house: &Database, steps: Vec<Step>) {
    let mut world = World::new(house).await;
    for step in &steps {
        world.take(step).await;
        world.check().await;
    }
}

#[test]
fn limits_and_holds_agree_with_the_model() {
    histories(30, &steps(), Database::new, &history);
}

/// What chance seldom draws: a pool whose breaker is half-open, and one job that tries.
fn until_one_tries(account: usize) -> Vec<Step> {
    let until = Some(20);
    vec![
        Step::Enqueue { account, kind: 0, jobs: 2 },
        Step::Enqueue { account: account + 1, kind: 0, jobs: 2 },
        Step::Claim(1),
        Step::End(0, End::Trip { pool: true, until }),
        Step::Pass(30),
        Step::Claim(3),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn who_tries_for_a_pool_goes_alone_however_long_it_takes() {
    let mut steps = until_one_tries(0);
    steps.extend([Step::Pass(50), Step::Pass(50), Step::Pass(50), Step::Claim(3)]);
    steps.extend([Step::End(0, End::Complete), Step::Claim(3)]);
    history(&Database::new().await, steps).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_tried_for_a_pool_and_says_nothing_of_it_lets_the_next_try() {
    for end in [End::Trip { pool: false, until: Some(500) }, End::Fail, End::Snooze, End::Release] {
        let mut steps = until_one_tries(0);
        steps.extend([Step::End(0, end), Step::Claim(3)]);
        history(&Database::new().await, steps).await;
    }
}

#[test]
#[ignore = "long, 5 minutes"]
fn long_a_thousand_histories_of_limits_agree_with_the_model() {
    histories(1_000, &steps(), Database::new, &history);
}
