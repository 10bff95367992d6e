//! A storm on three keys: enqueues of every kind, workers that fail, vanish and come late, retries by
//! hand, the sweeper. Nothing may be refused but a retry whose key is held, and all must come to an end.

use std::time::Duration;

use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use tokio_util::sync::CancellationToken;

use super::tests::{House, note};
use crate::settle::Verdict;
use crate::testing::by_status;
use crate::{NewJob, QueueError, Settings, Unique, retry, sweep};

const KEYS: u8 = 3;
const LEASE: Duration = Duration::from_secs(30);

fn some_jobs() -> Vec<NewJob> {
    let mut rng = rand::rng();
    let debounce = |unique: Unique| unique.debounce(Duration::from_millis(5), Duration::from_millis(20));
    let mut keys: Vec<u8> = (0..KEYS).collect();
    keys.shuffle(&mut rng);
    let many = rng.random_range(1..=keys.len());
    keys.into_iter()
        .take(many)
        .map(|key| {
            let held = match rng.random_range(0..4) {
                0 => Unique::for_period(Duration::from_secs(20)),
                _ => Unique::WHILE_OPEN,
            };
            let unique = match rng.random_range(0..3) {
                0 => held,
                1 => held.replace(),
                _ => debounce(held),
            };
            note(&key.to_string(), "storm").unique(unique)
        })
        .collect()
}

fn some_verdict() -> Option<Verdict> {
    match rand::random_range(0..6) {
        0 => Some(Verdict::Retry { error: "no".into(), after: Duration::ZERO }),
        1 => Some(Verdict::Discarded { reason: "no".into() }),
        2 => Some(Verdict::Released { after: None, reason: "no".into() }),
        3 => None,
        _ => Some(Verdict::Completed(None)),
    }
}

async fn a_random_failed_job(house: &House) -> Option<greenroom_model::JobId> {
    sqlx::query_scalar("select id from background_jobs where status = 'failed' order by random() limit 1")
        .fetch_optional(house.db.pool())
        .await
        .unwrap()
        .map(greenroom_model::JobId)
}

async fn storm(calls: usize) {
    let house = House::new().await;
    let over = CancellationToken::new();
    let enqueuers = futures::future::join_all((0..3).map(|_| async {
        for _ in 0..calls {
            house.queue.enqueue_many(&some_jobs()).await.unwrap();
        }
    }));
    let worker = async || {
        while !over.is_cancelled() {
            for job in house.claim(3, LEASE).await {
                if let Some(verdict) = some_verdict() {
                    house.settle(&job, verdict).await;
                }
            }
        }
    };
    let operator = async {
        while !over.is_cancelled() {
            if let Some(job) = a_random_failed_job(&house).await {
                match retry(house.db.pool(), job).await {
                    Ok(()) | Err(QueueError::KeyHeld { .. } | QueueError::WrongState { .. }) => {}
                    Err(error) => panic!("a retry was refused: {error}"),
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let sweeper = async {
        while !over.is_cancelled() {
            sweep(house.db.pool(), &Settings::default()).await.unwrap();
            house.db.advance(Duration::from_secs(7)).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let enqueuing = async {
        enqueuers.await;
        over.cancel();
    };
    tokio::join!(enqueuing, worker(), worker(), operator, sweeper);

    // Whatever is open comes to an end, and then every key is free.
    for _ in 0..100 {
        house.db.advance(LEASE * 2).await;
        for job in house.claim(10, LEASE).await {
            house.settle(&job, Verdict::Completed(None)).await;
        }
    }
    let left = by_status(house.db.pool()).await.unwrap();
    assert!(left.contains_key("completed") && !left.contains_key("pending") && !left.contains_key("running"));
    for key in 0..KEYS {
        let job = note(&key.to_string(), "calm").unique(Unique::for_period(LEASE));
        assert!(house.queue.enqueue_many(&[job]).await.unwrap()[0].created());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_storm_is_weathered() {
    Box::pin(storm(60)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long, 2 minutes"]
async fn long_a_conflict_storm_is_weathered() {
    Box::pin(storm(3_000)).await;
}
