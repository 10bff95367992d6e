//! `user_credit_balances`: the cached balance. Its row is the last lock before a commit.

use chrono::{DateTime, Utc};
use greenroom_model::{MicroCredits, UserId};
use sqlx::{Connection as _, PgConnection};

use super::grants;
use crate::notices;
use crate::{Cost, CreditsError, InsufficientCredits};

/// What an account has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// What it has, reserved or not.
    pub current: MicroCredits,
    /// What is set aside of it.
    pub reserved: MicroCredits,
    /// What it is given every month.
    pub monthly_allowance: MicroCredits,
    /// What it has spent since the last reset.
    pub spent_this_month: MicroCredits,
    /// When the next allowance comes.
    pub next_reset_at: DateTime<Utc>,
    /// Whether it is charged without being limited.
    pub is_unlimited: bool,
}

impl Balance {
    /// Returns what may be spent now; for an unlimited account, what could be if it were limited.
    pub fn available(&self) -> MicroCredits {
        MicroCredits((self.current.0 - self.reserved.0).max(0))
    }

    /// Returns how much of what is owed can be charged, once `freed` is no longer set aside.
    pub(crate) fn collectable(&self, owed: MicroCredits, freed: MicroCredits) -> MicroCredits {
        if self.is_unlimited {
            return owed;
        }
        let available = (self.current.0 - self.reserved.0 + freed.0).max(0);
        MicroCredits(owed.0.min(available))
    }
}

/// Opens a person's account with the first allowance; returns whether it was opened now.
pub async fn open(conn: &mut PgConnection, user: UserId) -> Result<bool, CreditsError> {
    must_exist(conn, user).await?;
    let mut tx = conn.begin().await?;
    let opened = sqlx::query!(
        r#"insert into user_credit_balances (user_id) values ($1)
           on conflict (user_id) do nothing
           returning (monthly_allowance * 1000000)::bigint as "allowance!", last_reset_at"#,
        user.0,
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(opened) = opened else { return Ok(false) };
    grants::monthly_allowance(&mut tx, user, MicroCredits(opened.allowance), opened.last_reset_at).await?;
    tx.commit().await?;
    Ok(true)
}

/// Returns what a person's account has, if it was opened.
pub async fn get(conn: &mut PgConnection, user: UserId) -> Result<Option<Balance>, CreditsError> {
    let row = sqlx::query_as!(
        Row,
        r#"select (current_balance * 1000000)::bigint as "current!",
                  (reserved_balance * 1000000)::bigint as "reserved!",
                  (monthly_allowance * 1000000)::bigint as "monthly_allowance!",
                  (current_month_consumed * 1000000)::bigint as "spent_this_month!",
                  next_reset_at, is_unlimited
             from user_credit_balances where user_id = $1"#,
        user.0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(Balance::from))
}

/// Locks a person's account until the end of the transaction and returns what it has.
pub(crate) async fn lock(conn: &mut PgConnection, user: UserId) -> Result<Option<Balance>, CreditsError> {
    let row = sqlx::query_as!(
        Row,
        r#"select (current_balance * 1000000)::bigint as "current!",
                  (reserved_balance * 1000000)::bigint as "reserved!",
                  (monthly_allowance * 1000000)::bigint as "monthly_allowance!",
                  (current_month_consumed * 1000000)::bigint as "spent_this_month!",
                  next_reset_at, is_unlimited
             from user_credit_balances where user_id = $1 for no key update"#,
        user.0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(Balance::from))
}

/// Sets at which part of the allowance an account's owner is told, in percent; 0 is never. Returns whether there is such
/// an account.
pub async fn set_low_balance_percent(
    conn: &mut PgConnection,
    user: UserId,
    percent: u8,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update user_credit_balances
            set low_balance_percent = $2::smallint, version = version + 1, updated_at = greenroom.now(),
                -- Who is above the new threshold may be told once more.
                low_balance_notified = low_balance_notified
                    and current_balance - reserved_balance < monthly_allowance * $2::smallint / 100
          where user_id = $1",
        user.0,
        i16::from(percent),
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// From where a charge was taken.
pub(crate) enum Spent {
    FromBalance,
    Unlimited,
}

/// Takes credits, if they are there.
pub(crate) async fn spend(
    conn: &mut PgConnection,
    user: UserId,
    credits: MicroCredits,
) -> Result<Option<Spent>, CreditsError> {
    let spent = sqlx::query!(
        r#"update user_credit_balances
            set current_balance = current_balance - case when is_unlimited then 0 else c end,
                total_earned = total_earned + case when is_unlimited then c else 0 end,
                total_consumed = total_consumed + c,
                current_month_consumed = current_month_consumed + c,
                version = version + 1,
                updated_at = greenroom.now()
           from (select $2::bigint * 0.000001 as c) charge
          where user_id = $1 and (is_unlimited or current_balance - reserved_balance >= c)
         returning is_unlimited, not low_balance_notified and not is_unlimited
                   and current_balance - reserved_balance < monthly_allowance * low_balance_percent / 100 as "runs_low!""#,
        user.0,
        credits.0,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(spent) = spent else { return Ok(None) };
    if spent.runs_low {
        notices::low(conn, user).await?;
    }
    Ok(Some(if spent.is_unlimited { Spent::Unlimited } else { Spent::FromBalance }))
}

/// Sets credits aside, if they are there.
pub(crate) async fn reserve(
    conn: &mut PgConnection,
    user: UserId,
    credits: MicroCredits,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update user_credit_balances
            set reserved_balance = reserved_balance + r, version = version + 1, updated_at = greenroom.now()
           from (select $2::bigint * 0.000001 as r) hold
          where user_id = $1 and (is_unlimited or current_balance - reserved_balance >= r)",
        user.0,
        credits.0,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives back what was set aside.
pub(crate) async fn free(
    conn: &mut PgConnection,
    user: UserId,
    credits: MicroCredits,
) -> Result<(), CreditsError> {
    settle(conn, user, credits, MicroCredits::ZERO).await
}

/// Gives back what was set aside and takes what the work did cost.
pub(crate) async fn settle(
    conn: &mut PgConnection,
    user: UserId,
    freed: MicroCredits,
    charged: MicroCredits,
) -> Result<(), CreditsError> {
    let runs_low = sqlx::query_scalar!(
        r#"update user_credit_balances
            set reserved_balance = reserved_balance - f,
                current_balance = current_balance - case when is_unlimited then 0 else c end,
                total_earned = total_earned + case when is_unlimited then c else 0 end,
                total_consumed = total_consumed + c,
                current_month_consumed = current_month_consumed + c,
                version = version + 1,
                updated_at = greenroom.now()
           from (select $2::bigint * 0.000001 as f, $3::bigint * 0.000001 as c) move
          where user_id = $1 and (f <> 0 or c <> 0)
         returning not low_balance_notified and not is_unlimited
                   and current_balance - reserved_balance < monthly_allowance * low_balance_percent / 100 as "runs_low!""#,
        user.0,
        freed.0,
        charged.0,
    )
    .fetch_optional(&mut *conn)
    .await?;
    if charged > MicroCredits::ZERO && runs_low == Some(true) {
        notices::low(conn, user).await?;
    }
    Ok(())
}

/// Says what is missing.
pub(crate) async fn shortage(
    conn: &mut PgConnection,
    user: UserId,
    needed: MicroCredits,
) -> Result<InsufficientCredits, CreditsError> {
    let balance = get(conn, user).await?.ok_or(CreditsError::UserNotFound(user))?;
    Ok(InsufficientCredits { needed, available: balance.available(), next_reset_at: balance.next_reset_at })
}

/// Returns what the work costs this person: nothing while they look at a demo.
pub(crate) async fn owed(
    conn: &mut PgConnection,
    user: UserId,
    cost: &Cost,
) -> Result<MicroCredits, CreditsError> {
    Ok(if is_demo(conn, user).await? { MicroCredits::ZERO } else { cost.credits() })
}

/// Returns whether the person looks at a demo now.
pub(crate) async fn is_demo(conn: &mut PgConnection, user: UserId) -> Result<bool, CreditsError> {
    sqlx::query_scalar!(
        r#"select coalesce(demo_mode_status = 'active', false) as "demo!" from users where id = $1"#,
        user.0,
    )
    .fetch_optional(conn)
    .await?
    .ok_or(CreditsError::UserNotFound(user))
}

/// Refuses a person who is not there, by name instead of by a broken foreign key.
pub(crate) async fn must_exist(conn: &mut PgConnection, user: UserId) -> Result<(), CreditsError> {
    is_demo(conn, user).await.map(|_| ())
}

struct Row {
    current: i64,
    reserved: i64,
    monthly_allowance: i64,
    spent_this_month: i64,
    next_reset_at: DateTime<Utc>,
    is_unlimited: bool,
}

impl From<Row> for Balance {
    fn from(row: Row) -> Self {
        Self {
            current: MicroCredits(row.current),
            reserved: MicroCredits(row.reserved),
            monthly_allowance: MicroCredits(row.monthly_allowance),
            spent_this_month: MicroCredits(row.spent_this_month),
            next_reset_at: row.next_reset_at,
            is_unlimited: row.is_unlimited,
        }
    }
}
