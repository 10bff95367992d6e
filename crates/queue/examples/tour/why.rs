//! Why: which holds are on a job, who has what it waits for, and when it goes on.

use std::sync::Arc;

use greenroom_queue::{
    Context, Done, Job, JobId, Jobs, NewJob, Pausable, Policy, Queue, Settings, Stop, Worker, set_paused, why,
};
use greenroom_testkit::Database;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::Outcome;
use crate::stage::{AtWork, Notes, until};

#[derive(Serialize, Deserialize)]
struct Bake {
    oven: String,
}

impl Job for Bake {
    const KIND: &'static str = "example.bake";
    const POLICY: Policy = Policy::on("bakery").lane("oven", 1);
    type State = Semaphore;
    type Report = ();

    /// Bakes until somebody takes it out.
    async fn run(self, taken_out: &Semaphore, _: &Context) -> Result<Done<()>, Stop> {
        taken_out.acquire().await.map_err(|_| Stop::interrupted())?.forget();
        Ok(().into())
    }
}

pub(crate) async fn run(db: &Database, notes: &Arc<Notes>) -> Outcome {
    let queue = Queue::new(db.pool().clone());
    let taken_out = Arc::new(Semaphore::new(0));
    let bake = || Bake { oven: "the big one".to_owned() };
    let ask = async |job: JobId| -> Result<Vec<JobId>, Box<dyn std::error::Error>> {
        let why = why(&mut *db.pool().acquire().await?, job).await?;
        for reason in &why.reasons {
            notes.say(format!("  {}: {}", reason.code, reason.text));
        }
        Ok(why.reasons.into_iter().flat_map(|reason| reason.holders).collect())
    };

    notes.say("before any worker has started:");
    let first = queue.enqueue(&bake()).await?.id;
    queue.flush().await;
    ask(first).await?;

    let jobs = Jobs::new().with::<Bake>(Some(&taken_out));
    let worker = AtWork::start(Worker::new(queue.clone(), jobs, Settings::default()).serve("bakery", 8));
    until(&queue, first, "running").await?;
    let second = queue.enqueue(&bake()).await?.id;
    queue.flush().await;
    notes.say("while another bakes:");
    let holders = ask(second).await?;
    notes.say(format!("  held by the first: {}", holders == [first]));

    set_paused(&mut *db.pool().acquire().await?, &Pausable::Queue("bakery".to_owned()), true).await?;
    notes.say("with its queue paused too:");
    ask(second).await?;

    let evening = db.clock().now() + chrono::TimeDelta::hours(8);
    let third =
        queue.enqueue_many(&[NewJob::of(&Bake { oven: "the small one".to_owned() })?.at(evening)]).await?;
    notes.say("enqueued for the evening:");
    ask(third[0].id).await?;

    taken_out.add_permits(1);
    worker.stop().await
}
