//! A job from anything that speaks SQL: one column will do, and the kind's policy gives the rest.

use std::sync::Arc;

use greenroom_queue::testing::drain;
use greenroom_queue::{Context, Done, Job, Jobs, Policy, Queue, Stop};
use greenroom_testkit::Database;
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::stage::Notes;

#[derive(Serialize, Deserialize)]
struct Ring {
    bell: String,
}

impl Job for Ring {
    const KIND: &'static str = "example.ring";
    const POLICY: Policy = Policy::on("bells").priority(2).max_attempts(4).lane("bell", 1);
    type State = Notes;
    type Report = ();

    async fn run(self, notes: &Notes, _: &Context) -> Result<Done<()>, Stop> {
        notes.say(format!("{} rings", self.bell));
        Ok(().into())
    }
}

pub(crate) async fn run(db: &Database, notes: &Arc<Notes>) -> Outcome {
    let queue = Queue::new(db.pool().clone());
    let jobs = Jobs::new().with::<Ring>(Some(notes));
    // Workers and schedulers do this when they start.
    jobs.register(db.pool()).await?;
    let (queue_name, priority, max_attempts): (String, i16, i16) = sqlx::query_as(
        r#"insert into background_jobs (job_type, payload) values ('example.ring', '{"bell": "the church"}')
           returning queue, priority, max_attempts"#,
    )
    .fetch_one(db.pool())
    .await?;
    notes.say(format!("queue {queue_name}, priority {priority}, {max_attempts} attempts"));
    // A worker finds it by looking, within its poll interval and a sweep.
    drain(&queue, &jobs).await?;
    Ok(())
}
