//! A handler ends in one of four ways: done, retry, snooze, cancel.

use std::sync::Arc;
use std::time::Duration;

use greenroom_queue::testing::drain;
use greenroom_queue::{Class, Context, Done, Job, JobError, Jobs, Policy, Queue, Stop, attempts};
use greenroom_testkit::Database;
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::stage::{Notes, row};

/// What a printer may answer; what that means for a job is decided here, once.
#[derive(Debug, thiserror::Error)]
enum PrinterError {
    #[error("the paper is jammed")]
    Jammed,
    #[error("it cannot print colours")]
    NoColours,
}

impl JobError for PrinterError {
    fn class(&self) -> Class {
        match self {
            Self::Jammed => Class::Retry,
            Self::NoColours => Class::Cancel,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Print {
    page: String,
}

impl Job for Print {
    const KIND: &'static str = "example.print";
    const POLICY: Policy = Policy::on("printer").max_attempts(3);
    type State = Notes;
    type Report = ();

    async fn run(self, notes: &Notes, ctx: &Context) -> Result<Done<()>, Stop> {
        notes.say(format!("print {:?}, attempt {}", self.page, ctx.attempt()));
        match (self.page.as_str(), ctx.attempt()) {
            ("colour", _) => Err(PrinterError::NoColours)?,
            ("letter", 1) => Err(PrinterError::Jammed)?,
            // An hour's pause, which costs no attempt. The clock is the database's.
            ("letter", 2) if ctx.checkpoint::<bool>()?.is_none() => {
                ctx.save_checkpoint(&mut *ctx.queue().pool().acquire().await?, &true).await?;
                let later = ctx.now().await? + chrono::TimeDelta::hours(1);
                Err(Stop::snooze_until(later, "the printer warms up"))
            }
            _ => Ok(().into()),
        }
    }
}

pub(crate) async fn run(db: &Database, notes: &Arc<Notes>) -> Outcome {
    let queue = Queue::new(db.pool().clone());
    let jobs = Jobs::new().with::<Print>(Some(notes));
    for page in ["letter", "colour"] {
        let job = queue.enqueue(&Print { page: page.to_owned() }).await?;
        for _ in 0..3 {
            drain(&queue, &jobs).await?;
            // Longer than the wait after a failure, and than the snooze.
            db.advance(Duration::from_hours(2)).await;
        }
        for attempt in attempts(&mut *db.pool().acquire().await?, job.id).await? {
            notes.say(format!("  {}: {}", attempt.outcome, attempt.error.unwrap_or_default()));
        }
        let row = row(db.pool(), job.id).await?;
        notes.say(format!("{page} is {} {}", row.status, row.failure.unwrap_or_default()).trim_end());
    }
    Ok(())
}
