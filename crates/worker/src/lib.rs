//! The pool of workers: which jobs there are, what they work with, and the processes that run them.
//!
//! [`jobs`] is the one list of every slice's jobs. [`process`] is what each binary in `src/bin/` does:
//! read the settings, wait for the schema, run its queues until it is told to stop. No job is defined
//! here.

mod error;
mod house;
mod process;
mod served;

pub use error::StartError;
pub use house::{House, Secrets, jobs, mail};
pub use process::{
    Args, ProbeArgs, SchedulerArgs, SchemaArgs, engine_pool, exit, run_scheduler, run_worker,
    watch_scheduler, watch_worker, worker,
};
pub use served::{Served, UnreadableQueue};
