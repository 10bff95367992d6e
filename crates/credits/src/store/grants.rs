//! `greenroom.credit_grants`: everything a balance was ever given.

use chrono::{DateTime, Utc};
use greenroom_model::{MicroCredits, UserId};
use sqlx::PgConnection;

use crate::Key;

/// Grants a period's allowance, at the opening of an account and at every reset; once a period.
pub(crate) async fn monthly_allowance(
    conn: &mut PgConnection,
    user: UserId,
    amount: MicroCredits,
    period_start: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with granted as (
             insert into greenroom.credit_grants (user_id, kind, amount, period_start)
             values ($1, 'monthly_allowance', $2::bigint * 0.000001, $3)
             on conflict do nothing
             returning user_id, amount)
         update user_credit_balances b
            set current_balance = b.current_balance + g.amount,
                total_earned = b.total_earned + g.amount,
                month_start_balance = b.current_balance + g.amount,
                version = b.version + 1,
                updated_at = greenroom.now()
           from granted g
          where b.user_id = g.user_id",
        user.0,
        amount.0,
        period_start,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Matches a charge of an unlimited account, so that its balance does not move and still adds up.
///
/// A row per charge and not one a period: grants are only added to.
pub(crate) async fn offset(
    conn: &mut PgConnection,
    user: UserId,
    amount: MicroCredits,
    key: &Key,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into greenroom.credit_grants (user_id, kind, amount, period_start, idempotency_key)
         select user_id, 'unlimited_offset', $2::bigint * 0.000001, last_reset_at, 'offset:' || $3::text
           from user_credit_balances
          where user_id = $1",
        user.0,
        amount.0,
        key.as_str(),
    )
    .execute(conn)
    .await?;
    Ok(())
}
