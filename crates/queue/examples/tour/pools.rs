//! A pool: an outside budget that jobs share, spent call by call.

use std::sync::Arc;
use std::time::Duration;

use greenroom_queue::testing::{by_status, drain};
use greenroom_queue::{Context, Done, Job, Jobs, NewJob, Policy, Pool, Queue, Stop, pools};
use greenroom_testkit::Database;
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::stage::Notes;

/// Two jobs at once over all workers, and five units a day.
const MAPS: Pool = Pool::named("maps").cap(2).budget(5, "0 0 * * *", "UTC");

#[derive(Serialize, Deserialize)]
struct FindAddress {}

impl Job for FindAddress {
    const KIND: &'static str = "example.find_address";
    const POLICY: Policy = Policy::on("addresses").pool(MAPS.name);
    type State = Notes;
    type Report = ();

    async fn run(self, notes: &Notes, ctx: &Context) -> Result<Done<()>, Stop> {
        // Where no units are left the handler ends here, snoozed until there are some.
        ctx.spend(2).await?;
        notes.say("an address was found for 2 units");
        Ok(().into())
    }
}

pub(crate) async fn run(db: &Database, notes: &Arc<Notes>) -> Outcome {
    let queue = Queue::new(db.pool().clone());
    let jobs = Jobs::new().with::<FindAddress>(Some(notes)).pool(MAPS);
    let three: Vec<NewJob> = (0..3).map(|_| NewJob::of(&FindAddress {})).collect::<Result<_, _>>()?;
    queue.enqueue_many(&three).await?;

    for day in ["today", "tomorrow"] {
        drain(&queue, &jobs).await?;
        for pool in pools(&mut *db.pool().acquire().await?).await? {
            let budget = pool.budget.unwrap_or_default();
            notes.say(format!("{day} {} of {budget} units of {} are spent", pool.granted, pool.name));
        }
        notes.say(format!("{:?}", by_status(db.pool()).await?));
        db.advance(Duration::from_hours(24)).await;
    }
    Ok(())
}
