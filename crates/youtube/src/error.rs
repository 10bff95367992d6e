//! What can go wrong while a channel is synced, and what it means for the job.

use greenroom_comments::CommentsError;
use greenroom_connections::TokenError;
use greenroom_credits::CreditsError;
use greenroom_http::{Class as HttpClass, Failure};
use greenroom_model::ConnectionId;
use greenroom_queue::{Class, EnqueueError, JobError, QueueError, Scope};
use greenroom_sync::SyncError;

use crate::classify::is_days_quota;

/// Why a sync did not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection is not there.
    #[error("there is no YouTube connection {0}")]
    NotFound(ConnectionId),
    /// The connection does not serve.
    #[error("the connection is {0}: its owner has to connect the channel again")]
    NotActive(String),
    /// YouTube no longer has the channel.
    #[error("YouTube has no channel {0} any more, or hides it from this account")]
    ChannelGone(String),
    /// The job was told to end; its cursors stand where it was.
    #[error("interrupted")]
    Interrupted,
    /// YouTube refused, or was not there.
    #[error(transparent)]
    Api(#[from] Failure),
    /// There is no token for the call.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Credits could not be reserved or settled.
    #[error(transparent)]
    Credits(#[from] CreditsError),
    /// The log of the run could not be kept.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// Comments could not be stored.
    #[error(transparent)]
    Comments(#[from] CommentsError),
    /// The job is no longer ours, or could not be completed.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A job could not be enqueued.
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
    /// The database refused or was not there.
    #[error("the database refused: {0}")]
    Database(#[from] sqlx::Error),
}

impl JobError for Error {
    fn class(&self) -> Class {
        let of = |class| match class {
            HttpClass::Retry => Class::Retry,
            HttpClass::RetryAt(instant) => Class::SnoozeUntil(instant),
            // The one forced refresh has not helped: only the owner can.
            HttpClass::Reauthorise | HttpClass::Reject => Class::Cancel,
        };
        match self {
            Self::Interrupted => Class::Release,
            // The day's quota is that of all jobs: none of them need find out by itself.
            Self::Api(failure) if failure.code().is_some_and(is_days_quota) => match failure.class() {
                HttpClass::RetryAt(instant) => Class::Trip { scope: Scope::Pool, until: Some(instant) },
                class => of(class),
            },
            Self::Api(failure) => of(failure.class()),
            Self::Token(error) => of(error.class()),
            Self::NotFound(_) | Self::NotActive(_) | Self::ChannelGone(_) => Class::Cancel,
            Self::Credits(error) if !matches!(error, CreditsError::Database(_)) => Class::Cancel,
            Self::Queue(error) => error.class(),
            Self::Credits(_) | Self::Sync(_) | Self::Comments(_) | Self::Enqueue(_) | Self::Database(_) => {
                Class::Retry
            }
        }
    }
}

impl Error {
    /// Returns YouTube's own name for the refusal, if it was one.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Api(failure) => failure.code(),
            _ => None,
        }
    }
}
