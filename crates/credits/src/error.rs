//! What can go wrong with credits, each with what to do about it.

use std::fmt;

use chrono::{DateTime, Utc};
use greenroom_model::{MicroCredits, ReservationId, UsageEventId, UserId};

use crate::{ActionType, Key};

/// An account that cannot pay for the work; nothing was done and nothing was charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InsufficientCredits {
    /// What the work costs.
    pub needed: MicroCredits,
    /// What the account may spend now: its balance without what is reserved.
    pub available: MicroCredits,
    /// When the next allowance comes.
    pub next_reset_at: DateTime<Utc>,
}

impl fmt::Display for InsufficientCredits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not enough credits: {} needed, {} available; add credits, or wait for the reset at {}",
            self.needed,
            self.available,
            self.next_reset_at.format("%Y-%m-%d %H:%M UTC"),
        )
    }
}

impl std::error::Error for InsufficientCredits {}

/// Why credits could not be reserved, charged or settled.
#[derive(Debug, thiserror::Error)]
pub enum CreditsError {
    /// The account cannot pay; found out before any outside call.
    #[error(transparent)]
    Insufficient(#[from] InsufficientCredits),
    /// No price is in force, so the work must not begin.
    #[error("no price is in force for {action}: insert an active row for it into credit_action_costs")]
    PriceUnknown {
        /// The action without a price.
        action: ActionType,
    },
    /// No price is known for a model, so it must not be called.
    #[error(
        "no price is known for the model {model} of {provider}: add one to a file of credits.prices_dir, or one for \"*\" that stands for any model"
    )]
    ModelPriceUnknown {
        /// Who serves it.
        provider: String,
        /// The model without a price.
        model: String,
    },
    /// One key was used for two different pieces of work.
    #[error(
        "idempotency key {key} was used for another user, action or resource: name each piece of work by a key of its own"
    )]
    KeyReuse {
        /// The key that names both.
        key: Key,
    },
    /// A reservation that was already resolved otherwise.
    #[error("reservation {reservation} is {state}: reserve again under the same key before settling")]
    ReservationResolved {
        /// The reservation.
        reservation: ReservationId,
        /// What became of it.
        state: String,
    },
    /// No such person, or no longer.
    #[error("user {0} does not exist: nothing can be charged to them")]
    UserNotFound(UserId),
    /// No such event, or no longer.
    #[error("there is no usage event {0}")]
    NoSuchEvent(UsageEventId),
    /// An event of no credits, or one that is a refund itself.
    #[error("event {0} charged nothing that could be given back")]
    NothingToRefund(UsageEventId),
    /// A grant of nothing, or of less.
    #[error("an amount is above zero: to take credits back, write a clawback")]
    Amount,
    /// One key was used for two different grants.
    #[error("idempotency key {0} was used for another grant: name each grant by a key of its own")]
    GrantKeyReuse(String),
    /// The log of the run could not be written.
    #[error(transparent)]
    Sync(#[from] greenroom_sync::SyncError),
    /// Nobody could be told.
    #[error(transparent)]
    Mail(#[from] greenroom_mail::MailError),
    /// The database refused or was not there.
    #[error("the ledger could not be read or written: {0}")]
    Database(#[from] sqlx::Error),
}

impl CreditsError {
    /// Returns the stable code of this error, as APIs and job results write it.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Insufficient(_) => "insufficient_credits",
            Self::PriceUnknown { .. } | Self::ModelPriceUnknown { .. } => "price_unknown",
            Self::KeyReuse { .. } | Self::GrantKeyReuse(_) => "idempotency_key_reuse",
            Self::ReservationResolved { .. } => "reservation_resolved",
            Self::UserNotFound(_) => "user_not_found",
            Self::NoSuchEvent(_) => "event_not_found",
            Self::NothingToRefund(_) => "nothing_to_refund",
            Self::Amount => "amount",
            Self::Database(_) | Self::Sync(_) | Self::Mail(_) => "database",
        }
    }
}
