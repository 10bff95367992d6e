//! Random histories against a model in memory: after every step both agree and the books add up.

use std::collections::HashMap;

use greenroom_model::{Dollars, JobId, UsageEventId};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::*;
use crate::reset::reset_batch;
use crate::{Cost, CreditsError, Settings, charge, expire, refund, release, settle};

#[derive(Clone, Copy, Debug)]
enum Step {
    Grant(i64),
    Reserve(u8, i64),
    Settle(u8, i64),
    Release(u8),
    Charge(u8, i64),
    Expire,
    Unlimited(bool),
    Refund(u8),
    Month,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Held(i64),
    Settled,
    Released,
    Expired,
}

/// What the database should hold.
#[derive(Default)]
struct Model {
    current: i64,
    unlimited: bool,
    reservations: HashMap<u8, State>,
    events: HashMap<u8, Event>,
    /// What of the allowance is used.
    used: i64,
    month: u32,
}

#[derive(Clone, Copy, Debug)]
struct Event {
    charged: i64,
    unlimited: bool,
    month: u32,
    refunded: bool,
}

impl Model {
    fn reserved(&self) -> i64 {
        self.reservations.values().map(|s| if let State::Held(amount) = s { *amount } else { 0 }).sum()
    }

    fn affords(&self, amount: i64) -> bool {
        self.unlimited || self.current - self.reserved() >= amount
    }

    fn reserve(&mut self, key: u8, amount: i64) -> &'static str {
        match self.reservations.get(&key) {
            Some(State::Held(_)) => "held",
            Some(State::Settled) => "settled",
            _ if self.affords(amount) => {
                self.reservations.insert(key, State::Held(amount));
                "held"
            }
            _ => "insufficient_credits",
        }
    }

    /// Returns what the key has been charged.
    fn settle(&mut self, key: u8, owed: i64) -> Result<i64, &'static str> {
        let freed = match self.reservations[&key] {
            State::Settled => return Ok(self.events[&key].charged),
            State::Released => return Err("reservation_resolved"),
            State::Held(amount) => amount,
            State::Expired => 0,
        };
        if !self.events.contains_key(&key) {
            let available = (self.current - self.reserved() + freed).max(0);
            let charged = if self.unlimited { owed } else { owed.min(available) };
            self.take(key, charged);
        }
        self.reservations.insert(key, State::Settled);
        Ok(self.events[&key].charged)
    }

    fn release(&mut self, key: u8) -> Result<(), &'static str> {
        match self.reservations[&key] {
            State::Settled => return Err("reservation_resolved"),
            State::Held(_) => _ = self.reservations.insert(key, State::Released),
            State::Released | State::Expired => {}
        }
        Ok(())
    }

    fn charge(&mut self, key: u8, owed: i64) -> Result<i64, &'static str> {
        if let Some(before) = self.events.get(&key) {
            return Ok(before.charged);
        }
        if !self.affords(owed) {
            return Err("insufficient_credits");
        }
        self.take(key, owed);
        Ok(owed)
    }

    fn expire(&mut self) {
        for state in self.reservations.values_mut() {
            if let State::Held(_) = state {
                *state = State::Expired;
            }
        }
    }

    fn take(&mut self, key: u8, charged: i64) {
        if !self.unlimited {
            self.current -= charged;
            self.used += charged;
        }
        let event = Event { charged, unlimited: self.unlimited, month: self.month, refunded: false };
        self.events.insert(key, event);
    }

    fn refund(&mut self, key: u8) -> Result<i64, &'static str> {
        let event = self.events.get_mut(&key).unwrap();
        if event.charged == 0 {
            return Err("nothing_to_refund");
        }
        if !event.refunded && !event.unlimited {
            self.current += event.charged;
            if event.month == self.month {
                self.used -= event.charged;
            }
        }
        event.refunded = true;
        Ok(event.charged)
    }

    fn next_month(&mut self) {
        let allowance = MicroCredits::whole(100).0;
        let leftover = (self.current - self.reserved()).min(allowance - self.used);
        let leftover = leftover.min(self.current + allowance - self.reserved()).max(0);
        self.current += allowance - leftover;
        (self.used, self.month) = (0, self.month + 1);
    }
}

fn histories() -> impl Strategy<Value = Vec<Step>> {
    // Few keys, so that they meet again, and amounts about as large as the balance.
    let (key, amount) = (0..4_u8, 1..70_000_000_i64);
    let step = prop_oneof![
        1 => amount.clone().prop_map(Step::Grant),
        4 => (key.clone(), amount.clone()).prop_map(|(k, a)| Step::Reserve(k, a)),
        4 => (key.clone(), amount.clone()).prop_map(|(k, a)| Step::Settle(k, a)),
        2 => key.clone().prop_map(Step::Release),
        3 => (key, amount).prop_map(|(k, a)| Step::Charge(k, a)),
        1 => Just(Step::Expire),
        1 => any::<bool>().prop_map(Step::Unlimited),
        2 => (0..4_u8).prop_map(Step::Refund),
        1 => Just(Step::Month),
    ];
    prop::collection::vec(step, 1..16)
}

/// What a history is played against.
struct Account<'a> {
    db: &'a Database,
    user: UserId,
    price: Price,
    job: JobId,
    holds: HashMap<u8, Hold>,
}

impl Account<'_> {
    fn key(&self, key: u8) -> Key {
        Key::of_job(self.job, &key.to_string())
    }

    /// Does one step to both, which must answer alike.
    async fn step(&mut self, model: &mut Model, step: Step) {
        let mut conn = self.db.pool().acquire().await.unwrap();
        match step {
            Step::Grant(amount) => {
                grant(&mut conn, self.user, MicroCredits(amount)).await;
                model.current += amount;
            }
            Step::Unlimited(on) if on || model.reserved() <= model.current => {
                let sql = "update user_credit_balances set is_unlimited = $2 where user_id = $1";
                sqlx::query(sql).bind(self.user.0).bind(on).execute(&mut *conn).await.unwrap();
                model.unlimited = on;
            }
            Step::Reserve(key, amount) => {
                let name = self.key(key);
                let wish = Reservation {
                    user: self.user,
                    job: None,
                    key: &name,
                    price: &self.price,
                    amount: MicroCredits(amount),
                    timeout: TIMEOUT,
                };
                let outcome = match reserve(self.db.pool(), &wish).await {
                    Ok(Reserved::Held(hold)) => {
                        self.holds.insert(key, hold);
                        "held"
                    }
                    Ok(Reserved::Settled(_)) => "settled",
                    Err(error) => error.code(),
                };
                assert_eq!(outcome, model.reserve(key, amount));
            }
            Step::Settle(key, owed) => {
                let Some(hold) = self.holds.get(&key) else { return };
                let outcome = settle(&mut conn, hold, &costing(owed), &a_channel()).await;
                assert_eq!(outcome.map(|s| s.credits.0).map_err(code), model.settle(key, owed));
            }
            Step::Release(key) => {
                let Some(hold) = self.holds.get(&key) else { return };
                assert_eq!(release(&mut conn, hold).await.map_err(code), model.release(key));
            }
            Step::Charge(key, owed) => {
                let name = self.key(key);
                let outcome =
                    charge(&mut conn, self.user, &name, &self.price, &costing(owed), &a_channel()).await;
                assert_eq!(outcome.map(|c| c.credits.0).map_err(code), model.charge(key, owed));
            }
            Step::Expire => {
                self.db.advance(Duration::from_hours(1)).await;
                expire(self.db.pool(), 1_000).await.unwrap();
                model.expire();
            }
            Step::Refund(key) => {
                if !model.events.contains_key(&key) {
                    return;
                }
                let sql = "select id from credit_usage_events where idempotency_key = $1";
                let event: uuid::Uuid =
                    sqlx::query_scalar(sql).bind(self.key(key).as_str()).fetch_one(&mut *conn).await.unwrap();
                let outcome = refund(&mut conn, UsageEventId(event), "a mistake").await;
                assert_eq!(outcome.map(|r| r.credits.0).map_err(code), model.refund(key));
            }
            Step::Month => {
                let balance = balances::get(&mut conn, self.user).await.unwrap().unwrap();
                let wait = balance.next_reset_at - self.db.clock().now();
                self.db.advance(wait.to_std().unwrap() + Duration::from_millis(5)).await;
                let settings = Settings::default();
                while reset_batch(&mut conn, &settings, 1_000, &[]).await.unwrap().accounts > 0 {}
                model.next_month();
            }
            Step::Unlimited(_) => {}
        }
    }
}

fn costing(credits: i64) -> Cost {
    Cost { api: Dollars(credits * 100_000), ..Cost::default() }
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to `map_err`")]
fn code(error: CreditsError) -> &'static str {
    error.code()
}

async fn play(db: &Database, history: Vec<Step>) {
    let mut conn = db.pool().acquire().await.unwrap();
    let user = person(&mut conn).await;
    balances::open(&mut conn, user).await.unwrap();
    let price = price(&mut conn).await;
    let mut account = Account { db, user, price, job: JobId::new(), holds: HashMap::new() };
    let mut model = Model { current: MicroCredits::whole(100).0, ..Model::default() };
    for step in history {
        account.step(&mut model, step).await;
        let balance = balances::get(&mut conn, user).await.unwrap().unwrap();
        assert_eq!((balance.current.0, balance.reserved.0), (model.current, model.reserved()), "{step:?}");
        must_add_up(&mut conn, user).await;
    }
}

#[test]
fn random_histories_agree_with_the_model() {
    histories_agree(250);
}

#[test]
#[ignore = "long, 10 minutes"]
fn long_ten_thousand_histories_agree_with_the_model() {
    // A database for some hundreds: each month that passes is everybody's.
    for _ in 0..40 {
        histories_agree(250);
    }
}

fn histories_agree(cases: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let db = runtime.block_on(Database::new());
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&histories(), |history| {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                runtime.block_on(play(&db, history));
            }))
            .map_err(|panic| {
                let text = panic.downcast_ref::<String>().cloned();
                TestCaseError::fail(text.unwrap_or_else(|| "a step failed".to_owned()))
            })
        })
        .unwrap();
    runtime.block_on(async { drop(db) });
}
