//! What became of a job, in the log and in the metrics: told once, where it is decided.

use tracing::{debug, error, info, warn};

use crate::claim::Claimed;
use crate::settle::Verdict;

/// Logs and counts what became of a job, once.
pub(crate) fn tell(job: &Claimed, verdict: &Verdict) {
    let (id, kind, attempt) = (job.id, job.kind.as_str(), job.attempt);
    let outcome = match verdict {
        Verdict::Completed(_) | Verdict::Forgotten | Verdict::CompletedInTransaction => {
            debug!(job.id = %id, job.kind = kind, job.attempt = attempt, "Completed the job");
            "ok"
        }
        Verdict::Retry { error, .. } if attempt >= job.max_attempts => {
            error!(job.id = %id, job.kind = kind, job.attempt = attempt, error, "Gave the job up after its last attempt");
            "dead"
        }
        Verdict::Retry { error, after } => {
            let secs = after.as_secs();
            warn!(job.id = %id, job.kind = kind, job.attempt = attempt, error, "The job failed; trying again in {secs} s");
            "retry"
        }
        Verdict::Tripped { error, .. } => {
            warn!(job.id = %id, job.kind = kind, error, "The outside did not serve");
            "tripped"
        }
        Verdict::Snoozed { until, reason } => {
            info!(job.id = %id, job.kind = kind, reason, "The job waits until {until}");
            "snoozed"
        }
        Verdict::Released { reason, .. } => {
            info!(job.id = %id, job.kind = kind, reason, "Gave the job back");
            "released"
        }
        Verdict::Discarded { reason } => {
            error!(job.id = %id, job.kind = kind, job.attempt = attempt, error = reason, "The job ended for good");
            "dead"
        }
        Verdict::Cancelled => {
            info!(job.id = %id, job.kind = kind, "The job was cancelled");
            "cancelled"
        }
        Verdict::Lost => {
            warn!(job.id = %id, job.kind = kind, "The lease was lost; nothing of this attempt is kept");
            "lost"
        }
    };
    metrics::counter!("greenroom_jobs_finished_total",
        "queue" => job.queue.clone(), "job_type" => job.kind.clone(), "outcome" => outcome)
    .increment(1);
}
