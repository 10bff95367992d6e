//! Where a person stands with us: on the waiting list, on trial, subscribed. Each change is written with its entry in the
//! trail, and withdraws what no longer fits in the same transaction.

use chrono::{DateTime, TimeDelta, Utc};
use greenroom_accounts::audit::{self, Action, Entry};
use greenroom_model::UserId;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;

/// What can be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Joins the waiting list.
    JoinWaitlist,
    /// Agrees to get news.
    OptIn,
    /// Wants no more news.
    OptOut,
    /// Comes in before the launch.
    GrantEarlyAccess,
    /// Begins a trial of this length.
    StartTrial(TimeDelta),
    /// Moves the end of a trial; one that is over begins again if the new end is ahead.
    ExtendTrial(DateTime<Utc>),
    /// Ends a trial now.
    EndTrial,
    /// Pays from now on.
    Subscribe,
    /// Does not any more.
    Cancel,
}

/// Where a person stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Who.
    pub user_id: UserId,
    /// Their subscription: trial, active, cancelled, expired, or none.
    pub subscription_status: Option<String>,
    /// When their trial began.
    pub trial_start_date: Option<DateTime<Utc>>,
    /// When it ends.
    pub trial_end_date: Option<DateTime<Utc>>,
    /// When they joined the waiting list.
    pub joined_waiting_list_at: Option<DateTime<Utc>>,
    /// When they were let in before the launch.
    pub early_access_granted_at: Option<DateTime<Utc>>,
    /// Whether they get news.
    pub marketing_opt_in: bool,
    /// When they asked for no more.
    pub marketing_unsubscribed_at: Option<DateTime<Utc>>,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StandingError {
    /// There is no such person.
    #[error("there is no user {0}")]
    NoUser(UserId),
    /// The change does not fit where the person stands.
    #[error("{0}")]
    Conflict(&'static str),
    /// The database refused or was not there.
    #[error("a person could not be read or written: {0}")]
    Database(#[from] sqlx::Error),
}

/// Reads where a person stands.
pub async fn read(conn: &mut PgConnection, user: UserId) -> Result<Standing, StandingError> {
    let found = sqlx::query_as!(
        Standing,
        r#"select id as "user_id: UserId", subscription_status, trial_start_date, trial_end_date,
                  joined_waiting_list_at, early_access_granted_at, marketing_opt_in, marketing_unsubscribed_at
             from users where id = $1"#,
        user.0
    );
    found.fetch_optional(conn).await?.ok_or(StandingError::NoUser(user))
}

/// Changes where a person stands. What is so already stays, without an entry in the trail.
pub async fn change(
    conn: &mut PgConnection,
    user: UserId,
    change: Change,
    by: &str,
) -> Result<Standing, StandingError> {
    let row = sqlx::query!(
        r#"select subscription_status, trial_end_date, greenroom.now() as "now!" from users where id = $1 for update"#,
        user.0
    );
    let row = row.fetch_optional(&mut *conn).await?.ok_or(StandingError::NoUser(user))?;
    let before = read(conn, user).await?;
    let (status, now) = (row.subscription_status.as_deref(), row.now);
    let action = match change {
        Change::JoinWaitlist => {
            set_joined(conn, user).await?;
            Action::WaitlistJoined
        }
        Change::OptIn => {
            crate::store::mark_subscribed(conn, user).await?;
            Action::MarketingOptedIn
        }
        Change::OptOut => {
            crate::store::mark_unsubscribed(conn, user).await?;
            Action::MarketingUnsubscribed
        }
        Change::GrantEarlyAccess => {
            set_early_access(conn, user).await?;
            Action::EarlyAccessGranted
        }
        Change::StartTrial(length) => {
            if let Some("trial" | "active") = status {
                return Err(StandingError::Conflict(
                    "this person is on trial or subscribed already: extend the trial instead",
                ));
            }
            set_trial(conn, user, Some(now), now + length, "trial").await?;
            Action::TrialStarted
        }
        Change::ExtendTrial(end) => {
            if !matches!(status, Some("trial" | "expired"))
                || before.trial_start_date.is_some_and(|start| end < start)
            {
                return Err(StandingError::Conflict("there is no trial that could end then: start one"));
            }
            let status = if end > now { "trial" } else { status.unwrap_or("trial") };
            set_trial(conn, user, None, end, status).await?;
            Action::TrialExtended
        }
        Change::EndTrial => {
            if status != Some("trial") {
                return Err(StandingError::Conflict("this person is not on trial"));
            }
            let end = before.trial_end_date.unwrap_or(now).min(now);
            set_trial(conn, user, None, end.max(before.trial_start_date.unwrap_or(end)), "trial").await?;
            Action::TrialEnded
        }
        Change::Subscribe => {
            set_status(conn, user, "active").await?;
            Action::SubscriptionActivated
        }
        Change::Cancel => {
            if !matches!(status, Some("trial" | "active")) {
                return Err(StandingError::Conflict("this person is neither on trial nor subscribed"));
            }
            set_status(conn, user, "cancelled").await?;
            Action::SubscriptionCancelled
        }
    };
    let after = read(conn, user).await?;
    if after != before {
        let entry = Entry {
            action,
            user: Some(user),
            organization: None,
            resource_type: "users",
            resource_id: user.to_string(),
            changes: differences(&before, &after, by),
        };
        audit::record(conn, &entry).await?;
    }
    Ok(after)
}

/// Lists what is different, as pairs of before and after.
fn differences(before: &Standing, after: &Standing, by: &str) -> Value {
    let object = |standing| match serde_json::to_value(standing) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (before, after) = (object(before), object(after));
    let mut changes: serde_json::Map<_, _> = after
        .into_iter()
        .filter_map(|(field, value)| {
            let old = before.get(&field).cloned().unwrap_or(Value::Null);
            (old != value).then(|| (field, json!([old, value])))
        })
        .collect();
    changes.insert("by".to_owned(), by.into());
    Value::Object(changes)
}

async fn set_joined(conn: &mut PgConnection, user: UserId) -> sqlx::Result<()> {
    let joined = sqlx::query!(
        "update users set joined_waiting_list_at = greenroom.now(), updated_at = greenroom.now()
          where id = $1 and joined_waiting_list_at is null",
        user.0
    );
    joined.execute(conn).await.map(|_| ())
}

async fn set_early_access(conn: &mut PgConnection, user: UserId) -> sqlx::Result<()> {
    let granted = sqlx::query!(
        "update users set early_access_granted_at = greenroom.now(), updated_at = greenroom.now()
          where id = $1 and early_access_granted_at is null",
        user.0
    );
    granted.execute(conn).await.map(|_| ())
}

async fn set_trial(
    conn: &mut PgConnection,
    user: UserId,
    start: Option<DateTime<Utc>>,
    end: DateTime<Utc>,
    status: &str,
) -> sqlx::Result<()> {
    let set = sqlx::query!(
        "update users set trial_start_date = coalesce($2, trial_start_date), trial_end_date = $3,
                          subscription_status = $4, updated_at = greenroom.now() where id = $1",
        user.0,
        start,
        end,
        status,
    );
    set.execute(conn).await.map(|_| ())
}

async fn set_status(conn: &mut PgConnection, user: UserId, status: &str) -> sqlx::Result<()> {
    let set = sqlx::query!(
        "update users set subscription_status = $2, updated_at = greenroom.now() where id = $1",
        user.0,
        status,
    );
    set.execute(conn).await.map(|_| ())
}
