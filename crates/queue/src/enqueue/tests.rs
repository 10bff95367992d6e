//! What a second enqueue does, one case a test. The model in `model.rs` draws the rest.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use greenroom_model::JobId;
use greenroom_testkit::Database;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::prune_periods;
use crate::claim::{Claimed, Track, claim};
use crate::engine::Engine;
use crate::settle::{Settlement, Verdict};
use crate::{
    Context, Done, EnqueueError, Enqueued, Job, Jobs, NewJob, Outcome, Policy, Queue, Settings, Stop, Unique,
    cancel, enqueue, retry, sweep,
};

/// Has a key and a lane.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Note {
    pub key: Option<String>,
    pub text: String,
    pub desk: String,
}

impl Job for Note {
    const KIND: &'static str = "note";
    const POLICY: Policy = Policy::on("notes").lane("desk", 10).max_attempts(3);
    type State = ();
    type Report = ();

    fn key(&self) -> Option<String> {
        self.key.clone()
    }

    async fn run(self, (): &(), _: &Context) -> Result<Done<()>, Stop> {
        Ok(().into())
    }
}

pub(super) fn note(key: &str, text: &str) -> NewJob {
    at_desk("front", key, text)
}

fn at_desk(desk: &str, key: &str, text: &str) -> NewJob {
    NewJob::of(&Note { key: Some(key.to_owned()), text: text.to_owned(), desk: desk.to_owned() }).unwrap()
}

pub(super) struct House {
    pub db: Database,
    pub queue: Queue,
    pub worker: Uuid,
}

impl House {
    pub(super) async fn new() -> Self {
        let db = Database::new().await;
        let queue = Queue::new(db.pool().clone());
        Jobs::new().with::<Note>(None).register(db.pool()).await.unwrap();
        Self { db, queue, worker: Uuid::now_v7() }
    }

    async fn add(&self, job: NewJob) -> Enqueued {
        self.queue.enqueue_many(&[job]).await.unwrap().remove(0)
    }

    pub(super) async fn claim(&self, slots: u32, lease: Duration) -> Vec<Claimed> {
        sweep(self.db.pool(), &Settings::default()).await.unwrap();
        let mut conn = self.db.pool().acquire().await.unwrap();
        let track = Track::new("notes", "");
        claim(&mut conn, &track, self.worker, slots, lease, track.floor, &[]).await.unwrap().jobs
    }

    pub(super) async fn settle(&self, job: &Claimed, verdict: Verdict) {
        let (pool, settings) = (self.db.pool().clone(), Arc::default());
        let engine = Engine::new(self.worker, pool, settings);
        assert!(engine.settle(vec![Settlement::of(job, verdict)]).await.left.is_empty());
    }

    async fn begin(&self) -> Claimed {
        // A waker may hold the lane for a moment.
        loop {
            if let Some(job) = self.claim(1, Duration::from_mins(1)).await.pop() {
                return job;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn finish_one(&self) {
        let job = self.begin().await;
        self.settle(&job, Verdict::Completed(None)).await;
    }

    /// Returns one value of a job's row.
    async fn value<T>(&self, what: &str, id: JobId) -> T
    where
        (T,): for<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow>,
        T: Send + Unpin,
    {
        let sql = format!("select {what} from background_jobs where id = $1");
        let row: (T,) =
            sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(id.0).fetch_one(self.db.pool()).await.unwrap();
        row.0
    }

    async fn text(&self, id: JobId) -> String {
        self.value("payload ->> 'text'", id).await
    }

    async fn secs_ahead(&self, id: JobId) -> f64 {
        self.value("extract(epoch from run_at - greenroom.now())::float8", id).await
    }
}

const MINUTE: Duration = Duration::from_mins(1);
const REPLACE: Unique = Unique::WHILE_OPEN.replace();
const DEBOUNCE: Unique = Unique::WHILE_OPEN.debounce(Duration::from_secs(20), Duration::from_secs(50));
const HOURLY: Unique = Unique::for_period(Duration::from_hours(1));

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_job_becomes_the_one_that_replaces_it_and_changes_lanes() {
    let house = House::new().await;
    let first = house.add(at_desk("front", "k", "old")).await;
    let later = house.db.clock().now() + TimeDelta::hours(1);
    let second = house.add(at_desk("back", "k", "new").unique(REPLACE).priority(1).at(later)).await;
    assert_eq!((second.id, second.outcome), (first.id, Outcome::Replaced));
    assert!((house.secs_ahead(first.id).await - 3_600.0).abs() < 9.0);
    assert!(house.claim(10, MINUTE).await.is_empty(), "it waits for its new time");

    let third = house.add(at_desk("back", "k", "newest").unique(REPLACE).priority(2)).await;
    assert_eq!((third.id, third.outcome), (first.id, Outcome::Replaced));
    let job = house.begin().await;
    assert_eq!(job.id, first.id);
    assert!(job.payload.get().contains("newest"), "{}", job.payload);
    let lane: String = house.value("(select key from greenroom.lanes l where l.id = lane)", first.id).await;
    assert_eq!((lane.as_str(), house.value::<i16>("priority", first.id).await), ("desk:back", 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ready_job_keeps_its_place_when_it_is_replaced() {
    let house = House::new().await;
    let first = house.add(note("k", "old")).await;
    house.db.advance(MINUTE).await;
    let before: i64 = house.value("rank", first.id).await;
    // Or a job that is replaced more often than its lane gets on would never run.
    house.add(note("k", "new").unique(REPLACE)).await;
    let after: i64 = house.value("rank", first.id).await;
    assert!((after - before).abs() < 1_000, "only the position in the bulk insert is lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replaced_job_had_come_to_is_forgotten() {
    let house = House::new().await;
    let first = house.add(note("k", "old")).await;
    sqlx::query("update background_jobs set checkpoint = '7', progress = '8'")
        .execute(house.db.pool())
        .await
        .unwrap();
    house.add(note("k", "new").unique(REPLACE)).await;
    assert!(house.value::<bool>("checkpoint is null and progress is null", first.id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debounced_job_waits_for_calm_but_not_for_ever() {
    let house = House::new().await;
    let step = Duration::from_secs(15);
    let first = house.add(note("k", "0").unique(DEBOUNCE)).await;
    assert_eq!(first.outcome, Outcome::Created);
    // Put off at 15 and 30; at 45 only 5 s are left of the 50.
    for (text, ahead) in [("1", 20.0), ("2", 20.0), ("3", 5.0)] {
        house.db.advance(step).await;
        assert!(house.claim(1, MINUTE).await.is_empty(), "no calm before {text}");
        let again = house.add(note("k", text).unique(DEBOUNCE)).await;
        assert_eq!((again.id, again.outcome), (first.id, Outcome::Debounced));
        assert!((house.secs_ahead(first.id).await - ahead).abs() < 4.0, "{text}");
    }
    house.db.advance(step).await;
    assert_eq!(house.begin().await.id, first.id);
    assert_eq!(house.text(first.id).await, "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_is_not_changed_and_the_answer_says_so() {
    let house = House::new().await;
    let first = house.add(note("k", "old")).await;
    house.begin().await;
    for (unique, outcome) in
        [(Unique::WHILE_OPEN, Outcome::Kept), (REPLACE, Outcome::Running), (DEBOUNCE, Outcome::Running)]
    {
        let again = house.add(note("k", "new").unique(unique)).await;
        assert_eq!((again.id, again.outcome), (first.id, outcome));
        assert!(!again.created());
    }
    assert_eq!(house.text(first.id).await, "old");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_one_call_under_one_key_are_one_job() {
    let house = House::new().await;
    let call =
        |key: &str, unique: Unique| ["a", "b", "c"].map(|text| note(key, text).unique(unique)).to_vec();
    for (key, unique, kept, again) in [
        ("ignored", Unique::WHILE_OPEN, "a", Outcome::Kept),
        ("replaced", REPLACE, "c", Outcome::Replaced),
        ("debounced", DEBOUNCE, "c", Outcome::Debounced),
        ("hourly", HOURLY, "a", Outcome::Kept),
        ("hourly and replaced", HOURLY.replace(), "c", Outcome::Replaced),
    ] {
        let answers = house.queue.enqueue_many(&call(key, unique)).await.unwrap();
        assert_eq!(answers.iter().map(|a| a.outcome).collect::<Vec<_>>(), [Outcome::Created, again, again]);
        assert!(answers.iter().all(|a| a.id == answers[0].id), "{key}");
        assert_eq!(house.text(answers[0].id).await, kept, "{key}");
        // Once more, on what is there.
        let answers = house.queue.enqueue_many(&call(key, unique)).await.unwrap();
        assert!(answers.iter().all(|a| a.outcome == again), "{key}");
    }
    // The first that ignores makes it, the one that replaces has the word, and the last changes nothing.
    let mixed = [note("m", "a"), note("m", "b").unique(REPLACE), note("m", "c")];
    let answers = house.queue.enqueue_many(&mixed).await.unwrap();
    assert_eq!(
        answers.iter().map(|a| a.outcome).collect::<Vec<_>>(),
        [Outcome::Created, Outcome::Replaced, Outcome::Kept]
    );
    assert_eq!(house.text(answers[0].id).await, "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_period_holds_the_key_whatever_becomes_of_the_job() {
    let house = House::new().await;
    let first = house.add(note("k", "1").unique(HOURLY)).await;
    house.finish_one().await;
    for unique in [HOURLY, HOURLY.replace(), HOURLY.debounce(MINUTE, MINUTE)] {
        let again = house.add(note("k", "2").unique(unique)).await;
        assert_eq!((again.id, again.outcome), (first.id, Outcome::Over));
    }
    // The row of the job may go; the key stays held.
    sqlx::query("delete from background_jobs").execute(house.db.pool()).await.unwrap();
    assert_eq!(house.add(note("k", "3").unique(HOURLY)).await.outcome, Outcome::Over);

    house.db.advance(Duration::from_hours(1)).await;
    let second = house.add(note("k", "4").unique(HOURLY)).await;
    assert_eq!(second.outcome, Outcome::Created);
    cancel(house.db.pool(), second.id).await.unwrap();
    assert_eq!(house.add(note("k", "5").unique(HOURLY)).await.id, second.id);

    // A cancelled job may be retried in its own period, and then holds the key past its end.
    retry(house.db.pool(), second.id).await.unwrap();
    house.db.advance(Duration::from_hours(2)).await;
    let kept = house.add(note("k", "6").unique(HOURLY)).await;
    assert_eq!((kept.id, kept.outcome), (second.id, Outcome::Kept));
    house.finish_one().await;
    let third = house.add(note("k", "7").unique(HOURLY)).await;
    assert_eq!(third.outcome, Outcome::Created, "no period began for a job that was not made");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_transactions_the_second_sees_the_period_of_the_first() {
    let house = House::new().await;
    let mut first = house.db.pool().begin().await.unwrap();
    let made = enqueue(&mut first, &[note("k", "1").unique(HOURLY)]).await.unwrap().remove(0);
    let waits = {
        let queue = house.queue.clone();
        tokio::spawn(async move { queue.enqueue_many(&[note("k", "2").unique(HOURLY)]).await })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    // The job is over before its enqueue is seen: no open job stops the second.
    sqlx::query("update background_jobs set status = 'completed', completed_at = greenroom.now()")
        .execute(&mut *first)
        .await
        .unwrap();
    first.commit().await.unwrap();
    let second = waits.await.unwrap().unwrap().remove(0);
    assert_eq!((second.id, second.outcome), (made.id, Outcome::Over));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_rolled_back_leaves_neither_job_nor_period() {
    let house = House::new().await;
    let mut tx = house.db.pool().begin().await.unwrap();
    enqueue(&mut tx, &[note("k", "1").unique(HOURLY)]).await.unwrap();
    tx.rollback().await.unwrap();
    assert!(house.add(note("k", "2").unique(HOURLY)).await.created());
}

#[tokio::test(flavor = "multi_thread")]
async fn periods_that_are_over_are_pruned_in_batches() {
    let house = House::new().await;
    let jobs: Vec<NewJob> = (0..5).map(|n| note(&n.to_string(), "").unique(HOURLY)).collect();
    house.queue.enqueue_many(&jobs).await.unwrap();
    house.db.advance(Duration::from_mins(30)).await;
    house.add(note("late", "").unique(HOURLY)).await;
    house.db.advance(Duration::from_mins(31)).await;
    let mut conn = house.db.pool().acquire().await.unwrap();
    for pruned in [3, 2, 0] {
        assert_eq!(prune_periods(&mut conn, 3).await.unwrap(), pruned);
    }
    let left: Vec<String> = sqlx::query_scalar("select unique_key from greenroom.unique_periods")
        .fetch_all(&mut *conn)
        .await
        .unwrap();
    assert_eq!(left, ["note:late"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_with_the_same_keys_in_another_order_do_not_block_each_other() {
    let house = House::new().await;
    for unique in [REPLACE, HOURLY.replace()] {
        let calls = (0..40).map(|n| {
            let queue = house.queue.clone();
            tokio::spawn(async move {
                let mut jobs: Vec<NewJob> =
                    (0..20).map(|k| note(&k.to_string(), "").unique(unique)).collect();
                jobs.rotate_left(n % 20);
                if n % 2 == 0 {
                    jobs.reverse();
                }
                queue.enqueue_many(&jobs).await
            })
        });
        for call in futures::future::join_all(calls).await {
            call.unwrap().unwrap();
        }
    }
    let open: i64 =
        sqlx::query_scalar("select count(*) from background_jobs").fetch_one(house.db.pool()).await.unwrap();
    assert_eq!(open, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_stored() {
    let house = House::new().await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let stored = async |job: NewJob| -> Option<String> {
        let id = house.add(job).await.id;
        house.value("trace", id).await
    };
    let trace: crate::TraceParent = parent.parse().unwrap();
    assert_eq!(stored(note("a", "").trace(trace)).await.as_deref(), Some(parent));
    assert_eq!(stored(note("b", "")).await, None);
    // Who replaces a job is the one who caused it.
    assert_eq!(stored(note("b", "").unique(REPLACE).trace(trace)).await.as_deref(), Some(parent));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_postgres_cannot_hold_is_refused() {
    let house = House::new().await;
    let refused = house.queue.enqueue_many(&[note("a\0b", "")]).await.unwrap_err();
    assert!(matches!(refused, EnqueueError::Nul { .. }), "{refused}");
}

#[test]
fn outcomes_have_the_names_that_are_documented() {
    let names: Vec<Value> = [
        Outcome::Created,
        Outcome::Kept,
        Outcome::Replaced,
        Outcome::Debounced,
        Outcome::Running,
        Outcome::Over,
    ]
    .into_iter()
    .map(|outcome| json!(outcome))
    .collect();
    assert_eq!(names, ["created", "kept", "replaced", "debounced", "running", "over"]);
}
