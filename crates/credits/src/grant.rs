//! Grants by hand: a bonus, a purchase, or a clawback of either.

use greenroom_model::{MicroCredits, UserId};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::store::{balances, end};
use crate::{CreditsError, InsufficientCredits};

/// Why credits are given or taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantKind {
    /// Given for nothing; it never expires.
    Bonus,
    /// Bought; it never expires.
    Purchase,
    /// Taken back.
    Clawback,
}

impl GrantKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Bonus => "bonus",
            Self::Purchase => "purchase",
            Self::Clawback => "clawback",
        }
    }
}

/// Credits to give, or to take back.
#[derive(Clone, Debug)]
pub struct Grant<'a> {
    /// Whose account.
    pub user: UserId,
    /// Why.
    pub kind: GrantKind,
    /// How much, above nothing; of a clawback it is taken.
    pub amount: MicroCredits,
    /// Why, in words.
    pub reason: &'a str,
    /// Who does it, if that is a person.
    pub actor: Option<Uuid>,
    /// Names it: the same again gives nothing more.
    pub key: &'a str,
}

/// What came of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Given {
    /// The grant.
    pub id: Uuid,
    /// Whether it had been given before.
    pub repeated: bool,
}

/// Gives credits, opening the account where there is none; or takes them back, as far as they are not set aside.
pub async fn grant(conn: &mut PgConnection, new: &Grant<'_>) -> Result<Given, CreditsError> {
    if new.amount <= MicroCredits::ZERO {
        return Err(CreditsError::Amount);
    }
    let mut tx = conn.begin().await?;
    let given = grant_within(&mut tx, new).await;
    end(tx, given).await
}

async fn grant_within(conn: &mut PgConnection, new: &Grant<'_>) -> Result<Given, CreditsError> {
    balances::open(conn, new.user).await?;
    let amount = if new.kind == GrantKind::Clawback { -new.amount.0 } else { new.amount.0 };
    let id = sqlx::query_scalar!(
        "insert into greenroom.credit_grants (user_id, kind, amount, reason, actor_id, idempotency_key)
         values ($1, $2, $3::bigint * 0.000001, $4, $5, $6)
         on conflict (idempotency_key) where idempotency_key is not null do nothing returning id",
        new.user.0,
        new.kind.as_str(),
        amount,
        new.reason,
        new.actor,
        new.key,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(id) = id else { return before(conn, new, amount).await };
    let balance = balances::lock(conn, new.user).await?.ok_or(CreditsError::UserNotFound(new.user))?;
    if amount < 0 && !balance.is_unlimited && balance.available() < new.amount {
        let (needed, available) = (new.amount, balance.available());
        return Err(InsufficientCredits { needed, available, next_reset_at: balance.next_reset_at }.into());
    }
    sqlx::query!(
        "update user_credit_balances
            set current_balance = current_balance + a, total_earned = total_earned + a, version = version + 1,
                -- Lifted above its threshold, it may run low once more.
                low_balance_notified = low_balance_notified and current_balance + a - reserved_balance
                    < monthly_allowance * low_balance_percent / 100,
                updated_at = greenroom.now()
           from (select $2::bigint * 0.000001 as a) given
          where user_id = $1",
        new.user.0,
        amount,
    )
    .execute(conn)
    .await?;
    Ok(Given { id, repeated: false })
}

/// Returns the grant that has this name, which must be the same one.
async fn before(conn: &mut PgConnection, new: &Grant<'_>, amount: i64) -> Result<Given, CreditsError> {
    let row = sqlx::query!(
        r#"select id, user_id as "user: UserId", kind, (amount * 1000000)::bigint as "amount!"
             from greenroom.credit_grants where idempotency_key = $1"#,
        new.key,
    )
    .fetch_one(conn)
    .await?;
    if (row.user, row.kind.as_str(), row.amount) == (new.user, new.kind.as_str(), amount) {
        Ok(Given { id: row.id, repeated: true })
    } else {
        Err(CreditsError::GrantKeyReuse(new.key.to_owned()))
    }
}
