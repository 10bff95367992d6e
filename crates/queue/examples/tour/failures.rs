//! Failures: what failed alike is one group, which is put back at a pace.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use greenroom_queue::testing::{by_status, drain};
use greenroom_queue::{
    Context, Done, Job, Jobs, NewJob, Pace, Policy, Queue, Stop, enqueue, failures, plan_redrive, redrive,
};
use greenroom_testkit::Database;
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::stage::Notes;

/// A disk that is full, until somebody tidies up.
struct Disk {
    full: AtomicBool,
}

#[derive(Serialize, Deserialize)]
struct Store {
    file: u32,
}

impl Job for Store {
    const KIND: &'static str = "example.store";
    const POLICY: Policy = Policy::on("files").max_attempts(1);
    type State = Disk;
    type Report = ();

    async fn run(self, disk: &Disk, _: &Context) -> Result<Done<()>, Stop> {
        if disk.full.load(Ordering::SeqCst) {
            return Err(Stop::retry(format!("no space for file {}", self.file)));
        }
        Ok(().into())
    }
}

pub(crate) async fn run(db: &Database, notes: &Arc<Notes>) -> Outcome {
    let (pool, queue) = (db.pool(), Queue::new(db.pool().clone()));
    let disk = Arc::new(Disk { full: AtomicBool::new(true) });
    let jobs = Jobs::new().with::<Store>(Some(&disk));
    let new: Vec<NewJob> = (1..=6).map(|file| NewJob::of(&Store { file })).collect::<Result<_, _>>()?;
    enqueue(&mut *pool.acquire().await?, &new).await?;
    drain(&queue, &jobs).await?;

    let group = failures(&mut *pool.acquire().await?, None, None, 10).await?.remove(0);
    let failure = group.failure.unwrap_or_default();
    notes.say(format!("{} jobs of {} failed alike ({failure})", group.jobs, group.kind));

    disk.full.store(false, Ordering::SeqCst);
    let pace = Pace::PerMinute(NonZeroU32::new(2).ok_or("a pace is at least one")?);
    let plan = plan_redrive(pool, group.fingerprint, pace).await?;
    let minutes = (plan.until - db.clock().now()).as_seconds_f64() / 60.0;
    notes.say(format!("put back two a minute, {} jobs take {minutes:.1} minutes", plan.jobs));
    redrive(pool, group.fingerprint, pace, |_| {}).await?;
    for minute in 0..3 {
        drain(&queue, &jobs).await?;
        notes.say(format!("after {minute} min: {:?}", by_status(pool).await?));
        db.advance(Duration::from_mins(1)).await;
    }
    Ok(())
}
