//! A checkpoint: what comes after a failure goes on where the last attempt stood.

use std::sync::Arc;
use std::time::Duration;

use greenroom_queue::testing::drain;
use greenroom_queue::{Context, Done, Job, Jobs, Policy, Queue, Stop};
use greenroom_testkit::Database;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Outcome;
use crate::stage::{Notes, row};

#[derive(Serialize, Deserialize)]
struct Copy {
    pages: u32,
}

impl Job for Copy {
    const KIND: &'static str = "example.copy";
    const POLICY: Policy = Policy::on("copies");
    type State = Notes;
    type Report = u32;

    async fn run(self, notes: &Notes, ctx: &Context) -> Result<Done<u32>, Stop> {
        let done: u32 = ctx.checkpoint()?.unwrap_or_default();
        notes.say(format!("attempt {} begins after page {done}", ctx.attempt()));
        for page in done + 1..=self.pages {
            // Between two pages: has somebody cancelled it, or does the worker stop?
            ctx.check()?;
            if page == 4 && ctx.attempt() == 1 {
                return Err(Stop::retry("the light went out"));
            }
            // The page's rows would be written in the same transaction: both are kept, or neither.
            let mut tx = ctx.queue().pool().begin().await?;
            ctx.save_checkpoint_and_progress(&mut tx, &page, &json!({"page": page, "of": self.pages}))
                .await?;
            tx.commit().await?;
            notes.say(format!("  page {page}"));
        }
        Ok(self.pages.into())
    }
}

pub(crate) async fn run(db: &Database, notes: &Arc<Notes>) -> Outcome {
    let queue = Queue::new(db.pool().clone());
    let jobs = Jobs::new().with::<Copy>(Some(notes));
    let job = queue.enqueue(&Copy { pages: 5 }).await?;
    drain(&queue, &jobs).await?;
    let progress = row(db.pool(), job.id).await?.progress.unwrap_or_default();
    notes.say(format!("whoever watches sees {progress}"));
    db.advance(Duration::from_mins(1)).await;
    drain(&queue, &jobs).await?;
    Ok(())
}
