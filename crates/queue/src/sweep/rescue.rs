//! What nobody holds any more, by the leases.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::fingerprint;

/// Crashes after which a job is taken for the cause of them.
const CRASHES_TO_QUARANTINE: i32 = 3;

/// What a rescue found.
pub(super) struct Rescued {
    pub(super) count: u64,
    pub(super) queues: Vec<String>,
    /// The instant up to which leases were looked at.
    pub(super) now: DateTime<Utc>,
}

/// Puts back what nobody renews, or quarantines it after its last crash.
///
/// `floor` spares the scan the dead entries of leases that were looked at before, while a held snapshot
/// keeps them; what was locked then is found without it.
pub(super) async fn rescue(
    conn: &mut PgConnection,
    batch: i64,
    floor: Option<DateTime<Utc>>,
) -> Result<Rescued, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        with expired as (
            select id, worker_id from background_jobs
             where status = 'running' and leased_until < greenroom.now() and leased_until >= coalesce($4::timestamptz, '-infinity')
             order by leased_until limit $1 for update skip locked
        ), rescued as (
            update background_jobs b
               set crashes = b.crashes + 1,
                   attempt = b.attempt - 1,   -- a crash is not the handler's failure
                   status = case when b.cancel_requested_at is null and b.crashes + 1 < $2 then 'pending' else 'failed' end,
                   failure = case when b.cancel_requested_at is not null then 'cancelled'
                                  when b.crashes + 1 >= $2 then 'quarantined' end,
                   completed_at = case when b.cancel_requested_at is not null or b.crashes + 1 >= $2
                                       then greenroom.now() end,
                   error_message = case
                       when b.cancel_requested_at is not null then 'cancelled by an operator'
                       when b.crashes + 1 >= $2
                       then 'quarantined: its worker died ' || (b.crashes + 1) || ' times while it ran'
                       else 'its worker died or lost its lease' end,
                   fingerprint = case when b.cancel_requested_at is null and b.crashes + 1 >= $2
                                      then hashtextextended(b.job_type, $3) else b.fingerprint end,
                   lease_token = null, leased_until = null, updated_at = greenroom.now()
              from expired where b.id = expired.id
            returning b.id, b.lane, b.queue, b.pool, b.rank, b.attempt, b.job_type, b.payload, b.started_at,
                      b.failure, b.error_message, expired.worker_id
        ), noted as (
            insert into greenroom.attempts (job_id, attempt, outcome, error, fingerprint, worker_id, started_at)
            select id, attempt, coalesce(failure, 'crashed'), error_message,
                   case when failure is distinct from 'cancelled' then hashtextextended(job_type, $3) end,
                   worker_id, started_at from rescued
        ), named as (
            select r.lane, r.queue, r.pool, coalesce(r.rank, 0) as rank, k.lane_cap,
                   greenroom.lane_key(k.lane_field, r.payload, r.id) as key
              from rescued r left join greenroom.kinds k on k.kind = r.job_type
        )
        select count(*) as "count!", greenroom.now() as "now!", coalesce(array_agg(distinct queue), '{}') as "queues!",
               greenroom.wake(array_agg(lane), array_agg(queue), array_agg(pool), array_agg(key), array_agg(lane_cap), array_agg(rank))
          from named
        "#,
        batch,
        CRASHES_TO_QUARANTINE,
        fingerprint::CRASH,
        floor,
    )
    .fetch_one(conn)
    .await?;
    Ok(Rescued { count: row.count.unsigned_abs(), queues: row.queues, now: row.now })
}
