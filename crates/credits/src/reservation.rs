//! Reservations: credits set aside before the first outside call, resolved exactly once.
//!
//! ```text
//! reserve ──► held ──► settled     the results are stored: charged what it cost
//!              │  └──► released    it was not done; the same key may reserve again
//!              └─────► expired     its job is gone; a settlement that comes late still counts
//! ```

use std::time::Duration;

use greenroom_model::{JobId, MicroCredits, ReservationId, UsageEventId, UserId};
use sqlx::{Connection as _, PgConnection, PgPool};

use crate::notices;
use crate::store::{balances, end, events, grants, prices, reservations};
use crate::{Cost, CreditsError, Details, Key, Price};

/// How long a hold outlives the job it was made for.
const GRACE: Duration = Duration::from_mins(10);

/// A wish to set credits aside.
#[derive(Clone, Copy, Debug)]
pub struct Reservation<'a> {
    /// Who pays.
    pub user: UserId,
    /// The job that does the work; while it runs, the hold does not expire.
    pub job: Option<JobId>,
    /// The work's name.
    pub key: &'a Key,
    /// The price that applies, however long the work takes.
    pub price: &'a Price,
    /// What the work costs, or at most costs.
    pub amount: MicroCredits,
    /// How long the job may run; the hold lasts ten minutes longer.
    pub timeout: Duration,
}

/// Credits that are set aside for one piece of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The reservation.
    pub id: ReservationId,
    /// Who pays.
    pub user: UserId,
    /// The work's name.
    pub key: Key,
    /// The price it was reserved at.
    pub price: Price,
    /// What is set aside.
    pub amount: MicroCredits,
}

/// What reserving came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// Credits are set aside, now or by an earlier attempt.
    Held(Hold),
    /// This work was settled before.
    Settled(Settled),
}

/// How a reservation was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The event that carries the charge.
    pub event: UsageEventId,
    /// What was charged.
    pub credits: MicroCredits,
    /// What the work cost beyond what could be collected.
    pub uncollected: MicroCredits,
    /// Whether it had been settled before.
    pub repeated: bool,
}

/// Sets credits aside in a transaction of its own, or says what is missing.
///
/// The same key finds the hold of an earlier attempt, reserves anew after a release, and returns the
/// result once it is settled.
pub async fn reserve(pool: &PgPool, wish: &Reservation<'_>) -> Result<Reserved, CreditsError> {
    let mut tx = pool.begin().await?;
    let reserved = reserve_within(&mut tx, wish).await;
    let reserved = end(tx, reserved).await;
    if let Err(CreditsError::Insufficient(short)) = &reserved {
        notices::exhausted(&mut *pool.acquire().await?, wish.user, short).await?;
    }
    reserved
}

async fn reserve_within(conn: &mut PgConnection, wish: &Reservation<'_>) -> Result<Reserved, CreditsError> {
    let amount = if balances::is_demo(conn, wish.user).await? { MicroCredits::ZERO } else { wish.amount };
    let until = wish.timeout + GRACE;
    let Some(id) = reservations::hold(conn, wish, amount, until).await? else {
        return found(conn, wish, until).await;
    };
    if amount > MicroCredits::ZERO {
        let mut reserved = balances::reserve(conn, wish.user, amount).await?;
        if !reserved && balances::open(conn, wish.user).await? {
            reserved = balances::reserve(conn, wish.user, amount).await?;
        }
        if !reserved {
            return Err(balances::shortage(conn, wish.user, amount).await?.into());
        }
    }
    let (key, price) = (wish.key.clone(), wish.price.clone());
    Ok(Reserved::Held(Hold { id, user: wish.user, key, price, amount }))
}

/// Says what an earlier attempt under the same key has left.
async fn found(
    conn: &mut PgConnection,
    wish: &Reservation<'_>,
    until: Duration,
) -> Result<Reserved, CreditsError> {
    let row = reservations::by_key(conn, wish.key).await?;
    if row.user != wish.user || row.action != wish.price.action {
        return Err(CreditsError::KeyReuse { key: wish.key.clone() });
    }
    if let Some(event) = row.event {
        return Ok(Reserved::Settled(settled_before(conn, event).await?));
    }
    reservations::extend(conn, row.id, until).await?;
    let price = Price { model: row.model, ..prices::by_id(conn, row.price).await? };
    Ok(Reserved::Held(Hold { id: row.id, user: row.user, key: wish.key.clone(), price, amount: row.amount }))
}

/// Charges what the work did cost, in the transaction that stores its results.
///
/// Finished work never fails here for want of credits: what cannot be collected is recorded.
pub async fn settle(
    conn: &mut PgConnection,
    hold: &Hold,
    cost: &Cost,
    details: &Details,
) -> Result<Settled, CreditsError> {
    // One transaction, or a savepoint of the caller's: the locks below must last until the end.
    let mut tx = conn.begin().await?;
    let settled = settle_within(&mut tx, hold, cost, details).await;
    end(tx, settled).await
}

async fn settle_within(
    conn: &mut PgConnection,
    hold: &Hold,
    cost: &Cost,
    details: &Details,
) -> Result<Settled, CreditsError> {
    let row = reservations::lock(conn, hold.id).await?.ok_or(CreditsError::UserNotFound(hold.user))?;
    let freed = match (row.state.as_str(), row.event) {
        (_, Some(event)) => return settled_before(conn, event).await,
        ("held", None) => row.amount,
        ("expired", None) => MicroCredits::ZERO,
        _ => {
            return Err(CreditsError::ReservationResolved { reservation: hold.id, state: row.state });
        }
    };
    if let Some(event) = events::by_key(conn, &hold.key).await? {
        // The same work was charged outright: nothing more is owed than giving back what was set aside.
        let before = event.must_be_of(&hold.key, hold.user, hold.price.action, details)?;
        balances::free(conn, hold.user, freed).await?;
        reservations::settled(conn, hold.id, before.id).await?;
        return Ok(before.settled(true));
    }
    let owed = balances::owed(conn, hold.user, cost).await?;
    let mut standing = balances::lock(conn, hold.user).await?;
    if standing.is_none() && owed > MicroCredits::ZERO && balances::open(conn, hold.user).await? {
        standing = balances::lock(conn, hold.user).await?;
    }
    let credits = standing.map_or(MicroCredits::ZERO, |s| s.collectable(owed, freed));
    let uncollected = MicroCredits(owed.0 - credits.0);
    let mut metadata = events::priced(details, &hold.price);
    if uncollected > MicroCredits::ZERO {
        metadata.insert(events::UNCOLLECTED.to_owned(), uncollected.to_string().into());
        metrics::counter!("greenroom_credits_uncollected_micro_total", "action_type" => hold.price.action.as_str())
            .increment(uncollected.0.unsigned_abs());
    }
    let event = events::NewEvent {
        user: hold.user,
        action: hold.price.action,
        key: &hold.key,
        charged: credits,
        cost,
        reservation: Some(hold.id),
        details,
        metadata,
    };
    let event =
        events::insert(conn, event).await?.ok_or_else(|| CreditsError::KeyReuse { key: hold.key.clone() })?;
    if let Some(standing) = standing {
        balances::settle(conn, hold.user, freed, credits).await?;
        if standing.is_unlimited && credits > MicroCredits::ZERO {
            grants::offset(conn, hold.user, credits, &hold.key).await?;
        }
    }
    reservations::settled(conn, hold.id, event).await?;
    Ok(Settled { event, credits, uncollected, repeated: false })
}

async fn settled_before(conn: &mut PgConnection, event: UsageEventId) -> Result<Settled, CreditsError> {
    Ok(events::by_id(conn, event).await?.settled(true))
}

/// Gives back what was set aside for work that was not done; again is no harm.
pub async fn release(conn: &mut PgConnection, hold: &Hold) -> Result<(), CreditsError> {
    let mut tx = conn.begin().await?;
    let released = release_within(&mut tx, hold).await;
    end(tx, released).await
}

async fn release_within(conn: &mut PgConnection, hold: &Hold) -> Result<(), CreditsError> {
    if let Some(amount) = reservations::released(conn, hold.id).await? {
        balances::free(conn, hold.user, amount).await?;
    } else if let Some(row) = reservations::lock(conn, hold.id).await?
        && row.event.is_some()
    {
        return Err(CreditsError::ReservationResolved { reservation: hold.id, state: row.state });
    }
    Ok(())
}

/// Frees holds whose time is over and whose job no longer runs; returns how many.
///
/// Takes up to `limit` at a time: call it until it returns less.
pub async fn expire(pool: &PgPool, limit: i64) -> Result<u64, CreditsError> {
    Ok(reservations::expire(pool, limit).await?)
}
