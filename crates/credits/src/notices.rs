//! Notices: that credits run low, and that they are used up, each once a period; and to admins, that accounts do not
//! add up.

use std::time::Duration;

use chrono::{DateTime, Utc};
use greenroom_mail::{Notice, notify, tell_admins};
use greenroom_model::UserId;
use serde_json::json;
use sqlx::PgConnection;

use crate::{CreditsError, InsufficientCredits};

/// After which it is too late to tell.
const LASTS: Duration = Duration::from_hours(7 * 24);

/// Tells a person that the account has less left than its threshold, in the transaction of the charge.
///
/// The flag keeps it from being told again until a reset or a grant lifts the account above that.
pub(crate) async fn low(conn: &mut PgConnection, user: UserId) -> Result<(), CreditsError> {
    let low = sqlx::query!(
        r#"update user_credit_balances set low_balance_notified = true
            where user_id = $1 and not low_balance_notified
        returning version, (current_balance - reserved_balance)::text as "available!", next_reset_at"#,
        user.0,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(low) = low else { return Ok(()) };
    let notice = Notice {
        step: "credits_low",
        occurrence: &format!("{}:{}", low.next_reset_at.to_rfc3339(), low.version),
        params: json!({"available": low.available, "next_reset_on": day(low.next_reset_at)}),
        lasts: LASTS,
    };
    notify(conn, user, &notice).await?;
    Ok(())
}

/// Tells a person, once a period, that work was refused for want of credits.
pub(crate) async fn exhausted(
    conn: &mut PgConnection,
    user: UserId,
    short: &InsufficientCredits,
) -> Result<(), CreditsError> {
    let notice = Notice {
        step: "credits_exhausted",
        occurrence: &short.next_reset_at.to_rfc3339(),
        params: json!({
            "needed": short.needed.to_string(), "available": short.available.to_string(),
            "next_reset_on": day(short.next_reset_at),
        }),
        lasts: LASTS,
    };
    notify(conn, user, &notice).await?;
    Ok(())
}

/// Tells every admin that the night's audit has found something; once a day, however often it is run.
pub(crate) async fn discrepancies(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
    accounts: u64,
    discrepancies: u64,
) -> Result<(), CreditsError> {
    let notice = Notice {
        step: "credits_discrepancies",
        occurrence: &now.date_naive().to_string(),
        params: json!({"accounts": accounts, "discrepancies": discrepancies}),
        lasts: LASTS,
    };
    tell_admins(conn, &notice).await?;
    Ok(())
}

/// Writes a day as people read it.
fn day(instant: DateTime<Utc>) -> String {
    instant.format("%A, %-d %B %Y").to_string()
}
