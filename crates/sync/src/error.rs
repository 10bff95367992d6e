//! What can go wrong with the log of runs.

use greenroom_model::SyncRunId;

/// Why a run, a cursor or a quota could not be written.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The run was closed by somebody else, so this one no longer is at work on its behalf.
    #[error("run {0} is closed: its job was taken from this worker, so stop and store nothing more")]
    RunClosed(SyncRunId),
    /// A position that cannot be written as JSON.
    #[error("the position of stream {stream:?} cannot be stored: {source}")]
    Position {
        /// The stream.
        stream: String,
        /// Why not.
        source: serde_json::Error,
    },
    /// The database refused or was not there.
    #[error("the log of runs could not be read or written: {0}")]
    Database(#[from] sqlx::Error),
}
