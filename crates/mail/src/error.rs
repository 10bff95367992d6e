//! What can go wrong with mail, and what it means for a job.

use greenroom_queue::{Class, EnqueueError, JobError, QueueError};

/// Why mail could not be written, rendered or sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MailError {
    /// A setting of `[mail]` breaks a rule.
    #[error("mail.{setting}: {rule}")]
    Setting {
        /// The setting's name in its section.
        setting: &'static str,
        /// The rule, as a sentence without an end.
        rule: String,
    },
    /// A secret cannot be used.
    #[error("{name}: {rule}")]
    Secret {
        /// The variable's name.
        name: &'static str,
        /// What is wrong with it, as a sentence without an end.
        rule: String,
    },
    /// A template is missing or cannot be rendered.
    #[error("the template {name}: {reason}")]
    Template {
        /// Its name, such as `trial/7d.html`.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A message could not be put together.
    #[error("the message cannot be composed: {0}")]
    Compose(String),
    /// There is no such message.
    #[error("there is no message {0} in the outbox")]
    NotFound(uuid::Uuid),
    /// The message is in a state in which this cannot be done.
    #[error("this message is {state}: {rule}")]
    State {
        /// Its state.
        state: String,
        /// What would have to be.
        rule: &'static str,
    },
    /// The job is no longer ours, or could not be completed.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A job could not be enqueued.
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
    /// No names of domains can be asked for.
    #[error("no DNS server can be asked: {0}; see /etc/resolv.conf")]
    Resolver(String),
    /// A file could not be written.
    #[error("a file could not be written: {0}")]
    Io(#[from] std::io::Error),
    /// The database refused or was not there.
    #[error("the outbox could not be read or written: {0}")]
    Database(#[from] sqlx::Error),
}

impl JobError for MailError {
    fn class(&self) -> Class {
        match self {
            Self::NotFound(_) => Class::Cancel,
            Self::Queue(error) => error.class(),
            Self::Enqueue(error) => error.class(),
            _ => Class::Retry,
        }
    }
}
