//! Cancelling: at once while a job waits, by asking its worker while it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use greenroom_queue::{Context, Done, Job, Jobs, Policy, Queue, Settings, Stop, Worker, cancel};
use greenroom_testkit::Database;
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::stage::{AtWork, Notes, until};

#[derive(Serialize, Deserialize)]
struct Watch {}

/// Whether the film was put away.
#[derive(Default)]
struct Player {
    put_away: AtomicBool,
}

impl Job for Watch {
    const KIND: &'static str = "example.watch";
    const POLICY: Policy = Policy::on("films");
    type State = Player;
    type Report = ();

    async fn run(self, player: &Player, ctx: &Context) -> Result<Done<()>, Stop> {
        // A handler that does not look is dropped after `cancel_grace_ms`.
        ctx.interrupted().await;
        player.put_away.store(true, Ordering::SeqCst);
        Err(Stop::interrupted())
    }
}

pub(crate) async fn run(db: &Database, notes: &Arc<Notes>) -> Outcome {
    let queue = Queue::new(db.pool().clone());
    let player = Arc::new(Player::default());
    let jobs = Jobs::new().with::<Watch>(Some(&player));
    let worker = Worker::new(queue.clone(), jobs, Settings::default()).serve("films", 1);
    let worker = AtWork::start(worker);

    let first = queue.enqueue(&Watch {}).await?;
    until(&queue, first.id, "running").await?;
    // There is one slot, so this one waits.
    let second = queue.enqueue(&Watch {}).await?;
    for (name, job) in [("the second", second.id), ("the first", first.id)] {
        notes.say(format!("cancel {name}: {:?}", cancel(db.pool(), job).await?));
        let row = until(&queue, job, "failed").await?;
        notes.say(format!("{name} is over: {}", row.failure.unwrap_or_default()));
    }
    notes.say(format!("its handler noticed: {}", player.put_away.load(Ordering::SeqCst)));
    worker.stop().await
}
