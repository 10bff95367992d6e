//! Why an account is not connected, or there is no token for it; none of it carries a token.

use std::time::Duration;

use chrono::{DateTime, Utc};
use greenroom_http::{Class, Failure};
use greenroom_model::Platform;
use greenroom_queue::{Class as JobClass, EnqueueError, JobError, QueueError, Scope};
use greenroom_vault::OpenError;

/// Why an account was not connected.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Somebody else has connected it; who that is stays unsaid.
    #[error("this account is already connected: disconnect it where it is connected, then connect it here")]
    AlreadyConnected,
    /// A new connection came without the token that keeps it alive.
    #[error(
        "the consent gave no refresh token: ask for it again with access_type=offline and prompt=consent"
    )]
    NoRefreshToken,
    /// The database refused.
    #[error("the connection could not be stored: {0}")]
    Database(#[from] sqlx::Error),
}

/// Why a consent did not lead to a connection.
#[derive(Debug, thiserror::Error)]
pub enum ConsentError {
    /// Replayed, expired, made up or somebody else's: which, is not told.
    #[error("this consent is not one that waits: begin again")]
    State,
    /// This house is no client of the platform's provider.
    #[error("{0} cannot be connected here: its client id and secret are not set")]
    NotConfigured(Platform),
    /// A platform that is connected for a location.
    #[error("{0} is connected for a location: name one")]
    NeedsLocation(Platform),
    /// An address that is not on the list.
    #[error("this redirect_uri is not one of oauth.redirect_uris")]
    RedirectUri,
    /// The person left out what is needed.
    #[error("the consent left out what is needed: begin again and allow {0}")]
    MissingScopes(String),
    /// The person has no account of the kind.
    #[error("there is no {0} account behind this login: make one, or log in as somebody else")]
    NoAccount(Platform),
    /// The provider refused the code.
    #[error("the consent was not accepted, begin again: {0}")]
    Code(Failure),
    /// The provider did not answer, or is not content with us.
    #[error("the provider could not be asked: {0}")]
    Provider(Failure),
    /// The account could not be stored.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The job could not be enqueued.
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
    /// The database refused.
    #[error("the consent could not be read or stored: {0}")]
    Database(#[from] sqlx::Error),
}

/// Why there is no fresh token for a connection.
///
/// It is cloned, because all who wait for one refresh get its outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is no such connection, or not any more.
    #[error("there is no such connection")]
    NotFound,
    /// This house is no client of the platform's provider.
    #[error("this house is no OAuth client for {0}: set its client id and secret in the environment")]
    NotConfigured(Platform),
    /// The owner has disconnected the account.
    #[error("the account is disconnected: its owner has to connect it again")]
    Disconnected,
    /// A stored token does not open; it is kept as it is and the connection marked.
    #[error("a stored token does not open: {0}")]
    Undecryptable(OpenError),
    /// A stored token is plain text, which the settings refuse.
    #[error(
        "a stored token is plain text and tokens.allow_plaintext is off: seal it or connect the account again"
    )]
    Plaintext,
    /// The connection cannot be kept alive without its owner.
    #[error("the account's owner has to connect it again: {0}")]
    Reauthorise(String),
    /// The refresh token was refused once; whether it is over shows when it is tried again.
    #[error("the refresh token was refused, and is tried once more before its owner is asked")]
    Suspected(DateTime<Utc>),
    /// So many refresh tokens are refused at once that the fault must be ours.
    #[error("many refresh tokens are refused at once: look whether the OAuth client is still the right one")]
    Storm(DateTime<Utc>),
    /// Another process is refreshing, and has not come to an end.
    #[error("the token is being refreshed elsewhere")]
    Busy,
    /// The token endpoint did not give a token; the failure says what to do.
    #[error("the token could not be refreshed: {0}")]
    Provider(Failure),
    /// The database did not answer.
    #[error("the tokens could not be read or stored: {0}")]
    Database(String),
    /// The refresh ended without an outcome, as when the process stops.
    #[error("the refresh was interrupted")]
    Interrupted,
}

/// Why a refresh ahead of need did not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RefreshError {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Sync(#[from] greenroom_sync::SyncError),
    #[error(transparent)]
    Credits(#[from] greenroom_credits::CreditsError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
    #[error("the database refused: {0}")]
    Database(#[from] sqlx::Error),
}

impl JobError for RefreshError {
    fn class(&self) -> JobClass {
        match self {
            // What is refused is our client, so every refresh by it waits.
            Self::Token(TokenError::Storm(until)) => {
                JobClass::Trip { scope: Scope::Pool, until: Some(*until) }
            }
            Self::Token(TokenError::Provider(failure)) => match failure.class() {
                Class::RetryAt(until) => JobClass::Trip { scope: Scope::Pool, until: Some(until) },
                _ => JobClass::Retry,
            },
            Self::Token(TokenError::Busy) => {
                JobClass::RetryAfter(Duration::from_millis(rand::random_range(5_000..=15_000)))
            }
            Self::Token(error) => match error.class() {
                Class::Retry => JobClass::Retry,
                Class::RetryAt(until) => JobClass::SnoozeUntil(until),
                Class::Reauthorise | Class::Reject => JobClass::Cancel,
            },
            Self::Queue(error) => error.class(),
            Self::Sync(_) | Self::Credits(_) | Self::Enqueue(_) | Self::Database(_) => JobClass::Retry,
        }
    }
}

impl TokenError {
    /// Returns what a job does about it.
    pub fn class(&self) -> Class {
        match self {
            Self::NotFound | Self::Disconnected | Self::Undecryptable(_) | Self::Plaintext => Class::Reject,
            Self::Reauthorise(_) => Class::Reauthorise,
            Self::Provider(failure) => failure.class(),
            Self::Suspected(at) | Self::Storm(at) => Class::RetryAt(*at),
            // An operator may still make this house a client.
            Self::NotConfigured(_) | Self::Database(_) | Self::Interrupted | Self::Busy => Class::Retry,
        }
    }
}

impl From<greenroom_mail::MailError> for TokenError {
    fn from(error: greenroom_mail::MailError) -> Self {
        Self::Database(error.to_string())
    }
}

impl From<sqlx::Error> for TokenError {
    /// Keeps the message only: PostgreSQL's details may quote the row.
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.to_string())
    }
}
