//! How a job declares itself: kind, policy, handler and the four outcomes.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Backoff, CatchUp, Context, Done, Unique};

/// A job: the payload is the struct itself, the policy a constant, the handler [`Job::run`].
///
/// ```
/// use greenroom_queue::{Context, Done, Job, Policy, Stop};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct SendInvoice { order: i64 }
///
/// impl Job for SendInvoice {
///     const KIND: &'static str = "billing.send_invoice";
///     const POLICY: Policy = Policy::on("mail").max_attempts(8);
///     type State = ();
///     type Report = ();
///
///     async fn run(self, _: &(), ctx: &Context) -> Result<Done<()>, Stop> {
///         ctx.check()?; // ends here if somebody cancelled it
///         Ok(().into())
///     }
/// }
/// ```
///
/// The payload is stored as JSON and read back by whatever release runs it: add fields with
/// `#[serde(default)]`, never refuse unknown ones.
pub trait Job: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The name in `job_type`, such as `billing.send_invoice`; never changed once released.
    const KIND: &'static str;
    /// How it is queued and retried.
    const POLICY: Policy;
    /// What the handler works with: pools, clients, settings.
    type State: Send + Sync + 'static;
    /// What a finished job tells, stored as `result`.
    type Report: Serialize + Send;

    /// Returns the key under which only one job of this kind may be open at a time, held as the policy's
    /// [`Unique`] says.
    fn key(&self) -> Option<String> {
        None
    }

    /// Returns the pool that this job draws on: the policy's, or one of the [`Policy::pools`].
    fn pool(&self) -> &'static str {
        Self::POLICY.pool
    }

    /// Does the work. It may be run again after a crash, so it must bear repetition.
    fn run(
        self,
        state: &Self::State,
        ctx: &Context,
    ) -> impl Future<Output = Result<Done<Self::Report>, Stop>> + Send;
}

/// How a kind is queued, held back and retried.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Policy {
    /// The named pool of capacity that runs it.
    pub queue: &'static str,
    /// Failures after which the job is given up.
    pub max_attempts: u16,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// From 0 (first) to 9 (last); each step is worth a minute of waiting.
    pub priority: u8,
    /// The wait between attempts.
    pub backoff: Backoff,
    /// Which jobs are held back by each other.
    pub lane: Lane,
    /// How its key is held and what a second enqueue does; nothing to a job without a key.
    pub unique: Unique,
    /// The outside budget it draws on; empty where there is none.
    pub pool: &'static str,
    /// Others that a job may draw on instead.
    pub other_pools: &'static [&'static str],
    /// The part of the pool's units that this kind may use, in percent.
    pub share: u8,
    /// When the scheduler enqueues it by itself: five or six fields.
    pub cron: Option<&'static str>,
    /// The zone whose wall clock the schedule means.
    pub timezone: &'static str,
    /// What becomes of ticks that were missed.
    pub catch_up: CatchUp,
    /// Whether its row is deleted when it succeeds.
    pub forget: bool,
}

impl Policy {
    /// Returns the policy of most jobs: 10 attempts, 5 minutes each, priority 5, no lane of its own.
    pub const fn on(queue: &'static str) -> Self {
        Self {
            queue,
            max_attempts: 10,
            timeout: Duration::from_mins(5),
            priority: 5,
            backoff: Backoff::DEFAULT,
            lane: Lane::Shared,
            unique: Unique::WHILE_OPEN,
            pool: "",
            other_pools: &[],
            share: 100,
            cron: None,
            timezone: "UTC",
            catch_up: CatchUp::Latest,
            forget: false,
        }
    }

    /// Sets after how many failures the job is given up.
    pub const fn max_attempts(mut self, attempts: u16) -> Self {
        assert!(attempts > 0, "a job that may not be tried never runs");
        self.max_attempts = attempts;
        self
    }

    /// Sets how long one attempt may take.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the priority, from 0 (first) to 9 (last).
    pub const fn priority(mut self, priority: u8) -> Self {
        assert!(priority <= 9, "a priority is between 0 and 9");
        self.priority = priority;
        self
    }

    /// Sets the wait between attempts.
    pub const fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Runs at most `cap` jobs at a time whose payloads agree in `field`, which must be text.
    pub const fn lane(mut self, field: &'static str, cap: u16) -> Self {
        assert!(cap > 0, "a lane that runs nothing blocks for ever");
        assert!(!field.is_empty() && field.as_bytes()[0] != b'#', "a lane's field is a field of the payload");
        self.lane = Lane::Keyed { field, cap };
        self
    }

    /// Sets how the job's key is held, and what a second enqueue under it does.
    pub const fn unique(mut self, unique: Unique) -> Self {
        self.unique = unique;
        self
    }

    /// Draws on an outside budget that is shared by name, over kinds and queues.
    pub const fn pool(mut self, name: &'static str) -> Self {
        self.pool = name;
        self
    }

    /// Names pools that jobs draw on instead where [`Job::pool`] says so, as when each is another vendor's.
    pub const fn pools(mut self, others: &'static [&'static str]) -> Self {
        self.other_pools = others;
        self
    }

    pub(crate) fn all_pools(self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.pool).chain(self.other_pools.iter().copied())
    }

    /// Limits the kind to a part of its pool's units, in percent, so that it leaves some to others.
    pub const fn share(mut self, percent: u8) -> Self {
        assert!(percent > 0 && percent <= 100, "a share is between 1 and 100 percent");
        self.share = percent;
        self
    }

    /// Has the scheduler enqueue the job, with a default payload, at these times.
    pub const fn cron(mut self, expression: &'static str) -> Self {
        self.cron = Some(expression);
        self
    }

    /// Sets the zone whose wall clock the schedule means, such as `Europe/Berlin`; UTC without it.
    pub const fn timezone(mut self, name: &'static str) -> Self {
        self.timezone = name;
        self
    }

    /// Sets what becomes of ticks that were missed; the latest of them runs without it.
    pub const fn catch_up(mut self, catch_up: CatchUp) -> Self {
        self.catch_up = catch_up;
        self
    }

    /// Has the row deleted when the job succeeds: for many small jobs that nobody will look up.
    pub const fn forget(mut self) -> Self {
        self.forget = true;
        self
    }
}

/// Which jobs of a queue are held back by each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// None: the job goes to one of a few lanes without a cap.
    Shared,
    /// Those whose payload has the same value in `field`; `cap` of them run at once.
    Keyed {
        /// A text field of the payload.
        field: &'static str,
        /// How many may run at once.
        cap: u16,
    },
}

/// How much of the outside a failure is about. A kind without a pool has its lane only, and one without
/// either has no breaker: its job just waits for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// What the jobs of this lane talk to, such as one account.
    Lane,
    /// What all jobs of the pool talk to.
    Pool,
}

/// What an error means for the job that met it; decided once, where the outside answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Try again after the policy's backoff; the attempt counts.
    Retry,
    /// Try again after this long; the attempt counts.
    RetryAfter(Duration),
    /// Wait until then; the attempt is given back.
    SnoozeUntil(DateTime<Utc>),
    /// The outside does not serve: trips the breaker of the job's pool or lane. Where the outside said
    /// until when, the breaker opens at once, else after some failures in a row; those count as attempts
    /// until it is open.
    Trip {
        /// What does not serve.
        scope: Scope,
        /// When it will, if it said so.
        until: Option<DateTime<Utc>>,
    },
    /// Never again: trying cannot help.
    Cancel,
    /// The job was interrupted: the attempt is given back and it is ready again at once.
    Release,
}

/// An error a handler may return with `?`.
pub trait JobError: Error + Send + Sync + 'static {
    /// Returns what the error means for the job.
    fn class(&self) -> Class {
        Class::Retry
    }
}

impl JobError for sqlx::Error {}
impl JobError for serde_json::Error {}
impl JobError for crate::QueueError {
    fn class(&self) -> Class {
        match self {
            Self::NoUnits { until, .. } => Class::SnoozeUntil(*until),
            _ => Class::Retry,
        }
    }
}
impl JobError for crate::EnqueueError {}

/// Why a handler ended without a report: three of the four outcomes.
#[derive(Debug)]
pub struct Stop {
    pub(crate) class: Class,
    pub(crate) reason: String,
}

impl Stop {
    /// Tries again after the policy's backoff; the attempt counts.
    pub fn retry(reason: impl Into<String>) -> Self {
        Self { class: Class::Retry, reason: reason.into() }
    }

    /// Waits until then; the attempt is given back.
    pub fn snooze_until(instant: DateTime<Utc>, reason: impl Into<String>) -> Self {
        Self { class: Class::SnoozeUntil(instant), reason: reason.into() }
    }

    /// Trips the breaker of the job's pool or lane: the outside does not serve, until then if it said so.
    pub fn trip(scope: Scope, until: Option<DateTime<Utc>>, reason: impl Into<String>) -> Self {
        Self { class: Class::Trip { scope, until }, reason: reason.into() }
    }

    /// Ends the job for good.
    pub fn cancel(reason: impl Into<String>) -> Self {
        Self { class: Class::Cancel, reason: reason.into() }
    }

    /// Gives the job back because it was interrupted; no attempt is burned.
    pub fn interrupted() -> Self {
        Self { class: Class::Release, reason: "interrupted".to_owned() }
    }

    /// Returns what becomes of the job.
    pub fn class(&self) -> Class {
        self.class
    }

    /// Returns the reason, as it will be stored.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl<E: JobError> From<E> for Stop {
    fn from(error: E) -> Self {
        let class = error.class();
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            // Many errors already print their source.
            if !reason.contains(&cause_text) {
                reason.push_str(": ");
                reason.push_str(&cause_text);
            }
            source = cause.source();
        }
        Self { class, reason }
    }
}
