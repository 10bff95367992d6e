//! A breaker: while an outside does not serve, its jobs wait and burn no attempt. Then one tries alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use greenroom_queue::testing::{by_status, drain};
use greenroom_queue::{Context, Done, Job, Jobs, NewJob, Policy, Queue, Scope, Stop, enqueue, pools};
use greenroom_testkit::Database;
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::stage::Notes;

/// A bank that says until when it is closed.
struct Bank {
    closed: AtomicBool,
    notes: Arc<Notes>,
}

#[derive(Serialize, Deserialize)]
struct Pay {}

impl Job for Pay {
    const KIND: &'static str = "example.pay";
    const POLICY: Policy = Policy::on("payments").pool("bank");
    type State = Bank;
    type Report = ();

    async fn run(self, bank: &Bank, ctx: &Context) -> Result<Done<()>, Stop> {
        bank.notes.say(format!("a payment begins, attempt {}", ctx.attempt()));
        if bank.closed.load(Ordering::SeqCst) {
            let until = ctx.now().await? + chrono::TimeDelta::hours(8);
            return Err(Stop::trip(Scope::Pool, Some(until), "the bank is closed"));
        }
        Ok(().into())
    }
}

pub(crate) async fn run(db: &Database, notes: &Arc<Notes>) -> Outcome {
    let bank = Arc::new(Bank { closed: AtomicBool::new(true), notes: Arc::clone(notes) });
    let (queue, jobs) = (Queue::new(db.pool().clone()), Jobs::new().with::<Pay>(Some(&bank)));
    let ask = async |when: &str| -> Outcome {
        drain(&queue, &jobs).await?;
        let pool = pools(&mut *db.pool().acquire().await?).await?.remove(0);
        let breaker = pool.open_reason.map_or("closed".to_owned(), |reason| format!("open, {reason}"));
        notes.say(format!("{when}: the breaker is {breaker}; {:?}", by_status(db.pool()).await?));
        Ok(())
    };

    queue.enqueue(&Pay {}).await?;
    ask("at first").await?;
    let two = [NewJob::of(&Pay {})?, NewJob::of(&Pay {})?];
    enqueue(&mut *db.pool().acquire().await?, &two).await?;
    ask("with two more").await?;

    bank.closed.store(false, Ordering::SeqCst);
    db.advance(Duration::from_hours(9)).await;
    ask("nine hours later").await
}
