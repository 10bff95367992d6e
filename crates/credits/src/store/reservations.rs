//! `greenroom.credit_reservations`: what is set aside, and what became of it.

use std::time::Duration;

use greenroom_model::{MicroCredits, ReservationId, UsageEventId, UserId};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{ActionType, Key, ModelPrice, Reservation};

/// A reservation as it is stored.
pub(crate) struct Stored {
    pub(crate) id: ReservationId,
    pub(crate) user: UserId,
    pub(crate) action: ActionType,
    pub(crate) price: Uuid,
    pub(crate) model: Option<Box<ModelPrice>>,
    pub(crate) amount: MicroCredits,
    pub(crate) state: String,
    pub(crate) event: Option<UsageEventId>,
}

/// Opens a reservation, or opens it anew after a release or an expiry; `None` while it is held or once
/// it is settled, or when the key is somebody else's.
pub(crate) async fn hold(
    conn: &mut PgConnection,
    wish: &Reservation<'_>,
    amount: MicroCredits,
    until: Duration,
) -> Result<Option<ReservationId>, sqlx::Error> {
    let id = sqlx::query_scalar!(
        "insert into greenroom.credit_reservations as r (
             id, user_id, job_id, idempotency_key, action_type, amount, price_ref, model_price, expires_at)
         values ($1, $2, $3, $4, $5, $6::bigint * 0.000001, $7, $8, greenroom.now() + $9::bigint * interval '1 second')
         on conflict (idempotency_key) do update
            set state = 'held', resolved_at = null, job_id = excluded.job_id, amount = excluded.amount,
                price_ref = excluded.price_ref, model_price = excluded.model_price,
                expires_at = excluded.expires_at
          where r.state in ('released', 'expired')
            and r.user_id = excluded.user_id and r.action_type = excluded.action_type
         returning id",
        ReservationId::new().0,
        wish.user.0,
        wish.job.map(|job| job.0),
        wish.key.as_str(),
        wish.price.action as ActionType,
        amount.0,
        wish.price.id.to_string(),
        wish.price.model.as_deref().map(Json) as Option<Json<&ModelPrice>>,
        seconds(until),
    )
    .fetch_optional(conn)
    .await?;
    Ok(id.map(ReservationId))
}

/// Locks and returns the reservation of this key.
pub(crate) async fn by_key(conn: &mut PgConnection, key: &Key) -> Result<Stored, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"select id, user_id, action_type as "action: ActionType", price_ref::uuid as "price!", model_price as "model_price: Json<ModelPrice>",
                  (amount * 1000000)::bigint as "amount!", state, event_id
             from greenroom.credit_reservations where idempotency_key = $1 for no key update"#,
        key.as_str(),
    )
    .fetch_one(conn)
    .await
    .map(Stored::from)
}

/// Locks and returns a reservation; `None` when its person is gone.
pub(crate) async fn lock(conn: &mut PgConnection, id: ReservationId) -> Result<Option<Stored>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select id, user_id, action_type as "action: ActionType", price_ref::uuid as "price!", model_price as "model_price: Json<ModelPrice>",
                  (amount * 1000000)::bigint as "amount!", state, event_id
             from greenroom.credit_reservations where id = $1 for no key update"#,
        id.0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(Stored::from))
}

/// Lets a hold last as long as a new attempt may run.
pub(crate) async fn extend(
    conn: &mut PgConnection,
    id: ReservationId,
    until: Duration,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update greenroom.credit_reservations
            set expires_at = greatest(expires_at, greenroom.now() + $2::bigint * interval '1 second')
          where id = $1",
        id.0,
        seconds(until),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Resolves a reservation by the event that charged it.
pub(crate) async fn settled(
    conn: &mut PgConnection,
    id: ReservationId,
    event: UsageEventId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update greenroom.credit_reservations
            set state = 'settled', event_id = $2, resolved_at = greenroom.now()
          where id = $1",
        id.0,
        event.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Resolves a held reservation as not needed; returns what it had set aside, if it was held.
pub(crate) async fn released(
    conn: &mut PgConnection,
    id: ReservationId,
) -> Result<Option<MicroCredits>, sqlx::Error> {
    let amount = sqlx::query_scalar!(
        r#"update greenroom.credit_reservations
              set state = 'released', resolved_at = greenroom.now()
            where id = $1 and state = 'held'
           returning (amount * 1000000)::bigint as "amount!""#,
        id.0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(amount.map(MicroCredits))
}

/// Resolves holds whose time is over, and gives back what they set aside.
pub(crate) async fn expire(pool: &PgPool, limit: i64) -> Result<u64, sqlx::Error> {
    let expired = sqlx::query_scalar!(
        r#"with due as (
               select r.id
                 from greenroom.credit_reservations r
                where r.state = 'held' and r.expires_at <= greenroom.now()
                  -- A job that still holds a lease is still at work, however long it takes.
                  and not exists (select from background_jobs j
                                   where j.id = r.job_id and j.status = 'running'
                                     and j.leased_until > greenroom.now())
                order by r.expires_at
                limit $1
                  -- Who settles or releases at this moment is faster than the clock.
                  for no key update skip locked
           ), gone as (
               update greenroom.credit_reservations r
                  set state = 'expired', resolved_at = greenroom.now()
                 from due where r.id = due.id
               returning r.user_id, r.amount
           ), freed as (
               select user_id, sum(amount) as amount from gone group by user_id
           ), locked as (
               -- In the order of ids, so that two sweeps never wait for each other in a circle.
               select b.user_id, f.amount
                 from user_credit_balances b join freed f on f.user_id = b.user_id
                order by b.user_id for no key update of b
           ), given_back as (
               update user_credit_balances b
                  set reserved_balance = b.reserved_balance - l.amount,
                      version = b.version + 1, updated_at = greenroom.now()
                 from locked l where b.user_id = l.user_id and l.amount <> 0
           )
           select count(*) as "count!" from gone"#,
        limit,
    )
    .fetch_one(pool)
    .await?;
    Ok(expired.unsigned_abs())
}

/// Counts the reservations that nobody has resolved yet.
pub(crate) async fn held(conn: &mut PgConnection) -> Result<i64, sqlx::Error> {
    let held = sqlx::query_scalar!(
        r#"select count(*) as "n!" from greenroom.credit_reservations where state = 'held'"#
    );
    held.fetch_one(conn).await
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

struct Row {
    id: Uuid,
    user_id: Uuid,
    action: ActionType,
    price: Uuid,
    model_price: Option<Json<ModelPrice>>,
    amount: i64,
    state: String,
    event_id: Option<Uuid>,
}

impl From<Row> for Stored {
    fn from(row: Row) -> Self {
        Self {
            id: ReservationId(row.id),
            user: UserId(row.user_id),
            action: row.action,
            price: row.price,
            model: row.model_price.map(|noted| Box::new(noted.0)),
            amount: MicroCredits(row.amount),
            state: row.state,
            event: row.event_id.map(UsageEventId),
        }
    }
}
