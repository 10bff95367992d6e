//! What can go wrong at the queue's edge.

use chrono::{DateTime, Utc};
use greenroom_model::JobId;

/// Why a job was not enqueued; nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnqueueError {
    /// The payload does not serialize.
    #[error("the payload of a {kind} job cannot be written as JSON: {source}")]
    Payload {
        /// The job's kind.
        kind: &'static str,
        /// What serde says.
        source: serde_json::Error,
    },
    /// The payload is larger than a row should carry.
    #[error(
        "the payload of a {kind} job has {bytes} bytes, the limit is {limit}: store the data and pass its id"
    )]
    PayloadTooLarge {
        /// The job's kind.
        kind: String,
        /// Its size as JSON text.
        bytes: usize,
        /// The most it may have.
        limit: usize,
    },
    /// PostgreSQL cannot store a NUL character in `jsonb`.
    #[error("the payload of a {kind} job holds a NUL character, which PostgreSQL cannot store: remove it")]
    Nul {
        /// The job's kind.
        kind: String,
    },
    /// The lane's field is missing from the payload.
    #[error("the payload of a {kind} job has no text field {field:?}, which names its lane")]
    NoLane {
        /// The job's kind.
        kind: String,
        /// The field the policy names.
        field: &'static str,
    },
    /// It is one of the batch whose end it waits for.
    #[error("a {kind} job waits for a batch that it belongs to, and would wait for ever: name two batches")]
    WaitsForItself {
        /// The job's kind.
        kind: String,
    },
    /// The open job that holds the key kept changing.
    #[error("the unique key {key:?} changed hands at every try: try again")]
    KeyInFlux {
        /// The key.
        key: String,
    },
    /// A statement did not answer in time; whether it was carried out is not known.
    #[error("the database did not answer the enqueue within {0} ms")]
    Timeout(u128),
    /// The database refused or did not answer.
    #[error("the database refused the enqueue: {0}")]
    Database(#[from] sqlx::Error),
}

/// Why an operation on the queue failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The lease is no longer this worker's: whatever it was about to write must not be written.
    #[error("job {0} is no longer held by this worker; its work so far was given up")]
    LeaseLost(JobId),
    /// There is no such job.
    #[error("there is no job {0}")]
    NotFound(JobId),
    /// There is no such thing.
    #[error("there is no {what} {name:?}")]
    NoSuch {
        /// What was looked for.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The pool has no units left in this window.
    #[error("the pool {pool} has no units left until {until}")]
    NoUnits {
        /// The pool.
        pool: String,
        /// When there are some again.
        until: DateTime<Utc>,
    },
    /// Jobs without a lane of their own are spread over stripes, which only share the load.
    #[error("{0} is a stripe of jobs without a lane of their own and has no cap: set that of their pool")]
    StripeHasNoCap(String),
    /// A budget needs windows.
    #[error("the pool {0:?} has no window for its units: say when windows end, as a cron expression")]
    NoWindow(String),
    /// There is no such schedule.
    #[error("there is no schedule {0:?}: list the schedules to see those there are")]
    NoSchedule(String),
    /// The schedule was made by operators, so there is nothing to go back to.
    #[error("no code declares the schedule {0:?}, so there is nothing to reset it to: set what it should be")]
    NotDeclared(String),
    /// The job's state does not allow the operation.
    #[error("job {job} is {status}: {advice}")]
    WrongState {
        /// The job.
        job: JobId,
        /// Its status.
        status: String,
        /// What can be done instead.
        advice: &'static str,
    },
    /// Another open job holds the same unique key.
    #[error(
        "job {job} cannot be retried: job {holder} with the same unique key is open; wait for it or cancel it"
    )]
    KeyHeld {
        /// The job that was to be retried.
        job: JobId,
        /// The open job with the same key.
        holder: JobId,
    },
    /// Nothing bounds what a search for a payload or an error would read.
    #[error(
        "a search by payload or error text reads every job: add since, or a finished status (completed, failed)"
    )]
    Unbounded,
    /// A search read more than can be read in its time.
    #[error("the search was ended after {0} s: narrow it by since and until, a user, or a status")]
    SearchTooLong(u64),
    /// The status that a filter names does not allow what is to be done to its jobs.
    #[error("{0}: choose another status, or none")]
    NotForThese(&'static str),
    /// A report or checkpoint does not serialize.
    #[error("a value cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A cron expression is wrong.
    #[error(transparent)]
    Cron(#[from] crate::CronError),
    /// What became of a job could not be written.
    #[error("the outcome of job {0} could not be written: see the log")]
    Unsettled(JobId),
    /// A statement did not answer in time; its connection was given up.
    #[error("the database did not answer within {0} ms")]
    Timeout(u128),
    /// The database refused or did not answer.
    #[error("the database refused: {0}")]
    Database(#[from] sqlx::Error),
}
