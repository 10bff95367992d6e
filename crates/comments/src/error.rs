//! What can go wrong with comments, and what it means for a job.

use greenroom_credits::CreditsError;
use greenroom_language::NoWeights;
use greenroom_llm::Failure;
use greenroom_model::{ConnectionId, Platform};
use greenroom_queue::{Class, EnqueueError, JobError, QueueError};
use greenroom_sync::SyncError;

/// Why comments could not be stored, read or ranked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommentsError {
    /// A platform whose comments have no table.
    #[error("comments of {0} cannot be stored: only those of youtube and instagram have a table")]
    UnsupportedPlatform(Platform),
    /// The connection is not there.
    #[error("there is no connection {1} of {0}")]
    NotFound(Platform, ConnectionId),
    /// The job was told to end; what is stored stays.
    #[error("interrupted")]
    Interrupted,
    /// The reader could not be made.
    #[error(transparent)]
    Reader(#[from] NoWeights),
    /// A reading ended in the middle.
    #[error("comments could not be read: {0}")]
    Reading(#[from] tokio::task::JoinError),
    /// What was read could not be written down.
    #[error("what was read could not be written as JSON: {0}")]
    Written(#[source] serde_json::Error),
    /// A language model could not be asked.
    #[error(transparent)]
    Model(#[from] Failure),
    /// The event of a run could not be written.
    #[error(transparent)]
    Credits(#[from] CreditsError),
    /// The log of the run could not be kept.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// The job is no longer ours, or could not be completed.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A job could not be enqueued.
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
    /// The database refused or was not there.
    #[error("comments could not be read or written: {0}")]
    Database(#[from] sqlx::Error),
}

impl JobError for CommentsError {
    fn class(&self) -> Class {
        match self {
            Self::UnsupportedPlatform(_) | Self::NotFound(..) => Class::Cancel,
            Self::Interrupted => Class::Release,
            Self::Model(failure) => match failure.class() {
                greenroom_http::Class::RetryAt(instant) => Class::SnoozeUntil(instant),
                _ => Class::Retry,
            },
            Self::Queue(error) => error.class(),
            Self::Enqueue(error) => error.class(),
            _ => Class::Retry,
        }
    }
}
