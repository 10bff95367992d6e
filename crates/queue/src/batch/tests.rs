//! Batches that end well, badly, late, twice and not at all.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use greenroom_model::JobId;
use greenroom_testkit::Database;
use serde::{Deserialize, Serialize};

use super::{Batch, BatchCounts, HeldCursor, release};
use crate::testing::drain;
use crate::{
    Cancelled, Context, Done, EnqueueError, Job, Jobs, NewJob, Outcome, Policy, Queue, Settings, Stop,
    Unique, cancel, enqueue, retry, sweep,
};

/// One of many.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Part {
    name: String,
    /// What it adds to its own batch while it runs.
    #[serde(default)]
    adds: Option<(Batch, u8)>,
    #[serde(default)]
    fails: bool,
}

/// What comes after them.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Whole {
    name: String,
    #[serde(default)]
    fails: bool,
}

/// What ran, in order, and the counts that a `Whole` saw.
#[derive(Default)]
struct Seen(Mutex<Vec<(String, Option<BatchCounts>)>>);

impl Seen {
    fn note(&self, name: String, counts: Option<BatchCounts>) {
        self.0.lock().unwrap().push((name, counts));
    }

    fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(name, _)| name.clone()).collect()
    }
}

impl Job for Part {
    const KIND: &'static str = "part";
    const POLICY: Policy = Policy::on("parts");
    type State = Seen;
    type Report = ();

    async fn run(self, seen: &Seen, ctx: &Context) -> Result<Done<()>, Stop> {
        seen.note(self.name.clone(), None);
        if self.fails {
            return Err(Stop::cancel("it broke"));
        }
        let mut tx = ctx.queue().pool().begin().await?;
        if let Some((batch, n)) = self.adds {
            let more: Vec<NewJob> =
                (0..n).map(|k| part(&format!("{}.{k}", self.name)).in_batch(batch)).collect();
            enqueue(&mut tx, &more).await?;
        }
        let done = ctx.complete(&mut tx, ()).await?;
        tx.commit().await?;
        Ok(done)
    }
}

impl Job for Whole {
    const KIND: &'static str = "whole";
    const POLICY: Policy = Policy::on("wholes");
    type State = Seen;
    type Report = ();

    fn key(&self) -> Option<String> {
        Some(self.name.clone())
    }

    async fn run(self, seen: &Seen, ctx: &Context) -> Result<Done<()>, Stop> {
        seen.note(self.name, ctx.batch().await?);
        if self.fails { Err(Stop::cancel("it broke")) } else { Ok(().into()) }
    }
}

fn part(name: &str) -> NewJob {
    NewJob::of(&Part { name: name.to_owned(), adds: None, fails: false }).unwrap()
}

fn whole(name: &str) -> NewJob {
    NewJob::of(&Whole { name: name.to_owned(), fails: false }).unwrap()
}

struct House {
    db: Database,
    queue: Queue,
    seen: Arc<Seen>,
}

impl House {
    async fn new() -> Self {
        let db = Database::new().await;
        let queue = Queue::new(db.pool().clone());
        let house = Self { db, queue, seen: Arc::default() };
        house.jobs().register(house.db.pool()).await.unwrap();
        house
    }

    fn jobs(&self) -> Jobs {
        Jobs::new().with::<Part>(Some(&self.seen)).with::<Whole>(Some(&self.seen))
    }

    async fn add(&self, jobs: &[NewJob]) -> Vec<JobId> {
        self.queue.enqueue_many(jobs).await.unwrap().into_iter().map(|job| job.id).collect()
    }

    async fn drain(&self) -> Vec<String> {
        drain(&self.queue, &self.jobs()).await.unwrap();
        self.seen.names()
    }

    async fn release(&self) -> u64 {
        sweep(self.db.pool(), &Settings::default()).await.unwrap().released
    }

    async fn held(&self, job: JobId) -> (String, Option<String>, Option<i64>) {
        sqlx::query_as("select status, held, rank from background_jobs where id = $1")
            .bind(job.0)
            .fetch_one(self.db.pool())
            .await
            .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_runs_after_its_batch_and_sees_how_that_ended() {
    let house = House::new().await;
    let batch = Batch::new();
    let broken = NewJob::of(&Part { name: "broken".into(), adds: None, fails: true }).unwrap();
    let late = part("late").at(house.db.clock().now() + Duration::from_hours(1));
    // The callback goes first in the call: what counts is the commit.
    let ids = house
        .add(&[
            whole("end").after(batch),
            part("a").in_batch(batch),
            broken.in_batch(batch),
            late.in_batch(batch),
        ])
        .await;
    assert_eq!(house.drain().await.len(), 2);
    assert_eq!(house.held(ids[0]).await, ("pending".into(), Some("batch".into()), None));

    assert_eq!(cancel(house.db.pool(), ids[3]).await.unwrap(), Cancelled::AtOnce);
    assert_eq!(house.drain().await[2..], ["end"]);
    let counts = house.seen.0.lock().unwrap()[2].1.clone().unwrap();
    let failed = [("cancelled".to_owned(), 1), ("discarded".to_owned(), 1)].into();
    assert_eq!(counts, BatchCounts { open: 0, completed: 1, failed });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_a_batch_may_add_to_it_while_it_runs() {
    let house = House::new().await;
    let batch = Batch::new();
    let first = Part { name: "first".into(), adds: Some((batch, 3)), fails: false };
    house.add(&[NewJob::of(&first).unwrap().in_batch(batch), whole("end").after(batch)]).await;
    let ran = house.drain().await;
    assert_eq!((ran.len(), ran.last().map(String::as_str)), (5, Some("end")));
    let counts = house.seen.0.lock().unwrap()[4].1.clone().unwrap();
    assert_eq!((counts.open, counts.completed), (0, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_can_wait_for_one_another_in_a_chain() {
    let house = House::new().await;
    let (first, second) = (Batch::new(), Batch::new());
    // A job that waits for one other: a batch of one. The one in the middle is of the second batch.
    house
        .add(&[
            whole("third").after(second),
            whole("second").after(first).in_batch(second),
            part("first").in_batch(first),
        ])
        .await;
    assert_eq!(house.drain().await, ["first", "second", "third"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_not_over_before_its_jobs_are_seen() {
    let house = House::new().await;
    let batch = Batch::new();
    let mut tx = house.db.pool().begin().await.unwrap();
    let callback = enqueue(&mut tx, &[whole("end").after(batch)]).await.unwrap()[0].id;
    assert_eq!(house.release().await, 0, "nobody sees the callback yet");
    enqueue(&mut tx, &[part("a").in_batch(batch)]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(house.release().await, 0);
    assert_eq!(house.held(callback).await.1.as_deref(), Some("batch"));
    assert_eq!(house.drain().await, ["a", "end"]);

    // Filled, and even over, before anybody waits for it.
    let batch = Batch::new();
    house.add(&[part("b").in_batch(batch)]).await;
    house.drain().await;
    house.add(&[whole("late end").after(batch)]).await;
    assert_eq!(house.drain().await[3], "late end");
    // One without jobs is over.
    house.add(&[whole("of nothing").after(Batch::new())]).await;
    assert_eq!(house.drain().await[4], "of nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_job_can_be_cancelled_and_a_retried_one_is_not_held_again() {
    let house = House::new().await;
    let batch = Batch::new();
    let open = part("a").in_batch(batch).at(house.db.clock().now() + Duration::from_hours(1));
    let ids = house.add(&[open, whole("end").after(batch)]).await;
    assert_eq!(cancel(house.db.pool(), ids[1]).await.unwrap(), Cancelled::AtOnce);
    assert_eq!(house.release().await, 0);
    assert!(house.drain().await.is_empty());
    // The operator wants it now, whatever it waited for.
    retry(house.db.pool(), ids[1]).await.unwrap();
    assert_eq!(house.drain().await, ["end"]);
    assert_eq!(house.seen.0.lock().unwrap()[0].1.as_ref().unwrap().open, 1);

    let broken = NewJob::of(&Whole { name: "broken".into(), fails: true }).unwrap();
    let broken = house.add(&[broken.after(Batch::new())]).await[0];
    assert_eq!(house.drain().await, ["end", "broken"]);
    retry(house.db.pool(), broken).await.unwrap();
    assert_eq!(house.held(broken).await.1, None);
    assert_eq!(house.drain().await, ["end", "broken", "broken"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_job_goes_on_waiting_for_its_batch() {
    let house = House::new().await;
    let batch = Batch::new();
    let open = part("a").in_batch(batch).at(house.db.clock().now() + Duration::from_hours(1));
    let ids = house.add(&[open, whole("end").after(batch)]).await;
    for (unique, outcome) in [
        (Unique::WHILE_OPEN, Outcome::Kept),
        (Unique::WHILE_OPEN.replace(), Outcome::Replaced),
        (Unique::WHILE_OPEN.debounce(Duration::ZERO, Duration::ZERO), Outcome::Debounced),
    ] {
        let again = house.queue.enqueue_many(&[whole("end").unique(unique)]).await.unwrap().remove(0);
        assert_eq!((again.id, again.outcome), (ids[1], outcome));
        assert_eq!(house.held(ids[1]).await, ("pending".into(), Some("batch".into()), None));
    }
    house.db.advance(Duration::from_hours(1)).await;
    assert_eq!(house.drain().await, ["a", "end"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_with_a_time_waits_for_both() {
    let house = House::new().await;
    let at = house.db.clock().now() + Duration::from_hours(1);
    let id = house.add(&[whole("end").after(Batch::new()).at(at)]).await[0];
    assert!(house.drain().await.is_empty());
    assert_eq!(house.held(id).await, ("pending".into(), None, None));
    house.db.advance(Duration::from_hours(1)).await;
    assert_eq!(house.drain().await, ["end"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_for_its_own_batch_is_refused() {
    let house = House::new().await;
    let batch = Batch::new();
    let refused = house.queue.enqueue_many(&[whole("end").in_batch(batch).after(batch)]).await.unwrap_err();
    assert!(matches!(refused, EnqueueError::WaitsForItself { .. }), "{refused}");
}

/// A walk over all that is held comes to the one whose batch is over, a part of the walk a sweep.
#[tokio::test(flavor = "multi_thread")]
async fn many_held_jobs_are_looked_at_by_and_by() {
    let house = House::new().await;
    let open = Batch::new();
    house.add(&[part("a").in_batch(open).at(house.db.clock().now() + Duration::from_hours(9))]).await;
    sqlx::query(
        "insert into background_jobs (job_type, queue, lane, max_attempts, held, after_batch)
         select 'whole', 'wholes', 1, 1, 'batch', $1 from generate_series(1, 9000)",
    )
    .bind(open.0)
    .execute(house.db.pool())
    .await
    .unwrap();
    house.add(&[whole("end").after(Batch::new())]).await;
    let mut conn = house.db.pool().acquire().await.unwrap();
    let mut cursor = HeldCursor::default();
    let mut released = Vec::new();
    for _ in 0..4 {
        released.push(release(&mut conn, &mut cursor).await.unwrap().0);
    }
    assert_eq!(released, [0, 0, 1, 0], "the third look ends the walk, the fourth begins anew");
}
