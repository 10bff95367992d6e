//! The driver: the one task of a worker that talks to the queue's tables.
//!
//! It claims what there are slots for, hands it to apalis, collects verdicts and settles them in
//! batches, renews leases, and gives back what a stopping process will not finish. Its statements run
//! one after another, so batches form by themselves: what ends during one settling is in the next.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use greenroom_model::JobId;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use uuid::Uuid;

use crate::backend::{Ack, Begun, Handed};
use crate::claim::{Claimed, claim, timed};
use crate::context::Interrupt;
use crate::lease::renew;
use crate::listen::Heard;
use crate::settle::{Settlement, Verdict, settle};
use crate::tell::tell;
use crate::workers::Served;
use crate::{Heartbeat, Jobs, Queue, QueueError, Settings, workers};

/// How soon a claim that a wake promised, but that came back empty, is tried once more: another
/// claimer may have held the lanes.
const CONTENDED_WAIT: Duration = Duration::from_millis(5);
/// How long a failed settling waits; the verdicts are kept.
const SETTLE_RETRY_WAIT: Duration = Duration::from_millis(200);
/// How long interrupted handlers have to end once the deadline of a shutdown has come.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// A job in this process's hands.
struct Held {
    job: Arc<Claimed>,
    lease_ends: Instant,
    interrupt: watch::Sender<Option<Interrupt>>,
    begun: Begun,
}

/// When and how to stop.
#[derive(Clone, Debug)]
pub(crate) struct Stopping {
    /// Stop claiming; running jobs may finish until the deadline.
    pub gently: CancellationToken,
    /// Give everything back at once.
    pub at_once: CancellationToken,
    pub deadline: Duration,
}

pub(crate) struct Driver {
    pub worker: Uuid,
    pub queue: Queue,
    pub jobs: Jobs,
    pub settings: Settings,
    pub served: Vec<Served>,
    pub handout: Option<mpsc::UnboundedSender<Handed>>,
    pub acks: mpsc::UnboundedReceiver<Ack>,
    pub heard: mpsc::UnboundedReceiver<Heard>,
    pub heartbeat: Heartbeat,
    pub stopping: Stopping,
    held: HashMap<JobId, Held>,
    unsettled: Vec<Settlement>,
}

/// The ends of the channels a driver works with.
pub(crate) struct Channels {
    pub handout: mpsc::UnboundedSender<Handed>,
    pub acks: mpsc::UnboundedReceiver<Ack>,
    pub heard: mpsc::UnboundedReceiver<Heard>,
    /// Where it says that its loop comes round.
    pub heartbeat: Heartbeat,
}

impl Driver {
    pub(crate) fn new(
        worker: Uuid,
        queue: Queue,
        jobs: Jobs,
        settings: Settings,
        served: Vec<Served>,
        channels: Channels,
        stopping: Stopping,
    ) -> Self {
        Self {
            worker,
            queue,
            jobs,
            settings,
            served,
            handout: Some(channels.handout),
            acks: channels.acks,
            heard: channels.heard,
            heartbeat: channels.heartbeat,
            stopping,
            held: HashMap::new(),
            unsettled: Vec::new(),
        }
    }

    pub(crate) async fn run(mut self) {
        let mut poll = interval(self.settings.poll_interval());
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next_care = Instant::now();
        // A claim is due, and may be tried once more if it comes back empty.
        let mut look = false;
        let mut look_again = None;
        let mut settle_after = None;

        loop {
            self.heartbeat.beat();
            if !self.unsettled.is_empty() && settle_after.is_none_or(|at| Instant::now() >= at) {
                settle_after = self.settle().await.then(|| Instant::now() + SETTLE_RETRY_WAIT);
            }
            // Not left to the select below: a flood of verdicts must not keep leases from being renewed.
            if Instant::now() >= next_care {
                self.care().await;
                next_care = Instant::now() + self.care_interval();
            }
            if look {
                // Who has just found work looks again before it waits.
                look = self.claim().await > 0 && self.has_free_slots();
                if look {
                    self.take_acks();
                    continue;
                }
            }
            tokio::select! {
                biased;
                () = self.stopping.gently.cancelled() => break,
                Some(ack) = self.acks.recv() => {
                    self.take(ack);
                    self.take_acks();
                    look = true;
                }
                Some(heard) = self.heard.recv() => match heard {
                    Heard::Wake(queue) if queue.as_deref().is_none_or(|q| self.serves(q)) => {
                        look = true;
                        look_again = Some(Instant::now() + CONTENDED_WAIT);
                    }
                    Heard::Wake(_) => {}
                    Heard::Cancel(job) => self.interrupt(job, Interrupt::Cancel),
                },
                () = until(look_again) => {
                    look_again = None;
                    look = true;
                }
                () = until(settle_after) => settle_after = None,
                _ = poll.tick() => look = true,
                () = sleep_until(next_care) => {}
            }
        }
        self.stop().await;
    }

    /// Leases are cared for six times in their length: renewed when a third is gone, given up when
    /// the next care would come too late.
    fn care_interval(&self) -> Duration {
        self.settings.lease() / 6
    }

    fn serves(&self, queue: &str) -> bool {
        self.served.iter().any(|served| served.name == queue)
    }

    fn free_slots(&self, served: &Served) -> u32 {
        let busy = self.held.values().filter(|held| held.job.queue == served.name).count();
        served.slots.saturating_sub(u32::try_from(busy).unwrap_or(u32::MAX))
    }

    fn has_free_slots(&self) -> bool {
        self.served.iter().any(|served| self.free_slots(served) > 0)
    }

    /// Claims for every queue with free slots; returns how many jobs it got.
    async fn claim(&mut self) -> usize {
        let mut got = 0;
        for served in self.served.clone() {
            let slots = self.free_slots(&served).min(self.settings.batch);
            if slots == 0 {
                continue;
            }
            match self.claim_from(&served.name, "", slots).await {
                Ok(jobs) => {
                    got += jobs.len();
                    for job in jobs {
                        self.hand_out(job);
                    }
                }
                Err(error) => warn!(queue = served.name, %error, "Could not claim jobs; polling goes on"),
            }
        }
        got
    }

    async fn claim_from(&self, queue: &str, pool: &str, slots: u32) -> Result<Vec<Claimed>, QueueError> {
        let (worker, lease) = (self.worker, self.settings.lease());
        self.heartbeat.beat();
        let once = || {
            timed(
                self.queue.pool(),
                self.settings.statement_timeout(),
                async |conn: &mut sqlx::PgConnection| claim(conn, queue, pool, worker, slots, lease).await,
            )
        };
        // A connection that broke while it lay idle costs one more try, not a poll interval.
        match once().await {
            Err(_) => once().await,
            ok => ok,
        }
    }

    fn hand_out(&mut self, job: Claimed) {
        let lease_ends = job.lease_ends;
        let asked_to_end = job.cancel_requested.then_some(Interrupt::Cancel);
        let (interrupt, interrupted) = watch::channel(asked_to_end);
        let held = Held { job: Arc::new(job), lease_ends, interrupt, begun: Begun::default() };
        if let Some(handout) = &self.handout {
            // The worker side ends only after this side.
            let _ = handout.send(Handed {
                job: Arc::clone(&held.job),
                interrupt: interrupted,
                begun: held.begun.clone(),
            });
        }
        self.held.insert(held.job.id, held);
    }

    fn take_acks(&mut self) {
        while let Ok(ack) = self.acks.try_recv() {
            self.take(ack);
        }
    }

    fn take(&mut self, ack: Ack) {
        let job = ack.job;
        // A job claimed again since then is held under another token.
        if self.held.get(&job.id).is_none_or(|held| held.job.token != job.token) {
            return;
        }
        let verdict = ack.verdict.unwrap_or_else(|panic| self.jobs.panicked(&job.kind, job.attempt, panic));
        tell(&job, &verdict);
        match verdict {
            Verdict::Lost | Verdict::CompletedInTransaction => {
                self.held.remove(&job.id);
            }
            verdict => self.unsettled.push(Settlement {
                id: job.id,
                token: job.token,
                attempt: job.attempt,
                max_attempts: job.max_attempts,
                verdict,
            }),
        }
    }

    /// Writes what is unsettled; returns whether it must be tried again later.
    async fn settle(&mut self) -> bool {
        let mut batch = std::mem::take(&mut self.unsettled);
        match self.settle_batch(&batch).await {
            Ok(lost) => self.forget(&batch, &lost),
            Err(error) if is_fault_of_a_row(&error) => {
                // One row the database refuses must not hold up the others.
                warn!(%error, "Could not settle {} jobs at once; settling one by one", batch.len());
                for settlement in batch.drain(..) {
                    self.settle_one(settlement).await;
                }
            }
            Err(error) => {
                warn!(%error, "Could not settle {} jobs; trying again", batch.len());
                self.unsettled.append(&mut batch);
                return true;
            }
        }
        !self.unsettled.is_empty()
    }

    async fn settle_one(&mut self, mut settlement: Settlement) {
        for _ in 0..2 {
            match self.settle_batch(std::slice::from_ref(&settlement)).await {
                Ok(lost) => return self.forget(&[settlement], &lost),
                Err(refused) if is_fault_of_a_row(&refused) => {
                    let reason = format!("the outcome could not be stored: {refused}");
                    settlement.verdict = Verdict::Discarded { reason };
                }
                Err(_) => return self.unsettled.push(settlement),
            }
        }
        error!(job.id = %settlement.id, "Could not settle the job; its lease will run out");
        self.held.remove(&settlement.id);
    }

    async fn settle_batch(&self, batch: &[Settlement]) -> Result<Vec<JobId>, QueueError> {
        let worker = self.worker;
        timed(self.queue.pool(), self.settings.statement_timeout(), async |conn: &mut sqlx::PgConnection| {
            use sqlx::Connection as _;
            let mut tx = conn.begin().await?;
            let lost = settle(&mut tx, worker, batch).await?;
            tx.commit().await?;
            Ok(lost)
        })
        .await
    }

    fn forget(&mut self, settled: &[Settlement], lost: &[JobId]) {
        for settlement in settled {
            self.held.remove(&settlement.id);
        }
        for id in lost {
            warn!(job.id = %id, "The lease was lost before the outcome could be written; another worker has the job");
        }
    }

    fn interrupt(&self, job: JobId, why: Interrupt) {
        if let Some(held) = self.held.get(&job) {
            held.interrupt.send_if_modified(|current| {
                let first = current.is_none();
                if first {
                    *current = Some(why);
                }
                first
            });
        }
    }

    /// Renews leases, gives up what cannot be renewed in time, and says that this worker lives.
    async fn care(&mut self) {
        let (now, lease) = (Instant::now(), self.settings.lease());
        let due: Vec<(JobId, i64)> = self
            .held
            .values()
            .filter(|held| held.lease_ends.saturating_duration_since(now) <= lease * 2 / 3)
            .map(|held| (held.job.id, held.job.token))
            .collect();
        for batch in due.chunks(self.settings.batch as usize) {
            let lease_ends = Instant::now() + lease;
            let renewed = timed(
                self.queue.pool(),
                self.settings.statement_timeout(),
                async |conn: &mut sqlx::PgConnection| renew(conn, batch, lease).await,
            )
            .await;
            match renewed {
                Ok(answers) => {
                    for answer in answers {
                        if !answer.held {
                            self.interrupt(answer.id, Interrupt::LeaseLost);
                        } else if let Some(held) = self.held.get_mut(&answer.id) {
                            held.lease_ends = lease_ends;
                        }
                        if answer.cancel_requested {
                            self.interrupt(answer.id, Interrupt::Cancel);
                        }
                    }
                }
                Err(error) => warn!(%error, "Could not renew {} leases", batch.len()),
            }
        }
        let next_care = Instant::now() + self.care_interval();
        for (id, held) in &self.held {
            if held.lease_ends <= next_care {
                warn!(job.id = %id, "The lease could not be renewed in time; giving the job up");
                self.interrupt(*id, Interrupt::LeaseLost);
            }
        }
        let busy = i32::try_from(self.held.len()).unwrap_or(i32::MAX);
        let worker = self.worker;
        let seen = timed(
            self.queue.pool(),
            self.settings.statement_timeout(),
            async |conn: &mut sqlx::PgConnection| workers::seen(conn, worker, busy).await,
        );
        if let Err(error) = seen.await {
            debug!(%error, "Could not say that this worker lives");
        }
    }

    /// Gives back what has not begun, lets the rest finish until the deadline, then gives it back too.
    async fn stop(&mut self) {
        // apalis ends when it has handed out what is in the channel, which is withdrawn now.
        self.handout = None;
        let waiting: Vec<Arc<Claimed>> = self
            .held
            .values()
            .filter(|held| held.begun.withdraw())
            .map(|held| Arc::clone(&held.job))
            .collect();
        for job in &waiting {
            self.release(job, "the worker stopped before the job began");
        }
        let running = self.held.len() - waiting.len();
        if running > 0 {
            info!("Stopping: {running} jobs may finish for {} s", self.stopping.deadline.as_secs_f64());
        }
        let deadline = Instant::now() + self.stopping.deadline;
        self.drain(deadline, self.stopping.at_once.clone()).await;
        if !self.held.is_empty() {
            warn!("Giving back {} jobs that did not finish in time", self.held.len());
            for id in self.held.keys().copied().collect::<Vec<_>>() {
                self.interrupt(id, Interrupt::Shutdown);
            }
            self.drain(Instant::now() + LAST_MOMENT, CancellationToken::new()).await;
            for job in self.held.values().map(|held| Arc::clone(&held.job)).collect::<Vec<_>>() {
                self.release(&job, "the worker was stopped");
            }
            self.settle().await;
        }
    }

    fn release(&mut self, job: &Claimed, reason: &str) {
        if self.unsettled.iter().any(|settlement| settlement.id == job.id) {
            return;
        }
        self.unsettled.push(Settlement {
            id: job.id,
            token: job.token,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            verdict: Verdict::Released { after: None, reason: reason.to_owned() },
        });
    }

    /// Settles as jobs end, until none is left, the deadline comes or somebody is in a hurry.
    async fn drain(&mut self, deadline: Instant, hurry: CancellationToken) {
        let mut care = interval(self.care_interval());
        loop {
            self.heartbeat.beat();
            if !self.unsettled.is_empty() && self.settle().await {
                tokio::time::sleep(SETTLE_RETRY_WAIT).await;
            }
            if self.held.is_empty() || Instant::now() >= deadline {
                return;
            }
            tokio::select! {
                biased;
                () = hurry.cancelled() => return,
                Some(ack) = self.acks.recv() => {
                    self.take(ack);
                    self.take_acks();
                }
                _ = care.tick() => self.care().await,
                () = sleep_until(deadline) => {}
            }
        }
    }
}

/// Tells a value the database cannot store (SQLSTATE classes 22 and 23) from a passing fault.
fn is_fault_of_a_row(error: &QueueError) -> bool {
    let QueueError::Database(sqlx::Error::Database(refused)) = error else {
        return false;
    };
    refused.code().is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
