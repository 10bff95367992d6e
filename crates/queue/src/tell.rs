//! What becomes of jobs, in the log and in the metrics: told once, where it is decided.

use std::time::Duration;

use tracing::{Level, Span, debug, enabled, error, info, warn};

use crate::claim::Claimed;
use crate::settle::Verdict;
use crate::{Enqueued, trace};

/// Counts jobs whose transaction has committed; the open ones that were met instead are counted already.
pub(crate) fn enqueued(jobs: &[Enqueued]) {
    for job in jobs.iter().filter(|job| job.created()) {
        metrics::counter!("greenroom_jobs_enqueued_total", "queue" => job.queue, "job_type" => job.kind)
            .increment(1);
    }
}

/// Notes how long a job waited for this attempt.
pub(crate) fn started(job: &Claimed) {
    // Where the database's clock was set back in between, it has not waited less than not at all.
    let waited = job.waited_secs.max(0.0);
    metrics::histogram!("greenroom_job_wait_seconds", "queue" => job.queue.clone()).record(waited);
}

/// Notes how long an attempt ran; without a verdict its handler panicked.
pub(crate) fn ran(job: &Claimed, verdict: Option<&Verdict>, took: Duration) {
    let outcome = match verdict {
        Some(verdict) => outcome(job, verdict),
        None if job.attempt >= job.max_attempts => "dead",
        None => "retry",
    };
    metrics::histogram!("greenroom_job_duration_seconds",
        "queue" => job.queue.clone(), "job_type" => job.kind.clone(), "outcome" => outcome)
    .record(took);
}

/// Logs and counts what became of a job, once.
pub(crate) fn tell(job: &Claimed, verdict: &Verdict) {
    let outcome = outcome(job, verdict);
    metrics::counter!("greenroom_jobs_finished_total",
        "queue" => job.queue.clone(), "job_type" => job.kind.clone(), "outcome" => outcome)
    .increment(1);
    // Most jobs simply succeed, and then nothing is written and no span is made.
    if outcome != "ok" || enabled!(Level::DEBUG) {
        trace::mention(job).in_scope(|| log(job, verdict));
    }
}

fn outcome(job: &Claimed, verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Completed(_) | Verdict::Forgotten | Verdict::CompletedInTransaction => "ok",
        Verdict::Retry { .. } if job.attempt >= job.max_attempts => "dead",
        Verdict::Retry { .. } => "retry",
        Verdict::Tripped { .. } => "tripped",
        Verdict::Snoozed { .. } => "snoozed",
        Verdict::Released { .. } => "released",
        Verdict::Discarded { .. } => "dead",
        Verdict::Cancelled => "cancelled",
        Verdict::Lost | Verdict::Withdrawn => "lost",
    }
}

/// Writes into the span of an attempt how it ended.
pub(crate) fn ended(span: &Span, job: &Claimed, verdict: &Verdict) {
    span.record("outcome", outcome(job, verdict));
    if let Verdict::Retry { error, .. }
    | Verdict::Tripped { error, .. }
    | Verdict::Discarded { reason: error } = verdict
    {
        span.record("error", error);
    }
}

/// Writes into the span of an attempt that its handler panicked, if it is dropped for that.
pub(crate) struct PanicNoted<'a>(pub &'a Span);

impl Drop for PanicNoted<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.record("outcome", "panicked");
            self.0.record("error", "the handler panicked");
        }
    }
}

fn log(job: &Claimed, verdict: &Verdict) {
    match verdict {
        Verdict::Completed(_) | Verdict::Forgotten | Verdict::CompletedInTransaction => {
            debug!("Completed the job");
        }
        Verdict::Retry { error, .. } if job.attempt >= job.max_attempts => {
            error!(error, "Gave the job up after its last attempt");
        }
        Verdict::Retry { error, after } => {
            warn!(error, "The job failed; trying again in {} s", after.as_secs());
        }
        Verdict::Tripped { error, .. } => warn!(error, "The outside did not serve"),
        Verdict::Snoozed { until, reason } => info!(reason, "The job waits until {until}"),
        Verdict::Released { reason, .. } => info!(reason, "Gave the job back"),
        Verdict::Discarded { reason } => error!(error = reason, "The job ended for good"),
        Verdict::Cancelled => info!("The job was cancelled"),
        Verdict::Withdrawn => {}
        Verdict::Lost => warn!("The lease was lost; nothing of this attempt is kept"),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::{Arc, Mutex};

    use tracing::field::{Empty, Field, Visit};
    use tracing::span::{Id, Record};
    use tracing::{Subscriber, info_span};
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::{Context, SubscriberExt as _};

    use super::PanicNoted;

    /// What was written into spans.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<String>>>);

    impl Visit for Written {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            self.0.lock().unwrap().push(format!("{field}={value:?}"));
        }
    }

    impl<S: Subscriber> Layer<S> for Written {
        fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
            values.record(&mut self.clone());
        }
    }

    #[test]
    fn a_panic_is_noted_in_the_span_of_its_attempt_and_nothing_else_is() {
        let written = Written::default();
        let subscriber = tracing_subscriber::registry().with(written.clone());
        tracing::subscriber::with_default(subscriber, || {
            let span = info_span!("job", outcome = Empty, error = Empty);
            drop(PanicNoted(&span));
            assert!(written.0.lock().unwrap().is_empty());
            let panics = || {
                let _noted = PanicNoted(&span);
                panic!("out of its mind");
            };
            catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
        });
        assert_eq!(*written.0.lock().unwrap(), ["outcome=\"panicked\"", "error=\"the handler panicked\""]);
    }
}
