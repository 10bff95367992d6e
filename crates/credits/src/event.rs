//! Usage events: what they say beside their cost, and those that cost their user nothing.

use greenroom_model::{MicroCredits, UsageEventId, UserId};
use serde_json::{Map, Value};
use sqlx::PgConnection;

use crate::store::{balances, events};
use crate::{ActionType, Cost, CreditsError, Key};

/// The thing an event is about: a connection, a comment, a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// What kind of thing, as the name of its table.
    pub kind: String,
    /// Its id.
    pub id: String,
}

/// What an event says beside who, what and how much.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    /// One line for the person who looks at their usage.
    pub description: String,
    /// The thing the work was about.
    pub resource: Option<Resource>,
    /// The model that was called.
    pub model: Option<String>,
    /// Tokens it read.
    pub input_tokens: Option<i32>,
    /// Tokens it wrote.
    pub output_tokens: Option<i32>,
    /// Whatever else an auditor needs.
    pub metadata: Map<String, Value>,
}

/// Why work costs its user nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Free {
    /// Nobody asked for it but our own schedule.
    Scheduled,
    /// It was not done.
    Failed,
    /// A crash made us pay twice; the user was charged by the other event.
    DuplicateOf(UsageEventId),
}

/// Records work that its user is not charged for, once per key.
pub async fn record_free(
    conn: &mut PgConnection,
    user: UserId,
    key: &Key,
    action: ActionType,
    cost: &Cost,
    why: Free,
    details: &Details,
) -> Result<UsageEventId, CreditsError> {
    let mut metadata = details.metadata.clone();
    match why {
        Free::Scheduled => metadata.insert("free".to_owned(), "scheduled".into()),
        Free::Failed => metadata.insert("free".to_owned(), "failed".into()),
        Free::DuplicateOf(event) => metadata.insert("duplicate_of".to_owned(), event.to_string().into()),
    };
    balances::must_exist(conn, user).await?;
    let event = events::NewEvent {
        user,
        action,
        key,
        charged: MicroCredits::ZERO,
        cost,
        reservation: None,
        details,
        metadata,
    };
    match events::insert(conn, event).await? {
        Some(id) => Ok(id),
        None => Ok(events::same_work(conn, key, user, action, details).await?.id),
    }
}
