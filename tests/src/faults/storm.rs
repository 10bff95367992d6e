//! Everything at once: workers, operators and sweepers at random, and then the account.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use greenroom_model::JobId;
use greenroom_queue::{
    Backoff, Context, Done, Job, Jobs, Lane, NewJob, Pace, Pausable, Policy, Pool, Queue, Scope, Settings,
    Stop, Worker, cancel, failures, redrive, retry, set_lane, set_paused, sweep,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::house::House;

const LANE_CAP: u16 = 2;
const POOL_CAP: u32 = 3;
/// What may wait at once: the pool lets so little through that a long storm would otherwise end in an hour of
/// clearing up.
const BACKLOG: i64 = 1_000;
const OUTSIDE: Pool = Pool::named("outside").cap(POOL_CAP);

/// A call to an account outside, which goes as its number says.
#[derive(Debug, Serialize, Deserialize)]
struct Call {
    account: String,
    fate: u8,
    key: Option<u8>,
}

impl Job for Call {
    const KIND: &'static str = "call";
    const POLICY: Policy = Policy::on("errands")
        .lane("account", LANE_CAP)
        .pool("outside")
        .max_attempts(3)
        .backoff(Backoff::new(Duration::from_millis(50), Duration::from_millis(200)));
    type State = PgPool;
    type Report = ();

    fn key(&self) -> Option<String> {
        self.key.map(|key| key.to_string())
    }

    async fn run(self, pool: &PgPool, ctx: &Context) -> Result<Done<()>, Stop> {
        tokio::time::sleep(Duration::from_millis(u64::from(self.fate) % 5)).await;
        match self.fate {
            0..10 => Err(Stop::retry("it broke")),
            10..15 => Err(Stop::cancel("it can never work")),
            15..20 if rand::random() => Err(Stop::snooze_until(ctx.now().await?, "it said so")),
            // Not for ever: a job that only ever trips keeps its lane for itself.
            20..30 if rand::random() => Err(Stop::trip(Scope::Lane, None, "it did not answer")),
            20..60 => {
                let mut tx = pool.begin().await?;
                sqlx::query("insert into effects (job) values ($1)").bind(ctx.id()).execute(&mut *tx).await?;
                let done = ctx.complete(&mut tx, ()).await?;
                tx.commit().await?;
                Ok(done)
            }
            _ => Ok(().into()),
        }
    }
}

const ACCOUNTS: [&str; 4] = ["a", "b", "c", "d"];

/// Does one thing that somebody may do; what is refused for the job's state is no matter.
async fn act(house: &House, known: &Mutex<Vec<JobId>>, dice: &mut StdRng) {
    let account = ACCOUNTS[dice.random_range(0..ACCOUNTS.len())];
    let lane = ("errands", "outside", format!("account:{account}"));
    let any = {
        let known = known.lock().unwrap();
        (!known.is_empty()).then(|| known[dice.random_range(0..known.len())])
    };
    let mut conn = house.pool.acquire().await.unwrap();
    match dice.random_range(0..20) {
        0..8 => {
            let new = |dice: &mut StdRng| Call {
                account: ACCOUNTS[dice.random_range(0..ACCOUNTS.len())].to_owned(),
                fate: dice.random_range(0..100),
                key: (dice.random_range(0..4) == 0).then(|| dice.random_range(0..10)),
            };
            drop(conn);
            if house.number("select count(*) from background_jobs where status = 'pending'").await > BACKLOG {
                return;
            }
            let jobs: Vec<NewJob> = (0..10).map(|_| NewJob::of(&new(dice)).unwrap()).collect();
            let made = house.queue.enqueue_many(&jobs).await.unwrap();
            known.lock().unwrap().extend(made.iter().filter(|job| job.created()).map(|job| job.id));
        }
        8..11 => {
            drop(conn);
            if let Some(job) = any {
                _ = cancel(&house.pool, job).await;
            }
        }
        11..13 => {
            drop(conn);
            if let Some(job) = any {
                _ = retry(&house.pool, job).await;
            }
        }
        13..15 => {
            let paused = dice.random_bool(0.3);
            let what = match dice.random_range(0..4) {
                0 => Pausable::Queue("errands".to_owned()),
                1 => Pausable::Kind("call".to_owned()),
                2 => Pausable::Pool("outside".to_owned()),
                _ => Pausable::Lane { queue: lane.0.into(), pool: lane.1.into(), key: lane.2 },
            };
            _ = set_paused(&mut conn, &what, paused).await;
        }
        15 => {
            let weight = Some(dice.random_range(1.0..4.0_f32));
            set_lane(&mut conn, (lane.0, lane.1, &lane.2), Some(LANE_CAP.into()), weight).await.unwrap();
        }
        16 => {
            let groups = failures(&mut conn, None, None, 5).await.unwrap();
            drop(conn);
            for group in groups {
                redrive(&house.pool, group.fingerprint, Pace::AtOnce, |_| {}).await.unwrap();
            }
        }
        _ => {
            drop(conn);
            sweep(&house.pool, &Settings::default()).await.unwrap();
        }
    }
}

async fn storm(length: Duration, seed: u64) {
    let house = Arc::new(House::new().await);
    let state = Arc::new(house.pool.clone());
    let stop = CancellationToken::new();
    let settings = Settings {
        breaker_wait_secs: 1,
        breaker_longest_wait_secs: 1,
        sweep_interval_ms: 100,
        poll_interval_ms: 200,
        ..Settings::default()
    };
    let workers: Vec<_> = (0..3)
        .map(|_| {
            let jobs = Jobs::new().with::<Call>(Some(&state)).pool(OUTSIDE);
            let worker =
                Worker::new(Queue::new(house.pool.clone()), jobs, settings.clone()).serve("errands", 8);
            let stop = stop.clone();
            tokio::spawn(async move { worker.run(stop, CancellationToken::new()).await.unwrap() })
        })
        .collect();
    house.until("all work", "count(*) = 3 from greenroom.workers").await;
    let known = Arc::new(Mutex::new(Vec::new()));
    let until = Instant::now() + length;
    let actors: Vec<_> = (0..3)
        .map(|actor| {
            let (house, known) = (Arc::clone(&house), Arc::clone(&known));
            tokio::spawn(async move {
                let mut dice = StdRng::seed_from_u64(seed + actor);
                let mut acts = 0_u32;
                while Instant::now() < until {
                    act(&house, &known, &mut dice).await;
                    acts += 1;
                }
                acts
            })
        })
        .collect();
    // All the while: no lane above its cap, nor the pool, at any instant.
    let (mut samples, mut fullest) = (0, 0);
    while Instant::now() < until {
        let (lane, pool): (i64, i64) = sqlx::query_as(
            "select coalesce(max(n), 0)::bigint, coalesce(sum(n), 0)::bigint
               from (select count(*) as n from background_jobs where status = 'running' group by lane) l",
        )
        .fetch_one(&house.pool)
        .await
        .unwrap();
        assert!(
            lane <= i64::from(LANE_CAP) && pool <= i64::from(POOL_CAP),
            "a lane ran {lane}, the pool {pool}"
        );
        fullest = fullest.max(pool);
        samples += 1;
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    let mut acts = 0;
    for actor in actors {
        acts += actor.await.unwrap();
    }
    let mut conn = house.pool.acquire().await.unwrap();
    for what in
        [Pausable::Queue("errands".into()), Pausable::Kind("call".into()), Pausable::Pool("outside".into())]
    {
        set_paused(&mut conn, &what, false).await.unwrap();
    }
    for account in ACCOUNTS {
        let (queue, pool, key) = ("errands".to_owned(), "outside".to_owned(), format!("account:{account}"));
        set_paused(&mut conn, &Pausable::Lane { queue, pool, key }, false).await.unwrap();
    }
    drop(conn);
    // A breaker may have to be waited for; what goes on failing is at its end after its attempts.
    house.until_idle(Duration::from_mins(3) + length).await;

    let states = house
        .list("select status || coalesce(' ' || failure, '') || ' ' || count(*) from background_jobs group by status, failure order by 1")
        .await;
    println!("{acts} acts in {length:?}, {samples} samples, up to {fullest} at once; {}", states.join(", "));
    let there: Vec<JobId> =
        sqlx::query_scalar("select id from background_jobs").fetch_all(&house.pool).await.unwrap();
    let known: BTreeSet<JobId> = known.lock().unwrap().iter().copied().collect();
    assert_eq!(there.into_iter().collect::<BTreeSet<_>>(), known, "a job was lost, or came from nowhere");
    assert_eq!(fullest, i64::from(POOL_CAP), "the pool was never full, so the cap was not tried");
    let open = "select count(*) from background_jobs where lease_token is not null or status not in ('completed', 'failed')";
    assert_eq!(house.number(open).await, 0);
    // A retry by hand does a completed job never again.
    assert_eq!(house.number("select count(*) - count(distinct job) from effects").await, 0, "done twice");
    let undone = "select count(*) from effects where job in (select id from background_jobs where status <> 'completed')";
    assert_eq!(house.number(undone).await, 0, "an effect of a job that is not completed");
    let deadlocks = "select deadlocks from pg_stat_database where datname = current_database()";
    assert_eq!(house.number(deadlocks).await, 0, "deadlocks");
    assert_eq!(Call::POLICY.lane, Lane::Keyed { field: "account", cap: LANE_CAP });
    stop.cancel();
    for worker in workers {
        worker.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_acts_of_many_lose_nothing_break_no_limit_and_never_deadlock() {
    storm(Duration::from_secs(5), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long, 6 minutes"]
async fn long_random_acts_of_many_lose_nothing_break_no_limit_and_never_deadlock() {
    storm(Duration::from_mins(5), 2).await;
}
