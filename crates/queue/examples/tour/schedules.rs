//! A schedule stands in the policy. Each tick is enqueued once, by however many schedulers.

use std::sync::Arc;
use std::time::Duration;

use greenroom_queue::testing::{drain, enqueued};
use greenroom_queue::{CatchUp, Context, Done, Job, Jobs, Policy, Queue, Scheduler, Stop, schedules};
use greenroom_testkit::Database;
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::stage::Notes;

/// The scheduler makes it from `{}`.
#[derive(Serialize, Deserialize)]
struct CloseTheDay {}

impl Job for CloseTheDay {
    const KIND: &'static str = "example.close_the_day";
    const POLICY: Policy =
        Policy::on("books").cron("0 6 * * *").timezone("Europe/Berlin").catch_up(CatchUp::Latest);
    type State = Notes;
    type Report = ();

    async fn run(self, notes: &Notes, _: &Context) -> Result<Done<()>, Stop> {
        notes.say("  the day is closed");
        Ok(().into())
    }
}

pub(crate) async fn run(db: &Database, notes: &Arc<Notes>) -> Outcome {
    let queue = Queue::new(db.pool().clone());
    let jobs = Jobs::new().with::<CloseTheDay>(Some(notes));
    // In a program `Scheduler::run` does this every second; here the ticks are made by hand.
    let one = Scheduler::new(queue.clone(), jobs.clone());
    let other = Scheduler::new(queue.clone(), jobs.clone());
    one.declare().await?;
    one.tick().await?;
    for schedule in schedules::list(&mut *db.pool().acquire().await?, None).await? {
        notes.say(format!("{} at {:?}, {}", schedule.name, schedule.cron, schedule.timezone));
    }

    for days in [1, 3] {
        db.advance(Duration::from_hours(24 * days + 1)).await;
        let (first, second) = tokio::join!(one.tick(), other.tick());
        let waiting = enqueued::<CloseTheDay>(db.pool()).await?.len();
        notes.say(format!(
            "{days} days on, two schedulers made {} tick, and {waiting} job waits",
            first? + second?
        ));
        drain(&queue, &jobs).await?;
    }
    Ok(())
}
