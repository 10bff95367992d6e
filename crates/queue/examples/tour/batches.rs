//! A batch: a job that waits until others are over, however they ended.

use std::sync::Arc;

use greenroom_queue::testing::drain;
use greenroom_queue::{Batch, Context, Done, Job, Jobs, NewJob, Policy, Queue, Stop};
use greenroom_testkit::Database;
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::stage::Notes;

#[derive(Serialize, Deserialize)]
struct Resize {
    picture: u32,
}

impl Job for Resize {
    const KIND: &'static str = "example.resize";
    const POLICY: Policy = Policy::on("pictures");
    type State = Notes;
    type Report = ();

    async fn run(self, _: &Notes, _: &Context) -> Result<Done<()>, Stop> {
        if self.picture == 3 { Err(Stop::cancel("it is no picture")) } else { Ok(().into()) }
    }
}

#[derive(Serialize, Deserialize)]
struct Publish {}

impl Job for Publish {
    const KIND: &'static str = "example.publish";
    const POLICY: Policy = Policy::on("pictures");
    type State = Notes;
    type Report = ();

    async fn run(self, notes: &Notes, ctx: &Context) -> Result<Done<()>, Stop> {
        let resized = ctx.batch().await?.unwrap_or_default();
        notes.say(format!("publish: {} resized, not so {:?}", resized.completed, resized.failed));
        Ok(().into())
    }
}

pub(crate) async fn run(db: &Database, notes: &Arc<Notes>) -> Outcome {
    let queue = Queue::new(db.pool().clone());
    let jobs = Jobs::new().with::<Resize>(Some(notes)).with::<Publish>(Some(notes));
    let album = Batch::new();
    // The one that waits comes with, or after, the jobs that it waits for.
    let mut new = vec![NewJob::of(&Publish {})?.after(album)];
    for picture in 1..=4 {
        new.push(NewJob::of(&Resize { picture })?.in_batch(album));
    }
    queue.enqueue_many(&new).await?;

    let counts = album.counts(&mut *db.pool().acquire().await?).await?;
    notes.say(format!("{} pictures wait", counts.open));
    drain(&queue, &jobs).await?;
    Ok(())
}
