//! What every run of a product job leaves behind: its log, how far it has got, and what it spent.
//!
//! - [`runs`]: a row of `sync_logs` that opens when a run begins and closes with it. A job that was killed
//!   carries its open run on, and a sweep closes those whose job is no longer open.
//! - [`cursors`]: how far a stream of a connection is stored, written in the transaction of each page.
//! - [`quota`]: units spent of a platform's budget by Pacific day, as a record. Admission is the queue's.
//!
//! It knows no platform: what a stream or a bucket is called is its caller's affair.

mod error;
mod store;

pub use error::SyncError;
pub use store::runs::{Counts, Orphan, Run, Subject};
pub use store::{cursors, quota, runs};
