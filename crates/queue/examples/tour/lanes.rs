//! Lanes: jobs of one account run one at a time, and no account waits for the backlog of another.

use std::sync::Arc;

use greenroom_queue::testing::drain;
use greenroom_queue::{Context, Done, Job, Jobs, NewJob, Policy, Queue, Stop, enqueue, set_lane};
use greenroom_testkit::Database;
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::stage::Notes;

#[derive(Serialize, Deserialize)]
struct Import {
    account: String,
    file: u32,
}

impl Job for Import {
    const KIND: &'static str = "example.import";
    /// Jobs whose payloads agree in `account` share a lane, which runs one of them at a time.
    const POLICY: Policy = Policy::on("imports").lane("account", 1);
    type State = Notes;
    type Report = ();

    async fn run(self, notes: &Notes, _: &Context) -> Result<Done<()>, Stop> {
        notes.say(format!("{} {}", self.account, self.file));
        Ok(().into())
    }
}

/// Enqueues six files of a big account, and then two of a small one.
async fn fill(queue: &Queue) -> Outcome {
    let files = (1..=6).map(|file| ("big", file)).chain((1..=2).map(|file| ("small", file)));
    let jobs: Vec<NewJob> = files
        .map(|(account, file)| NewJob::of(&Import { account: account.to_owned(), file }))
        .collect::<Result<_, _>>()?;
    enqueue(&mut *queue.pool().acquire().await?, &jobs).await?;
    Ok(())
}

pub(crate) async fn run(db: &Database, notes: &Arc<Notes>) -> Outcome {
    let queue = Queue::new(db.pool().clone());
    let jobs = Jobs::new().with::<Import>(Some(notes));

    notes.say("Six files of big came first, and small still takes its turns:");
    fill(&queue).await?;
    drain(&queue, &jobs).await?;

    notes.say("With twice the weight, big has two turns to one of small:");
    set_lane(&mut *db.pool().acquire().await?, ("imports", "", "account:big"), None, Some(2.0)).await?;
    fill(&queue).await?;
    drain(&queue, &jobs).await?;
    Ok(())
}
