//! `audit_logs`: who did what, written in the transaction of what was done.

use greenroom_model::{OrganizationId, UserId};
use serde_json::Value;
use sqlx::PgConnection;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// An account was connected for the first time.
    ConnectionConnected,
    /// Its owner came back and healed it.
    ConnectionReauthorised,
    /// It was ended.
    ConnectionDisconnected,
    /// Credits were given.
    CreditsGranted,
    /// Credits were taken back, or a charge was reversed.
    CreditsAdjusted,
    /// The audit found an account that does not add up, or mended it.
    CreditsAudited,
    /// Somebody joined the waiting list.
    WaitlistJoined,
    /// Somebody was let in before the launch.
    EarlyAccessGranted,
    /// Somebody agreed to get news.
    MarketingOptedIn,
    /// Somebody wants no more news.
    MarketingUnsubscribed,
    /// A trial began.
    TrialStarted,
    /// The end of a trial was moved.
    TrialExtended,
    /// A trial was ended before its time.
    TrialEnded,
    /// A trial was over.
    TrialExpired,
    /// Somebody pays from now on.
    SubscriptionActivated,
    /// Somebody does not any more.
    SubscriptionCancelled,
}

impl Action {
    /// Returns the action as it is stored: `<resource>.<past participle>`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionConnected => "connection.connected",
            Self::ConnectionReauthorised => "connection.reauthorised",
            Self::ConnectionDisconnected => "connection.disconnected",
            Self::CreditsGranted => "credits.granted",
            Self::CreditsAdjusted => "credits.adjusted",
            Self::CreditsAudited => "credits.audited",
            Self::WaitlistJoined => "waitlist.joined",
            Self::EarlyAccessGranted => "early_access.granted",
            Self::MarketingOptedIn => "marketing.opted_in",
            Self::MarketingUnsubscribed => "marketing.unsubscribed",
            Self::TrialStarted => "trial.started",
            Self::TrialExtended => "trial.extended",
            Self::TrialEnded => "trial.ended",
            Self::TrialExpired => "trial.expired",
            Self::SubscriptionActivated => "subscription.activated",
            Self::SubscriptionCancelled => "subscription.cancelled",
        }
    }
}

/// An entry of the trail.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// What was done.
    pub action: Action,
    /// Whose thing it was done to.
    pub user: Option<UserId>,
    /// In which organisation; nothing means that of the user.
    pub organization: Option<OrganizationId>,
    /// The table of the thing.
    pub resource_type: &'a str,
    /// Its id there.
    pub resource_id: String,
    /// Who did it, and what changed; nothing secret.
    pub changes: Value,
}

/// Adds an entry.
pub async fn record(conn: &mut PgConnection, entry: &Entry<'_>) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into audit_logs (user_id, organization_id, action, resource_type, resource_id, changes)
         values ($1, coalesce($2, (select organization_id from users where id = $1)), $3, $4, $5, $6)",
        entry.user.map(|id| id.0),
        entry.organization.map(|id| id.0),
        entry.action.as_str(),
        entry.resource_type,
        entry.resource_id,
        entry.changes,
    )
    .execute(conn)
    .await?;
    Ok(())
}
