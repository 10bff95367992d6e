//! `credit_usage_events` as people look at them.

use chrono::{DateTime, Utc};
use greenroom_model::{UsageEventId, UserId};
use sqlx::PgConnection;

use crate::ActionType;

/// An event.
#[derive(Clone, Debug, serde::Serialize)]
pub struct UsageEvent {
    /// Its id.
    pub id: UsageEventId,
    /// Whose.
    pub user_id: UserId,
    /// What was done.
    pub action: ActionType,
    /// In words.
    pub description: Option<String>,
    /// What was charged, in credits, as an exact decimal; below zero for a refund.
    pub credits: String,
    /// The table of the thing it was about.
    pub resource_type: Option<String>,
    /// Its id there.
    pub resource_id: Option<String>,
    /// The model that was called.
    pub model: Option<String>,
    /// Why it was free, the price it was charged by, and whatever else an auditor needs.
    pub metadata: serde_json::Value,
    /// The event that it reverses.
    pub reverses: Option<UsageEventId>,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// Lists a person's events, newest first, those before the given one.
pub async fn list(
    conn: &mut PgConnection,
    user: UserId,
    action: Option<ActionType>,
    before: Option<UsageEventId>,
    limit: u16,
) -> sqlx::Result<Vec<UsageEvent>> {
    sqlx::query_as!(
        UsageEvent,
        r#"select id as "id: UsageEventId", user_id as "user_id: UserId", action_type as "action: ActionType", description,
                  credits_charged::text as "credits!", resource_type, resource_id, model_used as model,
                  event_metadata as metadata, reverses_event_id as "reverses: UsageEventId", created_at
             from credit_usage_events
            where user_id = $1 and ($2::credit_action_type is null or action_type = $2)
              and ($3::uuid is null
                   or (created_at, id) < (select b.created_at, b.id from credit_usage_events b where b.id = $3))
            order by created_at desc, id desc limit $4"#,
        user.0,
        action as Option<ActionType>,
        before.map(|id| id.0),
        i64::from(limit),
    )
    .fetch_all(conn)
    .await
}
