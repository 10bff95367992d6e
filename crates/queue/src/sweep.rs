//! The sweeper: promotes what has become due, rescues what nobody holds any more, wakes lanes that a
//! late commit or a lost wake left asleep. One leader, small batches, every second.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::batch::{HeldCursor, release};
use crate::claim::timed;
use crate::collect::Collector;
use crate::enqueue::prune_periods;
use crate::prune::Pruner;
use crate::wake::notify;
use crate::{Leader, QueueError, Settings, fingerprint, workers};

/// Crashes after which a job is taken for the cause of them.
const CRASHES_TO_QUARANTINE: i32 = 3;

/// What one sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Jobs whose time had come.
    pub promoted: u64,
    /// Held jobs whose batch was over.
    pub released: u64,
    /// Jobs whose worker had let their lease run out.
    pub rescued: u64,
    /// Lanes that slept on work.
    pub woken: u64,
}

/// Sweeps one batch of each kind. Safe with any number at work at once.
pub async fn sweep(pool: &PgPool, settings: &Settings) -> Result<Swept, QueueError> {
    let mut cursor = i64::MIN;
    sweep_from(pool, settings, &mut cursor, &mut HeldCursor::default()).await
}

async fn sweep_from(
    pool: &PgPool,
    settings: &Settings,
    cursor: &mut i64,
    held: &mut HeldCursor,
) -> Result<Swept, QueueError> {
    let (limit, batch) = (settings.statement_timeout(), i64::from(settings.batch));
    // On one connection: a pool asks the server about each that it lends.
    let (promoted, released, mut queues) = timed(pool, limit, async |conn: &mut PgConnection| {
        let (promoted, mut queues) = promote(conn, batch).await?;
        let (released, of_released) = release(conn, held).await?;
        adopt(conn, batch).await?;
        queues.extend(of_released);
        Ok((promoted, released, queues))
    })
    .await?;
    let unblocked = timed(pool, limit, async |conn: &mut PgConnection| {
        crate::pool::renew_windows(conn).await?;
        let mut queues = crate::breaker::half_open(conn, batch).await?;
        queues.extend(crate::pause::put_back(conn, batch).await?);
        Ok(queues)
    })
    .await?;
    queues.extend(unblocked);
    let (rescued, of_rescued) =
        timed(pool, limit, async |conn: &mut PgConnection| rescue(conn, batch).await).await?;
    let after = *cursor;
    let (woken, last, of_woken) =
        timed(pool, limit, async |conn: &mut PgConnection| wake_sleepers(conn, batch, after).await).await?;
    *cursor = last;
    queues.extend(of_rescued);
    queues.extend(of_woken);
    if !queues.is_empty() {
        queues.sort();
        queues.dedup();
        timed(pool, limit, async |conn: &mut PgConnection| notify(conn, &queues).await).await?;
    }
    Ok(Swept { promoted, released, rescued, woken })
}

async fn promote(conn: &mut PgConnection, batch: i64) -> Result<(u64, Vec<String>), sqlx::Error> {
    let row = sqlx::query!(
        r#"
        with due as (
            select id from background_jobs
             where status = 'pending' and rank is null and held is null and run_at <= greenroom.now()
             order by run_at limit $1 for update skip locked
        ), promoted as (
            update background_jobs b set rank = greenroom.job_rank(b.run_at, b.priority)
              from due where b.id = due.id
            returning b.id, b.lane, b.queue, b.pool, b.rank, b.job_type, b.payload
        ), named as (
            select p.lane, p.queue, p.pool, p.rank, k.lane_cap,
                   greenroom.lane_key(k.lane_field, p.payload, p.id) as key
              from promoted p left join greenroom.kinds k on k.kind = p.job_type
        )
        select count(*) as "count!", coalesce(array_agg(distinct queue), '{}') as "queues!",
               greenroom.wake(array_agg(lane), array_agg(queue), array_agg(pool), array_agg(key), array_agg(lane_cap), array_agg(rank))
          from named
        "#,
        batch
    )
    .fetch_one(conn)
    .await?;
    Ok((row.count.unsigned_abs(), row.queues))
}

/// Gives jobs that plain SQL enqueued before their kind was declared what the trigger could not.
async fn adopt(conn: &mut PgConnection, batch: i64) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        with orphans as (
            select b.id, k.kind, k.queue, k.pool, k.max_attempts, k.priority,
                   greenroom.lane_id(k.queue, k.pool, greenroom.lane_key(k.lane_field, b.payload, b.id)) as lane
              from background_jobs b join greenroom.kinds k on k.kind = b.job_type
             where b.status = 'pending' and b.rank is not null
               -- Found by their lanes, which the claim's index has.
               and b.lane in (select greenroom.lane_id('unassigned', '', 'stripe:' || n) from generate_series(0, 7) n)
             limit $1 for update of b skip locked
        )
        update background_jobs b
           set queue = o.queue, pool = o.pool, lane = o.lane, max_attempts = o.max_attempts, priority = o.priority,
               rank = greenroom.job_rank(b.run_at, o.priority), updated_at = greenroom.now()
          from orphans o where b.id = o.id
        "#,
        batch
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn rescue(conn: &mut PgConnection, batch: i64) -> Result<(u64, Vec<String>), sqlx::Error> {
    let row = sqlx::query!(
        r#"
        with expired as (
            select id, worker_id from background_jobs
             where status = 'running' and leased_until < greenroom.now()
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
        select count(*) as "count!", coalesce(array_agg(distinct queue), '{}') as "queues!",
               greenroom.wake(array_agg(lane), array_agg(queue), array_agg(pool), array_agg(key), array_agg(lane_cap), array_agg(rank))
          from named
        "#,
        batch,
        CRASHES_TO_QUARANTINE,
        fingerprint::CRASH,
    )
    .fetch_one(conn)
    .await?;
    Ok((row.count.unsigned_abs(), row.queues))
}

/// Walks the lanes with ready jobs, a batch a sweep, by hopping from one lane's first job to the next
/// lane's; returns how many it woke, where the next sweep begins, and their queues.
async fn wake_sleepers(
    conn: &mut PgConnection,
    batch: i64,
    after: i64,
) -> Result<(u64, i64, Vec<String>), sqlx::Error> {
    let row = sqlx::query!(
        r#"
        with recursive first_jobs as (
            (select id, lane, rank, queue, pool, job_type, payload from background_jobs
              where status = 'pending' and rank is not null and lane > $1 order by lane, rank limit 1)
            union all
            select next.* from first_jobs f cross join lateral (
                select id, lane, rank, queue, pool, job_type, payload from background_jobs
                 where status = 'pending' and rank is not null and lane > f.lane order by lane, rank limit 1) next
        ), seen as (
            select * from first_jobs limit $2
        ), asleep as (
            select s.lane, s.queue, s.pool, s.rank, k.lane_cap,
                   greenroom.lane_key(k.lane_field, s.payload, s.id) as key
              from seen s
              left join greenroom.lanes l on l.id = s.lane
              left join greenroom.kinds k on k.kind = s.job_type
             where l.id is null
                or l.head > s.rank
                -- One that is paused or whose breaker is open sleeps rightly.
                or (not l.awake and greenroom.may_wake(l.paused, l.open_until)
                -- So does a full one: the end of one of its jobs wakes it.
                    and (l.cap is null or l.cap > (
                        select count(*) from (select from background_jobs r
                                               where r.lane = l.id and r.status = 'running' limit l.cap) running)))
        )
        select (select count(*) from asleep) as "count!",
               coalesce((select array_agg(distinct queue) from asleep), '{}') as "queues!",
               (select case when count(*) < $2 then null else max(lane) end from seen) as last,
               (select greenroom.wake(array_agg(lane), array_agg(queue), array_agg(pool), array_agg(key), array_agg(lane_cap), array_agg(rank))
                  from asleep)
        "#,
        after,
        batch,
    )
    .fetch_one(conn)
    .await?;
    Ok((row.count.unsigned_abs(), row.last.unwrap_or(i64::MIN), row.queues))
}

/// Sweeps in the background while it leads.
#[derive(Debug)]
pub(crate) struct Sweeper {
    pool: PgPool,
    leader: Leader,
    settings: Settings,
    cursor: i64,
    pruner: Pruner,
    held: HeldCursor,
    collector: Collector,
}

impl Sweeper {
    pub(crate) fn new(pool: PgPool, candidate: Uuid, settings: &Settings) -> Self {
        let leader = Leader::new(pool.clone(), "sweeper", candidate);
        Self {
            pool,
            leader,
            settings: settings.clone(),
            cursor: i64::MIN,
            pruner: Pruner::default(),
            held: HeldCursor::default(),
            collector: Collector::new(settings),
        }
    }

    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut ticks: u32 = 0;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(self.settings.sweep_interval()) => {}
            }
            if !self.leader.leads().await {
                continue;
            }
            if let Err(error) = self.tick(ticks).await {
                warn!(%error, "A sweep failed; the next one goes on");
            }
            ticks = ticks.wrapping_add(1);
        }
        self.leader.resign().await;
    }

    async fn tick(&mut self, ticks: u32) -> Result<(), QueueError> {
        let swept = sweep_from(&self.pool, &self.settings, &mut self.cursor, &mut self.held).await?;
        if swept.rescued > 0 {
            info!("Rescued {} jobs whose workers had gone", swept.rescued);
            metrics::counter!("greenroom_jobs_rescued_total").increment(swept.rescued);
        }
        self.pruner.turn(&self.pool, &self.settings).await?;
        self.collector.collect(&self.pool).await;
        if ticks.is_multiple_of(60) {
            #[expect(clippy::cast_precision_loss, reason = "a lease of 2^52 seconds is not set")]
            let lease_secs = self.settings.lease_secs as f64;
            timed(&self.pool, Duration::from_secs(5), async |conn: &mut PgConnection| {
                workers::forget_dead(conn, lease_secs).await
            })
            .await?;
            self.prune_periods().await?;
        }
        Ok(())
    }

    async fn prune_periods(&self) -> Result<(), QueueError> {
        const BATCH: u16 = 2_000;
        let prune = async |conn: &mut PgConnection| prune_periods(conn, i64::from(BATCH)).await;
        while timed(&self.pool, self.settings.statement_timeout(), prune).await? == u64::from(BATCH) {}
        Ok(())
    }
}
