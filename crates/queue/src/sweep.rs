//! The sweeper: promotes what has become due, rescues what nobody holds any more, wakes lanes that a
//! late commit or a lost wake left asleep. One leader, small batches, every second.

mod due;
mod rescue;
mod sleepers;

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::batch::{HeldCursor, release};
use crate::claim::timed;
use crate::collect::Collector;
use crate::enqueue::prune_periods;
use crate::pace::Pace;
use crate::prune::Pruner;
use crate::wake::notify;
use crate::{Leader, QueueError, Settings, breaker, pause, pool, workers};

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

/// Where the sweeps of one leader stand.
#[derive(Debug)]
struct Places {
    /// When kinds that plain SQL did not know are looked for again: that is rare, and idling must be cheap.
    next_adoption: Instant,
    /// The lane after which the next walk over sleepers begins.
    lane: i64,
    walks: Pace,
    /// Leases before it were looked at.
    leases: Option<DateTime<Utc>>,
    /// When leases are looked at from the first, for those that were locked.
    full_rescues: Pace,
    next_full_rescue: Instant,
    held: HeldCursor,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            next_adoption: Instant::now(),
            lane: i64::MIN,
            walks: Pace::default(),
            leases: None,
            full_rescues: Pace::default(),
            next_full_rescue: Instant::now(),
            held: HeldCursor::default(),
        }
    }
}

impl Places {
    /// Leaves what walks over dead entries for the second sweep: a leader that starts has work to find first.
    fn of_a_new_leader(settings: &Settings) -> Self {
        let next = Instant::now() + settings.sweep_interval();
        Self { walks: Pace::from(next), full_rescues: Pace::from(next), ..Self::default() }
    }
}

/// How often jobs are looked for that plain SQL enqueued before their kind was declared.
const ADOPTION: Duration = Duration::from_secs(5);
/// How often leases are looked at from the first.
const FULL_RESCUE: Duration = Duration::from_secs(10);

/// Sweeps one batch of each kind. Safe with any number at work at once.
pub async fn sweep(pool: &PgPool, settings: &Settings) -> Result<Swept, QueueError> {
    sweep_from(pool, settings, &mut Places::default()).await
}

async fn sweep_from(pool: &PgPool, settings: &Settings, places: &mut Places) -> Result<Swept, QueueError> {
    let (limit, batch) = (settings.statement_timeout(), i64::from(settings.batch));
    let (promoted, mut queues) = promote_from(pool, settings).await?;
    let held = &mut places.held;
    let (released, of_released) =
        timed(pool, limit, async |conn: &mut PgConnection| release(conn, held).await).await?;
    let adopts = Instant::now() >= places.next_adoption;
    let (adopted, unblocked) = timed(pool, limit, async |conn: &mut PgConnection| {
        let adopted = if adopts { due::adopt(conn, batch).await? } else { 0 };
        pool::renew_windows(conn).await?;
        let mut queues = breaker::half_open(conn, batch).await?;
        queues.extend(pause::put_back(conn, batch).await?);
        Ok((adopted, queues))
    })
    .await?;
    if adopts && adopted < u64::from(settings.batch) {
        places.next_adoption = Instant::now() + ADOPTION;
    }
    let (rescued, of_rescued) = rescue_from(pool, settings, places).await?;
    let (woken, of_woken) = wake_from(pool, settings, places).await?;
    queues.extend([of_released, unblocked, of_rescued, of_woken].into_iter().flatten());
    if !queues.is_empty() {
        queues.sort();
        queues.dedup();
        timed(pool, limit, async |conn: &mut PgConnection| notify(conn, &queues).await).await?;
    }
    Ok(Swept { promoted, released, rescued, woken })
}

/// Promotes batch after batch for half an interval: many jobs may be due in the same second.
async fn promote_from(pool: &PgPool, settings: &Settings) -> Result<(u64, Vec<String>), QueueError> {
    let (limit, batch) = (settings.statement_timeout(), u64::from(settings.batch));
    let until = Instant::now() + settings.sweep_interval() / 2;
    let (mut promoted, mut queues) = (0, Vec::new());
    loop {
        let promote = async |conn: &mut PgConnection| due::promote(conn, i64::from(settings.batch)).await;
        let (some, of_some) = timed(pool, limit, promote).await?;
        promoted += some;
        queues.extend(of_some);
        if some < batch || Instant::now() >= until {
            return Ok((promoted, queues));
        }
    }
}

async fn rescue_from(
    pool: &PgPool,
    settings: &Settings,
    places: &mut Places,
) -> Result<(u64, Vec<String>), QueueError> {
    let (limit, batch) = (settings.statement_timeout(), i64::from(settings.batch));
    let begun = Instant::now();
    let full = begun >= places.next_full_rescue && places.full_rescues.is_due();
    if !full && places.leases.is_none() {
        return Ok((0, Vec::new()));
    }
    let floor = places.leases.filter(|_| !full);
    let rescued =
        timed(pool, limit, async |conn: &mut PgConnection| rescue::rescue(conn, batch, floor).await).await;
    if full {
        places.next_full_rescue = begun + FULL_RESCUE;
        places.full_rescues.took(begun.elapsed());
    }
    let rescued = rescued?;
    // A full batch has left some.
    if rescued.count < batch.unsigned_abs() {
        places.leases = Some(rescued.now);
    }
    Ok((rescued.count, rescued.queues))
}

async fn wake_from(
    pool: &PgPool,
    settings: &Settings,
    places: &mut Places,
) -> Result<(u64, Vec<String>), QueueError> {
    if !places.walks.is_due() {
        return Ok((0, Vec::new()));
    }
    let (begun, after) = (Instant::now(), places.lane);
    let (limit, batch) = (settings.statement_timeout(), i64::from(settings.batch));
    let woken =
        timed(pool, limit, async |conn: &mut PgConnection| sleepers::wake_sleepers(conn, batch, after).await)
            .await;
    places.walks.took(begun.elapsed());
    let (woken, last, queues) = woken?;
    places.lane = last;
    Ok((woken, queues))
}

/// Sweeps in the background while it leads.
#[derive(Debug)]
pub(crate) struct Sweeper {
    pool: PgPool,
    leader: Leader,
    settings: Settings,
    places: Places,
    pruner: Pruner,
    collector: Collector,
}

impl Sweeper {
    pub(crate) fn new(pool: PgPool, candidate: Uuid, settings: &Settings) -> Self {
        let leader = Leader::new(pool.clone(), "sweeper", candidate);
        Self {
            pool,
            leader,
            settings: settings.clone(),
            places: Places::of_a_new_leader(settings),
            pruner: Pruner::default(),
            collector: Collector::new(settings),
        }
    }

    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut ticks: u32 = 0;
        loop {
            // The first one at once: a worker that starts may find what nobody woke.
            if self.leader.leads().await {
                if let Err(error) = self.tick(ticks).await {
                    warn!(%error, "A sweep failed; the next one goes on");
                }
                ticks = ticks.wrapping_add(1);
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(self.settings.sweep_interval()) => {}
            }
        }
        self.leader.resign().await;
    }

    async fn tick(&mut self, ticks: u32) -> Result<(), QueueError> {
        let swept = sweep_from(&self.pool, &self.settings, &mut self.places).await?;
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
