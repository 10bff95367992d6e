//! The statements of a worker, each under its limit, on whatever connection the pool lends.
//!
//! They are single statements in autocommit, so that a connection is never left inside a transaction and
//! each costs one round trip. None of them keeps the driver waiting: it polls them beside everything else.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use greenroom_model::JobId;
use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;
use tracing::{debug, error, warn};
use uuid::Uuid;

use crate::breaker::{self, Breaker};
use crate::claim::{Claims, Track, claim, timed};
use crate::lane::{Woken, wake_full};
use crate::lease::{Renewed, renew};
use crate::settle::{Settlement, Verdict, change, complete, forget};
use crate::workers::{self, Served};
use crate::{QueueError, Settings};

/// What the driver asks of the database.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    pub worker: Uuid,
    pub pool: PgPool,
    pub settings: Arc<Settings>,
    pub name: Arc<str>,
    pub served: Arc<[Served]>,
}

/// What became of a batch that was to be settled.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// Written, or given up: no more of this process's.
    pub over: Vec<(JobId, i64)>,
    /// Not written for a passing reason; to be tried again.
    pub left: Vec<Settlement>,
    /// Breakers that have counted a failure and are closed.
    pub suspects: Vec<Breaker>,
    /// Lanes that are no longer full.
    pub woken: Vec<Woken>,
}

/// What a round of care found.
#[derive(Debug, Default)]
pub(crate) struct Cared {
    pub renewed: Vec<Renewed>,
    /// When the leases end that were renewed.
    pub lease_ends: Option<Instant>,
}

impl Engine {
    /// Makes the engine of a worker that serves nothing yet.
    pub(crate) fn new(worker: Uuid, pool: PgPool, settings: Arc<Settings>) -> Self {
        Self { worker, pool, settings, name: "".into(), served: Arc::new([]) }
    }

    fn limit(&self) -> Duration {
        self.settings.statement_timeout()
    }

    /// Claims from each track up to the slots that its queue has free, but nothing of foreign kinds.
    pub(crate) async fn claim(self, tracks: Vec<(Track, u32)>, foreign: Vec<String>) -> Vec<(Track, Claims)> {
        let mut claimed: Vec<(Track, Claims)> = Vec::with_capacity(tracks.len());
        for (mut track, slots) in tracks {
            let earlier = claimed.iter().filter(|(t, _)| t.queue == track.queue);
            let taken = earlier.map(|(_, claims)| claims.jobs.len()).sum::<usize>();
            let slots = slots.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX));
            if slots == 0 {
                continue;
            }
            match self.claim_from(&mut track, slots, &foreign).await {
                Ok(claims) => claimed.push((track, claims)),
                Err(error) => warn!(queue = track.queue, %error, "Could not claim jobs; polling goes on"),
            }
        }
        claimed
    }

    async fn claim_from(
        &self,
        track: &mut Track,
        slots: u32,
        foreign: &[String],
    ) -> Result<Claims, QueueError> {
        if track.floor == f64::NEG_INFINITY {
            return self.walk(track, slots, foreign).await;
        }
        let claims = self.claim_above(track, track.floor, slots, foreign).await?;
        // Below the floor may be lanes that came back meanwhile.
        if claims.jobs.is_empty() && track.walks.is_due() {
            return self.walk(track, slots, foreign).await;
        }
        Ok(claims)
    }

    /// Claims without a floor.
    async fn walk(&self, track: &mut Track, slots: u32, foreign: &[String]) -> Result<Claims, QueueError> {
        let begun = Instant::now();
        let claims = self.claim_above(track, f64::NEG_INFINITY, slots, foreign).await;
        track.walks.took(begun.elapsed());
        claims
    }

    async fn claim_above(
        &self,
        track: &Track,
        floor: f64,
        slots: u32,
        foreign: &[String],
    ) -> Result<Claims, QueueError> {
        let (worker, lease) = (self.worker, self.settings.lease());
        let once = || {
            timed(&self.pool, self.limit(), async move |conn: &mut PgConnection| {
                claim(conn, track, worker, slots, lease, floor, foreign).await
            })
        };
        // A connection that broke while it lay idle costs one more try, not a poll interval.
        match once().await {
            Err(error) => {
                warn!(queue = track.queue, %error, "A claim failed; trying once more");
                once().await
            }
            claims => claims,
        }
    }

    /// Settles a batch: trips first, since they decide what becomes of the jobs that met them.
    pub(crate) async fn settle(self, mut batch: Vec<Settlement>) -> Settled {
        let mut settled = Settled::default();
        match self.heed_breakers(&mut batch).await {
            Ok(suspects) => settled.suspects = suspects,
            Err(error) => {
                warn!(%error, "Could not write to a breaker; trying again");
                settled.left = batch;
                return settled;
            }
        }
        // Changes wake lanes themselves: what they put back has to be seen in them.
        let is_end = |verdict: &Verdict| {
            matches!(verdict, Verdict::Completed(_) | Verdict::Forgotten | Verdict::CompletedInTransaction)
        };
        let ended = batch.iter().filter(|s| is_end(&s.verdict));
        let full_lanes: BTreeSet<i64> = ended.filter_map(|s| s.full_lane).collect();
        let (mut completed, mut forgotten, mut changed) = (Vec::new(), Vec::new(), Vec::new());
        for settlement in batch {
            match settlement.verdict {
                Verdict::CompletedInTransaction => settled.over.push((settlement.id, settlement.token)),
                Verdict::Completed(_) => completed.push(settlement),
                Verdict::Forgotten => forgotten.push(settlement),
                _ => changed.push(settlement),
            }
        }
        for part in [completed, forgotten, changed] {
            if !part.is_empty() {
                self.settle_alike(part, &mut settled).await;
            }
        }
        if !full_lanes.is_empty() {
            self.wake_full(full_lanes.into_iter().collect()).await;
        }
        settled
    }

    /// Wakes lanes in which there may be room now.
    async fn wake_full(&self, lanes: Vec<i64>) {
        let woken =
            timed(&self.pool, self.limit(), async |conn: &mut PgConnection| wake_full(conn, &lanes).await);
        if let Err(error) = woken.await {
            warn!(%error, "Could not wake {} lanes; the sweeper will", lanes.len());
        }
    }

    async fn settle_alike(&self, batch: Vec<Settlement>, settled: &mut Settled) {
        match self.write(&batch).await {
            Ok(lost) => self.note(&batch, lost, settled).await,
            Err(error) if is_fault_of_a_row(&error) && batch.len() > 1 => {
                // One row the database refuses must not hold up the others.
                warn!(%error, "Could not settle {} jobs at once; settling one by one", batch.len());
                for settlement in batch {
                    self.settle_one(settlement, settled).await;
                }
            }
            Err(error) if is_fault_of_a_row(&error) => {
                for settlement in batch {
                    self.settle_one(settlement, settled).await;
                }
            }
            Err(error) => {
                warn!(%error, "Could not settle {} jobs; trying again", batch.len());
                settled.left.extend(batch);
            }
        }
    }

    async fn settle_one(&self, mut settlement: Settlement, settled: &mut Settled) {
        for _ in 0..2 {
            match self.write(std::slice::from_ref(&settlement)).await {
                Ok(lost) => return self.note(&[settlement], lost, settled).await,
                Err(refused) if is_fault_of_a_row(&refused) => {
                    let reason = format!("the outcome could not be stored: {refused}");
                    settlement.verdict = Verdict::Discarded { reason };
                }
                Err(_) => return settled.left.push(settlement),
            }
        }
        error!(job.id = %settlement.id, "Could not settle the job; its lease will run out");
        settled.over.push((settlement.id, settlement.token));
    }

    /// Writes settlements that are all of one sort; returns the ids whose token did not fit.
    async fn write(&self, batch: &[Settlement]) -> Result<Vec<JobId>, QueueError> {
        let worker = self.worker;
        timed(&self.pool, self.limit(), async |conn: &mut PgConnection| {
            match batch.first().map(|settlement| &settlement.verdict) {
                Some(Verdict::Completed(_)) => complete(conn, batch).await,
                Some(Verdict::Forgotten) => forget(conn, batch).await,
                _ => change(conn, worker, batch).await,
            }
        })
        .await
    }

    async fn note(&self, batch: &[Settlement], lost: Vec<JobId>, settled: &mut Settled) {
        settled.over.extend(batch.iter().map(|settlement| (settlement.id, settlement.token)));
        if lost.is_empty() {
            return;
        }
        // The answer to an earlier try may have been cut off after its commit.
        let mine = timed(&self.pool, self.limit(), async |conn: &mut PgConnection| {
            workers::ended_here(conn, self.worker, &lost).await
        });
        let mine = mine.await.unwrap_or_default();
        for id in lost.iter().filter(|id| !mine.contains(id)) {
            warn!(job.id = %id, "The lease was lost before the outcome could be written; another worker has the job");
        }
    }

    /// Writes to the breakers what the outcomes say of them, and lets jobs wait where one is open.
    async fn heed_breakers(&self, batch: &mut [Settlement]) -> Result<Vec<Breaker>, QueueError> {
        if !batch.iter().any(|s| s.probes.is_some() || matches!(s.verdict, Verdict::Tripped { .. })) {
            return Ok(Vec::new());
        }
        timed(&self.pool, self.limit(), async |conn: &mut PgConnection| {
            breaker::heed(conn, batch, &self.settings).await
        })
        .await
    }

    /// Has breakers forget failures that successes have followed.
    pub(crate) async fn heal(self, breakers: Vec<Breaker>) {
        for breaker in breakers {
            let healed = timed(&self.pool, self.limit(), async |conn: &mut PgConnection| {
                breaker::heal(conn, &breaker).await
            });
            if let Err(error) = healed.await {
                warn!(%error, "Could not have the breaker of {breaker} forget its failures");
            }
        }
    }

    /// Renews leases, and says that this worker lives.
    pub(crate) async fn care(self, due: Vec<(JobId, i64)>, busy: usize) -> Cared {
        let lease = self.settings.lease();
        let mut cared = Cared::default();
        for batch in due.chunks(self.settings.batch as usize) {
            let lease_ends = Instant::now() + lease;
            let renewed = timed(&self.pool, self.limit(), async |conn: &mut PgConnection| {
                renew(conn, batch, lease).await
            });
            match renewed.await {
                Ok(renewed) => {
                    cared.renewed.extend(renewed);
                    // The earliest stands for all.
                    cared.lease_ends.get_or_insert(lease_ends);
                }
                Err(error) => warn!(%error, "Could not renew {} leases", batch.len()),
            }
        }
        let (worker, busy) = (self.worker, i32::try_from(busy).unwrap_or(i32::MAX));
        let seen = timed(&self.pool, self.limit(), async |conn: &mut PgConnection| {
            if !workers::seen(conn, worker, busy).await? {
                workers::started(conn, worker, &self.name, &self.served).await?;
            }
            Ok(())
        });
        if let Err(error) = seen.await {
            debug!(%error, "Could not say that this worker lives");
        }
        cared
    }
}

/// Tells a value the database cannot store (SQLSTATE classes 22 and 23) from a passing fault.
fn is_fault_of_a_row(error: &QueueError) -> bool {
    let QueueError::Database(sqlx::Error::Database(refused)) = error else {
        return false;
    };
    refused.code().is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}
