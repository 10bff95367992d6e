#![doc = include_str!("../README.md")]

mod backend;
mod backoff;
mod batch;
mod breaker;
mod claim;
mod collect;
mod context;
mod control;
mod cron;
pub mod doctor;
mod driver;
mod engine;
mod enqueue;
mod error;
mod fingerprint;
mod heartbeat;
mod held;
mod install;
mod job;
mod lane;
mod leader;
mod lease;
mod listen;
mod nudge;
mod overview;
mod pace;
mod pause;
mod pool;
mod prune;
mod router;
mod schedule;
pub mod schedules;
mod settings;
mod settle;
mod sweep;
mod tell;
mod trace;
mod unique;
mod units;
mod wake;
mod why;
mod worker;
mod workers;

#[cfg(test)]
mod limit_model;
#[cfg(test)]
mod limit_tests;
#[cfg(test)]
mod probes;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use backoff::Backoff;
pub use batch::{Batch, BatchCounts};
pub use breaker::{Breaker, close_breaker};
pub use context::{Context, Done};
pub use control::{
    Act, Attempt, BulkOutcome, Cancelled, Count, Failure, Filter, Group, JobRow, NoSuchWord, Pace, Page,
    PayloadValue, Redrive, Skip, Status, attempts, cancel, cancel_all, count, count_all, delete_all,
    failures, list, plan_redrive, redrive, retry, retry_all, show,
};
pub use cron::{Cron, CronError};
pub use enqueue::{Enqueued, NewJob, Outcome, enqueue};
pub use error::{EnqueueError, QueueError};
pub use fingerprint::{Fingerprint, NoFingerprint};
// The nouns that the house shares: a job's id, a user's id, a clock that tests can move.
pub use greenroom_model::{Clock, JobId, UserId};
pub use heartbeat::Heartbeat;
pub use install::{InstallError, Installed, SCHEMA, install};
pub use job::{Class, Job, JobError, Lane, Policy, Scope, Stop};
pub use lane::{LaneRow, lanes, set_lane};
pub use leader::Leader;
pub use overview::{QueueRow, is_swept, overview};
pub use pause::{Pausable, set_paused};
pub use pool::{Budget, Limits, Pool, PoolRow, pools, reset as reset_limits, set_limits};
pub use router::{BuildError, Jobs, KindInfo};
pub use schedule::{CatchUp, Scheduler};
pub use settings::Settings;
pub use sweep::{Swept, sweep};
pub use trace::{TraceParent, UnreadableTrace};
pub use unique::{Again, Unique};
pub use units::note_spent;
pub use wake::Queue;
pub use why::{Reason, Why, why};
pub use worker::{Worker, WorkerError};
pub use workers::{WorkerRow, list as list_workers};
