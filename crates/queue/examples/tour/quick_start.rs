//! A job in one place, an enqueue, and a worker that runs it.

use std::sync::Arc;

use greenroom_queue::{Context, Done, Job, Jobs, Policy, Queue, Settings, Stop, Worker};
use greenroom_testkit::Database;
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::stage::{AtWork, Notes, until};

/// The payload is the struct itself; it is stored as JSON.
#[derive(Serialize, Deserialize)]
struct Greet {
    name: String,
}

/// What a finished job tells.
#[derive(Serialize)]
struct Greeted {
    letters: usize,
}

impl Job for Greet {
    const KIND: &'static str = "example.greet";
    const POLICY: Policy = Policy::on("greetings");
    type State = Notes;
    type Report = Greeted;

    async fn run(self, notes: &Notes, ctx: &Context) -> Result<Done<Greeted>, Stop> {
        notes.say(format!("hello, {} (attempt {})", self.name, ctx.attempt()));
        Ok(Greeted { letters: self.name.len() }.into())
    }
}

pub(crate) async fn run(db: &Database, notes: &Arc<Notes>) -> Outcome {
    let queue = Queue::new(db.pool().clone());
    let jobs = Jobs::new().with::<Greet>(Some(notes));
    let worker = Worker::new(queue.clone(), jobs, Settings::default()).serve("greetings", 4);
    let worker = AtWork::start(worker);

    let job = queue.enqueue(&Greet { name: "Ada".to_owned() }).await?;
    let row = until(&queue, job.id, "completed").await?;
    notes.say(format!("{} is {}: {}", row.kind, row.status, row.result.unwrap_or_default()));
    worker.stop().await
}
