//! Charging work whose cost is known, in the transaction that stores its results.

use greenroom_model::{MicroCredits, UsageEventId, UserId};
use sqlx::{Connection as _, PgConnection};

use crate::store::{balances, end, events, grants};
use crate::{Cost, CreditsError, Details, Key, Price};

/// What became of a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charged {
    /// The event that carries it.
    pub event: UsageEventId,
    /// What was charged for this work, now or before.
    pub credits: MicroCredits,
    /// Whether it had been charged before.
    pub repeated: bool,
}

/// Charges work under its key; the same work again is no second charge.
///
/// On an error nothing of the charge remains, and the caller must roll its own rows back as well.
pub async fn charge(
    conn: &mut PgConnection,
    user: UserId,
    key: &Key,
    price: &Price,
    cost: &Cost,
    details: &Details,
) -> Result<Charged, CreditsError> {
    // A savepoint: an event must not stay when its credits could not be taken.
    let mut tx = conn.begin().await?;
    let charged = charge_within(&mut tx, user, key, price, cost, details).await;
    end(tx, charged).await
}

async fn charge_within(
    conn: &mut PgConnection,
    user: UserId,
    key: &Key,
    price: &Price,
    cost: &Cost,
    details: &Details,
) -> Result<Charged, CreditsError> {
    let credits = balances::owed(conn, user, cost).await?;
    let event = events::NewEvent {
        user,
        action: price.action,
        key,
        charged: credits,
        cost,
        reservation: None,
        details,
        metadata: events::priced(details, price),
    };
    let Some(event) = events::insert(conn, event).await? else {
        let before = events::same_work(conn, key, user, price.action, details).await?;
        return Ok(Charged { event: before.id, credits: before.charged, repeated: true });
    };
    if credits > MicroCredits::ZERO {
        let mut spent = balances::spend(conn, user, credits).await?;
        if spent.is_none() && balances::open(conn, user).await? {
            spent = balances::spend(conn, user, credits).await?;
        }
        match spent {
            None => return Err(balances::shortage(conn, user, credits).await?.into()),
            Some(balances::Spent::Unlimited) => grants::offset(conn, user, credits, key).await?,
            Some(balances::Spent::FromBalance) => {}
        }
    }
    Ok(Charged { event, credits, repeated: false })
}
