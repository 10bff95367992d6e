//! What can go wrong with campaigns, and what it means for a job.

use greenroom_credits::CreditsError;
use greenroom_mail::MailError;
use greenroom_queue::{Class, JobError, QueueError};
use greenroom_sync::SyncError;
use greenroom_vault::SigningKeyError;

/// Why something could not be planned or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CampaignsError {
    /// A setting of `[campaigns]` breaks a rule.
    #[error("campaigns.{setting}: {rule}")]
    Setting {
        /// The setting's name in its section.
        setting: &'static str,
        /// The rule, as a sentence without an end.
        rule: String,
    },
    /// `UNSUBSCRIBE_KEY` cannot be used.
    #[error("UNSUBSCRIBE_KEY: {0}")]
    Key(#[from] SigningKeyError),
    /// The job was told to end; what is planned stays.
    #[error("interrupted")]
    Interrupted,
    /// The outbox could not be written.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// The event of a run could not be written.
    #[error(transparent)]
    Credits(#[from] CreditsError),
    /// The log of the run could not be kept.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// The job is no longer ours, or could not be completed.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The database refused or was not there.
    #[error("people could not be read or written: {0}")]
    Database(#[from] sqlx::Error),
}

impl JobError for CampaignsError {
    fn class(&self) -> Class {
        match self {
            Self::Interrupted => Class::Release,
            Self::Mail(error) => error.class(),
            Self::Queue(error) => error.class(),
            _ => Class::Retry,
        }
    }
}
