//! Refunds: a charge is reversed by an event of its own, once, whoever asks and how often.

use greenroom_model::{MicroCredits, UsageEventId, UserId};
use sqlx::{Connection as _, PgConnection};

use crate::CreditsError;
use crate::store::end;

/// What a refund came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Refunded {
    /// The event that reverses the charge.
    pub event: UsageEventId,
    /// Whose account.
    pub user: UserId,
    /// What was given back.
    pub credits: MicroCredits,
    /// Whether it had been reversed before.
    pub repeated: bool,
}

/// Reverses a charge; again finds the same reversal.
pub async fn refund(
    conn: &mut PgConnection,
    event: UsageEventId,
    reason: &str,
) -> Result<Refunded, CreditsError> {
    let mut tx = conn.begin().await?;
    let refunded = refund_within(&mut tx, event, reason).await;
    end(tx, refunded).await
}

async fn refund_within(
    conn: &mut PgConnection,
    event: UsageEventId,
    reason: &str,
) -> Result<Refunded, CreditsError> {
    let charge = sqlx::query!(
        r#"select user_id as "user: UserId", (credits_charged * 1000000)::bigint as "credits!", reverses_event_id
             from credit_usage_events where id = $1"#,
        event.0,
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or(CreditsError::NoSuchEvent(event))?;
    if charge.reverses_event_id.is_some() || charge.credits == 0 {
        return Err(CreditsError::NothingToRefund(event));
    }
    let reversal = sqlx::query_scalar!(
        r#"insert into credit_usage_events (id, user_id, action_type, description, credits_charged, resource_type,
                                            resource_id, model_used, event_metadata, reverses_event_id, idempotency_key)
           select $2, user_id, action_type, 'Refund: ' || $3::text, -credits_charged, resource_type, resource_id,
                  model_used, jsonb_build_object('reason', $3::text), id, 'refund:' || id
             from credit_usage_events where id = $1
           on conflict do nothing
           returning id as "id: UsageEventId""#,
        event.0,
        UsageEventId::new().0,
        reason,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let (user, credits) = (charge.user, MicroCredits(charge.credits));
    let Some(reversal) = reversal else {
        let before = sqlx::query_scalar!(
            r#"select id as "id: UsageEventId" from credit_usage_events where reverses_event_id = $1"#,
            event.0
        );
        let before = before.fetch_one(conn).await?;
        return Ok(Refunded { event: before, user, credits, repeated: true });
    };
    // What an unlimited account was charged was given to it in the same breath: so is it taken back.
    let offset = sqlx::query_scalar!(
        r#"with offset_taken as (
               insert into greenroom.credit_grants (user_id, kind, amount, period_start, idempotency_key)
               select g.user_id, 'unlimited_offset', -g.amount, g.period_start, 'refund:' || $1::uuid
                 from greenroom.credit_grants g
                 join credit_usage_events e on g.idempotency_key = 'offset:' || e.idempotency_key
                where e.id = $1
               returning amount)
           select coalesce((sum(amount) * 1000000)::bigint, 0) as "offset!" from offset_taken"#,
        event.0,
    )
    .fetch_one(&mut *conn)
    .await?;
    sqlx::query!(
        "update user_credit_balances b
            set current_balance = b.current_balance + c + o, total_earned = b.total_earned + o,
                total_consumed = b.total_consumed - c,
                -- Of an earlier period it is no part of this one.
                current_month_consumed = b.current_month_consumed
                    - case when exists (select from credit_usage_events e where e.id = $4 and e.created_at >= b.last_reset_at)
                           then c else 0 end,
                version = b.version + 1, updated_at = greenroom.now()
           from (select $2::bigint * 0.000001 as c, $3::bigint * 0.000001 as o) move
          where b.user_id = $1",
        user.0,
        credits.0,
        offset,
        event.0,
    )
    .execute(conn)
    .await?;
    Ok(Refunded { event: reversal, user, credits, repeated: false })
}
