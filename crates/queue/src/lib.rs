//! Jobs in PostgreSQL, in one real table that people can read, write and join.
//!
//! A [`Job`] says everything about itself in one place: its payload is a struct, its [`Policy`] a
//! constant, its handler `run`. It is enqueued in the caller's own transaction ([`enqueue`]) and
//! registered with one word in its slice's [`Jobs`]. A [`Worker`] claims jobs in batches, fairly over
//! *lanes*, holds a lease on each that is fenced by a random token, and runs the handlers on apalis.
//!
//! The promise is at-least-once execution, and database effects exactly once for a handler that ends
//! inside [`Context::complete`]'s transaction. Polling is the truth; NOTIFY only shortens the wait.
//!
//! What this crate does not do: it knows no product, opens no pool and reads no configuration file.

mod backend;
mod backoff;
mod claim;
mod context;
mod control;
mod cron;
pub mod doctor;
mod driver;
mod enqueue;
mod error;
mod job;
mod leader;
mod lease;
mod listen;
mod router;
mod schedule;
mod settings;
mod settle;
mod sweep;
mod tell;
mod wake;
mod worker;
mod workers;

#[cfg(test)]
mod probes;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use backoff::Backoff;
pub use context::{Context, Done};
pub use control::{Attempt, Cancelled, Filter, JobRow, Page, attempts, cancel, list, retry, show};
pub use cron::{Cron, CronError};
pub use enqueue::{Enqueued, NewJob, enqueue};
pub use error::{EnqueueError, QueueError};
pub use job::{Class, Job, JobError, Lane, Policy, Stop};
pub use leader::Leader;
pub use router::{BuildError, Jobs, KindInfo};
pub use schedule::{CatchUp, Scheduler};
pub use settings::Settings;
pub use sweep::{Swept, sweep};
pub use wake::Queue;
pub use worker::{Worker, WorkerError};
