//! Pauses hold up a queue, a kind, a lane or a pool, and lose nothing.

use std::sync::Arc;

use greenroom_queue::testing::drain;
use greenroom_queue::{Context, Done, Job, Jobs, NewJob, Pausable, Policy, Queue, Stop, enqueue, set_paused};
use greenroom_testkit::Database;
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::stage::Notes;

#[derive(Serialize, Deserialize)]
struct Letter {}

#[derive(Serialize, Deserialize)]
struct Parcel {}

impl Job for Letter {
    const KIND: &'static str = "example.letter";
    const POLICY: Policy = Policy::on("post");
    type State = Notes;
    type Report = ();

    async fn run(self, notes: &Notes, _: &Context) -> Result<Done<()>, Stop> {
        notes.say("  a letter goes");
        Ok(().into())
    }
}

impl Job for Parcel {
    const KIND: &'static str = "example.parcel";
    const POLICY: Policy = Policy::on("post");
    type State = Notes;
    type Report = ();

    async fn run(self, notes: &Notes, _: &Context) -> Result<Done<()>, Stop> {
        notes.say("  a parcel goes");
        Ok(().into())
    }
}

pub(crate) async fn run(db: &Database, notes: &Arc<Notes>) -> Outcome {
    let queue = Queue::new(db.pool().clone());
    let jobs = Jobs::new().with::<Letter>(Some(notes)).with::<Parcel>(Some(notes));
    jobs.register(db.pool()).await?;
    let (post, parcels) = (Pausable::Queue("post".to_owned()), Pausable::Kind(Parcel::KIND.to_owned()));
    let turn = async |what: &Pausable, paused: bool| -> Outcome {
        set_paused(&mut *db.pool().acquire().await?, what, paused).await?;
        notes.say(format!("{what} {}:", if paused { "is paused" } else { "is resumed" }));
        let runs = drain(&queue, &jobs).await?;
        notes.say(format!("  {runs} ran"));
        Ok(())
    };

    let two = [NewJob::of(&Letter {})?, NewJob::of(&Parcel {})?];
    enqueue(&mut *db.pool().acquire().await?, &two).await?;
    turn(&post, true).await?;
    set_paused(&mut *db.pool().acquire().await?, &parcels, true).await?;
    turn(&post, false).await?;
    turn(&parcels, false).await
}
