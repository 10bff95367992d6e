//! Random histories of one kind's keys, in the table and in a model of a few lines; they must agree.
//!
//! The model takes the jobs of a call one after another, so it also tells that writing them at once
//! comes to the same. Its clock counts seconds in steps of ten: a step is longer than a history takes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use greenroom_model::JobId;
use proptest::prelude::*;

use super::tests::{House, note};
use crate::claim::Claimed;
use crate::settle::Verdict;
use crate::testing::histories;
use crate::{Again, NewJob, Outcome, QueueError, Settings, Unique, cancel, retry, sweep};

const STEP: i64 = 10;
const PERIOD: i64 = 60;
const WAIT: i64 = 20;
const AT_MOST: i64 = 50;
const BACKOFF: i64 = 30;
const LEASE: i64 = 3_600;

#[derive(Clone, Debug)]
struct Call {
    key: u8,
    again: Again,
    priority: u8,
    at: Option<i64>,
}

#[derive(Clone, Debug)]
enum End {
    Complete,
    Fail,
    Snooze,
    Discard,
}

#[derive(Clone, Debug)]
enum Step {
    Enqueue(Vec<Call>, bool),
    Claim(u32),
    End(prop::sample::Index, End),
    Retry(prop::sample::Index),
    Cancel(prop::sample::Index),
    Pass(i64),
    /// Every worker dies; the sweeper rescues what they held.
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let again = prop_oneof![
        Just(Again::Ignore),
        Just(Again::Replace),
        Just(Again::Debounce { wait: secs(WAIT), at_most: secs(AT_MOST) }),
    ];
    let call = (0..3_u8, again, 0..10_u8, prop::option::weighted(0.2, 1..6_i64));
    let call =
        call.prop_map(|(key, again, priority, at)| Call { key, again, priority, at: at.map(|n| n * STEP) });
    let end = prop_oneof![Just(End::Complete), Just(End::Fail), Just(End::Snooze), Just(End::Discard)];
    let index = any::<prop::sample::Index>;
    let step = prop_oneof![
        6 => (prop::collection::vec(call, 1..5), any::<bool>()).prop_map(|(calls, period)| Step::Enqueue(calls, period)),
        4 => (1..4_u32).prop_map(Step::Claim),
        4 => (index(), end).prop_map(|(which, end)| Step::End(which, end)),
        2 => index().prop_map(Step::Retry),
        1 => index().prop_map(Step::Cancel),
        4 => (1..5_i64).prop_map(|n| Step::Pass(n * STEP)),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..40)
}

fn secs(secs: i64) -> Duration {
    Duration::from_secs(secs.unsigned_abs())
}

/// A job as the model has it.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    key: String,
    state: State,
    text: String,
    priority: i16,
    run_at: i64,
    attempt: i16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Waits,
    Runs,
    Completed,
    Failed(&'static str),
}

impl Row {
    fn is_open(&self) -> bool {
        matches!(self.state, State::Waits | State::Runs)
    }
}

struct World<'a> {
    house: &'a House,
    began: DateTime<Utc>,
    now: i64,
    texts: u32,
    rows: BTreeMap<JobId, Row>,
    born: BTreeMap<JobId, i64>,
    crashes: BTreeMap<JobId, i32>,
    periods: BTreeMap<String, (JobId, i64)>,
    hands: Vec<Claimed>,
}

impl<'a> World<'a> {
    async fn new(house: &'a House) -> Self {
        for table in ["background_jobs", "greenroom.unique_periods"] {
            let sql = format!("delete from {table}");
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(house.db.pool()).await.unwrap();
        }
        Self {
            house,
            began: house.db.clock().now(),
            now: 0,
            texts: 0,
            rows: BTreeMap::new(),
            born: BTreeMap::new(),
            crashes: BTreeMap::new(),
            periods: BTreeMap::new(),
            hands: Vec::new(),
        }
    }

    async fn take(&mut self, step: &Step) {
        let pool = self.house.db.pool();
        match step {
            Step::Enqueue(calls, period) => self.enqueue(calls, *period).await,
            Step::Claim(slots) => {
                for job in self.house.claim(*slots, secs(LEASE)).await {
                    let row = self.rows.get_mut(&job.id).unwrap();
                    assert!(row.state == State::Waits && row.run_at <= self.now, "claimed {row:?}");
                    row.state = State::Runs;
                    row.attempt += 1;
                    self.hands.push(job);
                }
            }
            Step::End(which, end) if !self.hands.is_empty() => {
                let job = self.hands.remove(which.index(self.hands.len()));
                self.end(&job, end).await;
            }
            Step::Retry(which) if !self.rows.is_empty() => self.retry(*which).await,
            Step::Cancel(which) if !self.rows.is_empty() => {
                let nth = which.index(self.rows.len());
                let (id, row) = self.rows.iter_mut().nth(nth).unwrap();
                if row.state == State::Waits {
                    cancel(pool, *id).await.unwrap();
                    row.state = State::Failed("cancelled");
                }
            }
            Step::Pass(by) => self.pass(*by).await,
            Step::Crash => {
                self.pass(LEASE + STEP).await;
                sweep(pool, &Settings::default()).await.unwrap();
                for job in self.hands.drain(..) {
                    let row = self.rows.get_mut(&job.id).unwrap();
                    let crashes = self.crashes.entry(job.id).or_default();
                    *crashes += 1;
                    row.attempt -= 1;
                    row.state = if *crashes == 3 { State::Failed("quarantined") } else { State::Waits };
                }
            }
            Step::End(..) | Step::Retry(_) | Step::Cancel(_) => {}
        }
    }

    async fn pass(&mut self, by: i64) {
        self.house.db.advance(secs(by)).await;
        self.now += by;
    }

    async fn enqueue(&mut self, calls: &[Call], period: bool) {
        let first_text = self.texts;
        let mut jobs = Vec::new();
        for call in calls {
            self.texts += 1;
            let unique = Unique { period: period.then(|| secs(PERIOD)), again: call.again };
            let job =
                note(&call.key.to_string(), &self.texts.to_string()).unique(unique).priority(call.priority);
            jobs.push(match call.at {
                Some(at) => job.at(self.house.db.clock().now() + TimeDelta::seconds(at)),
                None => job,
            });
        }
        let answers = self.house.queue.enqueue_many(&jobs as &[NewJob]).await.unwrap();
        let before = self.rows.iter().map(|(id, row)| (*id, row.run_at)).collect();
        for (n, (call, answer)) in calls.iter().zip(&answers).enumerate() {
            let text = (usize::try_from(first_text).unwrap() + n + 1).to_string();
            let expected = self.expect(call, period, text, answer.id, &before);
            assert_eq!((answer.outcome, answer.id), expected, "{call:?}");
        }
    }

    /// What one job comes to; a new one gets the id that the table gave it.
    fn expect(
        &mut self,
        call: &Call,
        period: bool,
        text: String,
        new: JobId,
        before: &BTreeMap<JobId, i64>,
    ) -> (Outcome, JobId) {
        let key = format!("note:{}", call.key);
        let now = self.now;
        let debounced = |born: i64| (now + WAIT).min(born + AT_MOST);
        let priority = i16::from(call.priority);
        if let Some((id, row)) = self.rows.iter_mut().find(|(_, row)| row.key == key && row.is_open()) {
            let outcome = match (&row.state, call.again) {
                (_, Again::Ignore) => return (Outcome::Kept, *id),
                (State::Runs, _) => return (Outcome::Running, *id),
                (_, Again::Replace) => {
                    // Its place is that from before the call, whatever else the call did to it.
                    let place = before.get(id).map_or(now, |run_at| now.min(*run_at));
                    row.run_at = call.at.map_or(place, |at| now + at);
                    Outcome::Replaced
                }
                (_, Again::Debounce { .. }) => {
                    row.run_at = debounced(self.born[id]);
                    Outcome::Debounced
                }
            };
            row.text = text;
            row.priority = priority;
            return (outcome, *id);
        }
        if let Some((holder, _)) = self.periods.get(&key).filter(|(_, until)| period && *until > now) {
            return (Outcome::Over, *holder);
        }
        let run_at = match call.again {
            Again::Debounce { .. } => debounced(now),
            _ => now + call.at.unwrap_or(0),
        };
        if period {
            self.periods.insert(key.clone(), (new, now + PERIOD));
        }
        self.born.insert(new, now);
        self.rows.insert(new, Row { key, state: State::Waits, text, priority, run_at, attempt: 0 });
        (Outcome::Created, new)
    }

    async fn end(&mut self, job: &Claimed, end: &End) {
        let until = self.house.db.clock().now() + TimeDelta::seconds(BACKOFF);
        let row = self.rows.get_mut(&job.id).unwrap();
        assert_eq!(job.attempt, row.attempt);
        let verdict = match end {
            End::Complete => {
                row.state = State::Completed;
                Verdict::Completed(None)
            }
            End::Discard => {
                row.state = State::Failed("discarded");
                Verdict::Discarded { reason: "no".into() }
            }
            End::Fail if row.attempt == job.max_attempts => {
                row.state = State::Failed("exhausted");
                Verdict::Retry { error: "no".into(), after: secs(BACKOFF) }
            }
            End::Fail => {
                row.state = State::Waits;
                row.run_at = self.now + BACKOFF;
                Verdict::Retry { error: "no".into(), after: secs(BACKOFF) }
            }
            End::Snooze => {
                row.state = State::Waits;
                row.attempt -= 1;
                row.run_at = self.now + BACKOFF;
                Verdict::Snoozed { until, reason: "later".into() }
            }
        };
        self.house.settle(job, verdict).await;
    }

    async fn retry(&mut self, which: prop::sample::Index) {
        let (id, row) = self.rows.iter().nth(which.index(self.rows.len())).unwrap();
        let (id, row) = (*id, row.clone());
        let holder = self.rows.iter().find(|(_, other)| other.key == row.key && other.is_open());
        let holder = holder.map(|(id, _)| *id);
        // What is due is ready then, and what is ready keeps its place.
        sweep(self.house.db.pool(), &Settings::default()).await.unwrap();
        let answer = retry(self.house.db.pool(), id).await;
        match (&row.state, holder) {
            (State::Runs | State::Completed, _) => {
                assert!(matches!(answer, Err(QueueError::WrongState { .. })), "{answer:?}");
            }
            (State::Failed(_), Some(open)) => {
                assert!(
                    matches!(answer, Err(QueueError::KeyHeld { holder, .. }) if holder == open),
                    "{answer:?}"
                );
            }
            (failed, _) => {
                answer.unwrap();
                let attempt = if *failed == State::Waits { row.attempt } else { 0 };
                if *failed != State::Waits {
                    self.crashes.remove(&id);
                }
                let is_ready = *failed == State::Waits && row.run_at <= self.now;
                let run_at = if is_ready { row.run_at } else { self.now };
                self.rows.insert(id, Row { state: State::Waits, attempt, run_at, ..row });
            }
        }
    }

    /// Compares the whole table with the model.
    async fn check(&self) {
        type Stored = (uuid::Uuid, String, String, Option<String>, String, i16, DateTime<Utc>, i16);
        let stored: Vec<Stored> = sqlx::query_as(
            "select id, unique_key, status, failure, payload ->> 'text', priority, run_at, attempt
               from background_jobs order by id",
        )
        .fetch_all(self.house.db.pool())
        .await
        .unwrap();
        assert_eq!(stored.len(), self.rows.len());
        for (id, key, status, failure, text, priority, run_at, attempt) in stored {
            let expected = &self.rows[&JobId(id)];
            let state = match status.as_str() {
                "pending" => State::Waits,
                "running" => State::Runs,
                "completed" => State::Completed,
                _ => State::Failed(match failure.as_deref() {
                    Some("cancelled") => "cancelled",
                    Some("discarded") => "discarded",
                    Some("exhausted") => "exhausted",
                    _ => "quarantined",
                }),
            };
            let late = (run_at - self.began).num_milliseconds() - expected.run_at * 1_000;
            assert!((-100..STEP * 1_000).contains(&late), "{late} ms off: {expected:?}");
            let run_at = expected.run_at;
            assert_eq!(&Row { key, state, text, priority, run_at, attempt }, expected);
        }
        let open = self.rows.values().filter(|row| row.is_open());
        assert!(open.clone().count() == open.map(|row| &row.key).collect::<BTreeSet<_>>().len());
    }
}

async fn history(house: &House, steps: Vec<Step>) {
    let mut world = World::new(house).await;
    for step in &steps {
        world.take(step).await;
        world.check().await;
    }
}

#[test]
fn a_history_agrees_with_the_model() {
    histories(40, &steps(), House::new, &history);
}

#[test]
#[ignore = "long, 5 minutes"]
fn long_a_thousand_histories_agree_with_the_model() {
    histories(1_000, &steps(), House::new, &history);
}
