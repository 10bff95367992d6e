//! How a job ended.

use super::{Reason, instant};
use crate::control::JobRow;

pub(super) fn reason(job: &JobRow) -> Reason {
    let error = job.error_message.as_deref().unwrap_or("no reason was kept");
    let at = job.completed_at.map(instant).unwrap_or_default();
    let again = format!("greenroom jobs retry {}", job.id);
    match job.failure.as_deref() {
        None => Reason::new("completed", format!("it was done at {at}")),
        Some("exhausted") => {
            let text = format!("it failed {} times and was given up at {at}: {error}", job.attempt);
            Reason::new("exhausted", text).command(again)
        }
        Some("cancelled") => {
            Reason::new("cancelled", format!("an operator cancelled it at {at}")).command(again)
        }
        // Its worker may die of it once more: to run it again takes more thought than a command.
        Some("quarantined") => {
            Reason::new("quarantined", format!("at {at} it was {error}; look into it before you retry it"))
        }
        Some(_) => {
            let text = format!("its handler ended it for good at {at}: {error}");
            Reason::new("discarded", text).command(again)
        }
    }
}
