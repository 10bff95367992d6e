//! A unique key: one job for many asks, in four ways.

use std::sync::Arc;
use std::time::Duration;

use greenroom_queue::testing::drain;
use greenroom_queue::{Context, Done, Job, Jobs, NewJob, Policy, Queue, Stop, Unique};
use greenroom_testkit::Database;
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::stage::Notes;

const WAIT: Duration = Duration::from_mins(1);

#[derive(Serialize, Deserialize)]
struct Reindex {
    document: String,
    version: u32,
}

impl Job for Reindex {
    const KIND: &'static str = "example.reindex";
    const POLICY: Policy = Policy::on("search");
    type State = Notes;
    type Report = ();

    fn key(&self) -> Option<String> {
        Some(self.document.clone())
    }

    async fn run(self, notes: &Notes, _: &Context) -> Result<Done<()>, Stop> {
        notes.say(format!("  version {} runs", self.version));
        Ok(().into())
    }
}

pub(crate) async fn run(db: &Database, notes: &Arc<Notes>) -> Outcome {
    let queue = Queue::new(db.pool().clone());
    let jobs = Jobs::new().with::<Reindex>(Some(notes));
    // A policy says which; so may a job, as here.
    let modes = [
        ("ignore", Unique::WHILE_OPEN),
        ("replace", Unique::WHILE_OPEN.replace()),
        ("debounce", Unique::WHILE_OPEN.debounce(WAIT, WAIT * 5)),
        ("hourly", Unique::for_period(Duration::from_hours(1))),
    ];
    for (document, unique) in modes {
        notes.say(document);
        for version in 1..=3 {
            let job = NewJob::of(&Reindex { document: document.to_owned(), version })?.unique(unique);
            let outcome = queue.enqueue_many(&[job]).await?.remove(0).outcome;
            notes.say(format!("  version {version}: {outcome:?}"));
            if version == 2 {
                drain(&queue, &jobs).await?;
            }
        }
        db.advance(WAIT).await;
        drain(&queue, &jobs).await?;
    }
    Ok(())
}
