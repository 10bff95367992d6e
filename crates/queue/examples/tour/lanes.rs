//! Lanes: jobs of one account run one at a time, and no account waits for the backlog of another.

use std::sync::{Arc, Mutex, PoisonError};

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
    type State = Turns;
    type Report = ();

    async fn run(self, turns: &Turns, _: &Context) -> Result<Done<()>, Stop> {
        turns.0.lock().unwrap_or_else(PoisonError::into_inner).push(self.account);
        Ok(().into())
    }
}

/// Whose files were imported, in their order.
#[derive(Default)]
struct Turns(Mutex<Vec<String>>);

impl Turns {
    /// Says whose the first so many were, and begins anew.
    fn first(&self, n: usize) -> String {
        let turns = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let small = turns.iter().take(n).filter(|account| *account == "small").count();
        format!("of {} files the first {n}: {} of big, {small} of small", turns.len(), n - small)
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
    let turns = Arc::new(Turns::default());
    let jobs = Jobs::new().with::<Import>(Some(&turns));

    // All files of big came first, and small still has every second turn.
    fill(&queue).await?;
    drain(&queue, &jobs).await?;
    notes.say(turns.first(4));

    // With twice the weight, big has two turns to one of small.
    set_lane(&mut *db.pool().acquire().await?, ("imports", "", "account:big"), None, Some(2.0)).await?;
    fill(&queue).await?;
    drain(&queue, &jobs).await?;
    notes.say(turns.first(6));
    Ok(())
}
