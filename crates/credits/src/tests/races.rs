//! Many workers at once.

use std::sync::Arc;

use greenroom_model::JobId;
use tokio::task::JoinSet;

use super::*;
use crate::{CreditsError, charge, settle};

const CREDIT: MicroCredits = MicroCredits::whole(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_workers_share_a_balance_for_thirty_seven() {
    let db = Arc::new(Database::new().await);
    let mut conn = db.pool().acquire().await.unwrap();
    let user = person_with(&mut conn, MicroCredits::whole(37)).await;
    let price = Arc::new(price(&mut conn).await);
    let mut workers = JoinSet::new();
    for n in 0..50 {
        let (db, price) = (db.clone(), price.clone());
        workers.spawn(async move {
            let key = Key::of_job(JobId::new(), &n.to_string());
            // Half of them reserve and settle, half charge outright: both draw on the same balance.
            if n % 2 == 0 {
                let mut conn = db.pool().acquire().await.unwrap();
                return charge(&mut conn, user, &key, &price, &price.of(2), &a_channel()).await.map(|_| ());
            }
            let wish =
                Reservation { user, job: None, key: &key, price: &price, amount: CREDIT, timeout: TIMEOUT };
            match reserve(db.pool(), &wish).await? {
                Reserved::Held(hold) => {
                    let mut conn = db.pool().acquire().await.unwrap();
                    settle(&mut conn, &hold, &price.of(2), &a_channel()).await.map(|_| ())
                }
                Reserved::Settled(before) => panic!("{before:?}"),
            }
        });
    }
    let outcomes = workers.join_all().await;
    let served = outcomes.iter().filter(|o| o.is_ok()).count();
    assert_eq!(served, 37);
    assert!(outcomes.iter().all(|o| matches!(o, Ok(()) | Err(CreditsError::Insufficient(_)))));
    assert_eq!(balances::get(&mut conn, user).await.unwrap().unwrap().current, MicroCredits::ZERO);
    must_add_up(&mut conn, user).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn units_submitted_twice_are_charged_once() {
    const UNITS: usize = 100;
    let db = Arc::new(Database::new().await);
    let mut conn = db.pool().acquire().await.unwrap();
    let user = person_with(&mut conn, MicroCredits::whole(1_000)).await;
    let price = Arc::new(price(&mut conn).await);
    let (job, next) = (JobId::new(), Arc::new(std::sync::atomic::AtomicUsize::new(0)));
    let mut workers = JoinSet::new();
    for _ in 0..20 {
        let (db, price, next) = (db.clone(), price.clone(), next.clone());
        workers.spawn(async move {
            let mut fresh = 0_usize;
            loop {
                // Both copies of a unit are taken at about the same moment.
                let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if n >= 2 * UNITS {
                    return fresh;
                }
                let key = Key::of_job(job, &(n / 2).to_string());
                let mut conn = db.pool().acquire().await.unwrap();
                let charged =
                    charge(&mut conn, user, &key, &price, &price.of(1), &a_channel()).await.unwrap();
                fresh += usize::from(!charged.repeated);
            }
        });
    }
    let fresh: usize = workers.join_all().await.into_iter().sum();
    assert_eq!(fresh, UNITS);
    let spent = balances::get(&mut conn, user).await.unwrap().unwrap().spent_this_month;
    assert_eq!(spent, MicroCredits::whole(50));
    must_add_up(&mut conn, user).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_and_a_settlement_meet() {
    let db = Arc::new(Database::new().await);
    let mut conn = db.pool().acquire().await.unwrap();
    let user = person(&mut conn).await;
    let price = price(&mut conn).await;
    let mut holds = Vec::new();
    for n in 0..20 {
        let key = Key::of_job(JobId::new(), &n.to_string());
        holds.push(hold(&db, user, &key, &price, CREDIT).await);
    }
    db.advance(Duration::from_hours(1)).await;
    let mut workers = JoinSet::new();
    for hold in holds {
        let db = db.clone();
        workers.spawn(async move {
            let mut conn = db.pool().acquire().await.unwrap();
            let settled = settle(&mut conn, &hold, &hold.price.of(1), &a_channel()).await.unwrap();
            assert_eq!(settled.uncollected, MicroCredits::ZERO);
        });
    }
    for _ in 0..3 {
        let db = db.clone();
        workers.spawn(async move {
            crate::expire(db.pool(), 5).await.unwrap();
        });
    }
    workers.join_all().await;
    let balance = balances::get(&mut conn, user).await.unwrap().unwrap();
    assert_eq!((balance.current, balance.reserved), (MicroCredits::whole(90), MicroCredits::ZERO));
    must_add_up(&mut conn, user).await;
}
