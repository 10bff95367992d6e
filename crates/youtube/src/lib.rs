//! YouTube: the client of its Data API and the jobs that pull channels.
//!
//! [`SyncChannel`] pulls one connected channel whole: its numbers, its uploads, every comment and every
//! reply. Each page commits with its cursor, so a killed sync goes on where it was. [`SyncDueChannels`]
//! enqueues one such job for each connection whose turn it is; [`request_sync`] does so for a person.
//!
//! It stores videos and lends its numbers to the connection; comments, runs and credits are stored by
//! their own crates. Analytics, push and incremental polling are not here yet.

mod classify;
mod client;
mod error;
mod jobs;
mod settings;
mod store;
#[cfg(test)]
mod tests;
mod youtube;

pub use error::Error;
pub use jobs::close_runs::CloseRuns;
pub use jobs::sync_channel::{ChannelSynced, SyncChannel, Trigger};
pub use jobs::sync_due_channels::{DueChannelsEnqueued, SyncDueChannels};
pub use jobs::{POOL, jobs, request_sync};
pub use settings::Settings;
pub use youtube::Youtube;
