//! The driver: the one task of a worker that talks to the queue's tables.
//!
//! It claims what there are slots for, hands it to apalis, collects verdicts and settles them in
//! batches, renews leases, and gives back what a stopping process will not finish. A claim, a settling
//! and a round of care may be under way at the same time, each at most once: so batches form by
//! themselves, and a statement that hangs holds up nothing but its own kind.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::backend::{Ack, Handed};
use crate::breaker::Breaker;
use crate::claim::{Claimed, Claims, Track};
use crate::context::Interrupt;
use crate::engine::{Cared, Engine, Settled};
use crate::held::Held;
use crate::listen::Heard;
use crate::settle::{Settlement, Verdict};
use crate::tell::tell;
use crate::workers::Served;
use crate::{Heartbeat, Jobs, Scope};

/// How soon a claim that a wake promised, but that came back empty, is tried once more: another
/// claimer may have held the lanes.
const CONTENDED_WAIT: Duration = Duration::from_millis(5);
/// How long a worker leaves a kind that it does not know to others before it looks whether they took it.
const FOREIGN_FOR: Duration = Duration::from_mins(10);
/// How long a failed settling waits; the verdicts are kept.
const SETTLE_RETRY_WAIT: Duration = Duration::from_millis(200);
/// How long interrupted handlers have to end once the deadline of a shutdown has come.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// When and how to stop.
#[derive(Clone, Debug)]
pub(crate) struct Stopping {
    /// Stop claiming; running jobs may finish until the deadline.
    pub gently: CancellationToken,
    /// Give everything back at once.
    pub at_once: CancellationToken,
    pub deadline: Duration,
}

/// The ends of the channels a driver works with.
pub(crate) struct Channels {
    pub handout: mpsc::UnboundedSender<Handed>,
    pub acks: mpsc::UnboundedReceiver<Ack>,
    pub heard: mpsc::UnboundedReceiver<Heard>,
    /// Where it says that its loop comes round.
    pub heartbeat: Heartbeat,
}

/// Something asked of the database; what comes of it, or never anything.
struct InFlight<T>(Option<BoxFuture<'static, T>>);

impl<T: Send + 'static> InFlight<T> {
    const NONE: Self = Self(None);

    fn start(&mut self, asked: impl Future<Output = T> + Send + 'static) {
        self.0 = Some(asked.boxed());
    }

    fn is_none(&self) -> bool {
        self.0.is_none()
    }

    async fn answer(&mut self) -> T {
        match &mut self.0 {
            Some(asked) => {
                let answer = asked.await;
                self.0 = None;
                answer
            }
            None => std::future::pending().await,
        }
    }
}

pub(crate) struct Driver {
    engine: Engine,
    jobs: Jobs,
    tracks: Vec<Track>,
    /// Where the next claim begins, so that no track is always the first.
    turn: usize,
    /// When the tracks' floors are forgotten, for the sake of lanes that came back below them.
    floors_end: Instant,
    /// Kinds that nobody here knows, until when they are left to others.
    foreign: HashMap<String, Instant>,
    handout: Option<mpsc::UnboundedSender<Handed>>,
    acks: mpsc::UnboundedReceiver<Ack>,
    heard: mpsc::UnboundedReceiver<Heard>,
    heartbeat: Heartbeat,
    stopping: Stopping,
    held: Held,
    unsettled: Vec<Settlement>,
    settle_after: Option<Instant>,
    next_care: Instant,
    /// Breakers whose failures a success of this process closes.
    suspects: HashSet<Breaker>,
    claiming: InFlight<Vec<(Track, Claims)>>,
    settling: InFlight<Settled>,
    caring: InFlight<Cared>,
}

impl Driver {
    pub(crate) fn new(
        engine: Engine,
        jobs: Jobs,
        served: Vec<Served>,
        channels: Channels,
        stopping: Stopping,
    ) -> Self {
        let mut tracks = Vec::new();
        for queue in served.iter().filter(|served| served.slots > 0) {
            let mut pools = jobs.pools_of(&queue.name);
            // Jobs of kinds that are not known here are claimed too, and left to a release that knows them.
            pools.insert("");
            tracks.extend(pools.into_iter().map(|pool| Track::new(&queue.name, pool)));
        }
        Self {
            engine,
            jobs,
            tracks,
            turn: 0,
            floors_end: Instant::now(),
            foreign: HashMap::new(),
            handout: Some(channels.handout),
            acks: channels.acks,
            heard: channels.heard,
            heartbeat: channels.heartbeat,
            stopping,
            held: Held::new(served),
            unsettled: Vec::new(),
            settle_after: None,
            next_care: Instant::now(),
            suspects: HashSet::new(),
            claiming: InFlight::NONE,
            settling: InFlight::NONE,
            caring: InFlight::NONE,
        }
    }

    pub(crate) async fn run(mut self) {
        let mut poll = interval(self.engine.settings.poll_interval());
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // A claim is due, and may be tried once more if it comes back empty.
        let mut look = false;
        let mut look_again = None;
        loop {
            self.heartbeat.beat();
            self.start_settling();
            self.start_caring();
            if look && self.claiming.is_none() && self.start_claiming() {
                look = false;
            }
            tokio::select! {
                biased;
                () = self.stopping.gently.cancelled() => break,
                settled = self.settling.answer() => {
                    self.settled(settled);
                    look = true;
                }
                claimed = self.claiming.answer() => {
                    // Who has just found work looks again before it waits.
                    look |= self.claimed(claimed) > 0;
                }
                cared = self.caring.answer() => self.cared(cared),
                Some(ack) = self.acks.recv() => {
                    // What needs no settling has freed its slot already.
                    look |= self.take(ack) | self.take_acks();
                }
                Some(heard) = self.heard.recv() => match heard {
                    Heard::Wake(queue) if queue.as_deref().is_none_or(|q| self.held.serves(q)) => {
                        look = true;
                        look_again = Some(Instant::now() + CONTENDED_WAIT);
                    }
                    Heard::Wake(_) => {}
                    Heard::Cancel(job) => self.held.interrupt(job, Interrupt::Cancel),
                },
                () = until(look_again) => {
                    look_again = None;
                    look = true;
                }
                () = until(self.settle_after) => self.settle_after = None,
                _ = poll.tick() => look = true,
                () = sleep_until(self.next_care) => {}
            }
        }
        self.stop().await;
    }

    /// Leases are cared for six times in their length: renewed when a third is gone, given up when
    /// the next care would come too late.
    fn care_interval(&self) -> Duration {
        self.engine.settings.lease() / 6
    }

    /// Claims for every track with free slots; tells whether the look was taken, or had no need to be.
    fn start_claiming(&mut self) -> bool {
        if Instant::now() >= self.floors_end {
            self.floors_end = Instant::now() + self.engine.settings.poll_interval();
            let tracks = self.tracks.iter_mut().filter(|track| track.walks.is_due());
            tracks.for_each(|track| track.floor = f64::NEG_INFINITY);
        }
        let batch = self.engine.settings.batch;
        let mut asks = Vec::new();
        self.turn = (self.turn + 1) % self.tracks.len().max(1);
        for track in self.tracks[self.turn..].iter().chain(&self.tracks[..self.turn]) {
            let (free, slots) = self.held.free(&track.queue);
            // While many jobs end in a short time, a few free slots are not worth a claim of their own.
            if free > 0 && (self.settling.is_none() || free * 4 >= slots.min(batch)) {
                asks.push((track.clone(), free.min(batch)));
            }
        }
        if asks.is_empty() {
            // What is being settled frees slots, and looks again.
            return self.settling.is_none();
        }
        self.tracks.iter_mut().for_each(|track| track.woken = f64::INFINITY);
        self.foreign.retain(|_, until| Instant::now() < *until);
        let foreign = self.foreign.keys().cloned().collect();
        self.claiming.start(self.engine.clone().claim(asks, foreign));
        true
    }

    /// Hands out what was claimed; returns how many jobs that are.
    fn claimed(&mut self, claimed: Vec<(Track, Claims)>) -> usize {
        let mut got = 0;
        for (track, claims) in claimed {
            got += claims.jobs.len();
            if let Some(own) = self.track(&track.queue, &track.pool) {
                own.floor = claims.floor.min(own.woken);
                own.walks = track.walks;
            }
            for job in claims.jobs {
                if !self.jobs.knows(&job.kind) {
                    self.foreign.insert(job.kind.clone(), Instant::now() + FOREIGN_FOR);
                }
                let handed = self.held.take(job);
                if let Some(handout) = &self.handout {
                    // The worker side ends only after this side.
                    let _ = handout.send(handed);
                }
            }
        }
        got
    }

    fn track(&mut self, queue: &str, pool: &str) -> Option<&mut Track> {
        self.tracks.iter_mut().find(|track| track.queue == queue && track.pool == pool)
    }

    fn take_acks(&mut self) -> bool {
        let mut freed = false;
        while let Ok(ack) = self.acks.try_recv() {
            freed |= self.take(ack);
        }
        freed
    }

    /// Takes what became of a job; tells whether that has freed its slot.
    fn take(&mut self, ack: Ack) -> bool {
        let job = ack.job;
        // A job claimed again since then is held under another token.
        if !self.held.holds(job.id, job.token) || matches!(ack.verdict, Ok(Verdict::Withdrawn)) {
            return false;
        }
        let verdict = ack.verdict.unwrap_or_else(|panic| self.jobs.panicked(&job.kind, job.attempt, &panic));
        tell(&job, &verdict);
        if matches!(verdict, Verdict::Completed(_) | Verdict::Forgotten | Verdict::CompletedInTransaction) {
            self.absolve(&job, matches!(verdict, Verdict::CompletedInTransaction));
        }
        match verdict {
            Verdict::Lost => {
                self.held.let_go(job.id, job.token);
                true
            }
            // Whose lane may be full frees its slot when the lane is awake.
            Verdict::CompletedInTransaction if !job.capped => {
                self.held.let_go(job.id, job.token);
                true
            }
            verdict => {
                self.unsettled.push(Settlement::of(&job, verdict));
                false
            }
        }
    }

    /// Has the breakers before a job that succeeded forget their failures. Who probed one and is settled
    /// closes it there.
    fn absolve(&mut self, job: &Claimed, in_transaction: bool) {
        let mut healed: Vec<Breaker> = job.probes.clone().into_iter().filter(|_| in_transaction).collect();
        if !self.suspects.is_empty() {
            for breaker in [Scope::Lane, Scope::Pool].into_iter().filter_map(|scope| job.breaker(scope)) {
                healed.extend(self.suspects.take(&breaker));
            }
        }
        if !healed.is_empty() {
            // Nothing waits for it: a failure more or less that counts is no harm.
            tokio::spawn(self.engine.clone().heal(healed));
        }
    }

    /// Writes what is unsettled, unless a batch is under way or the last one failed just now.
    fn start_settling(&mut self) {
        let waits = self.settle_after.is_some_and(|at| Instant::now() < at);
        if self.settling.is_none() && !waits && !self.unsettled.is_empty() {
            let batch = self.unsettled.len().min(self.engine.settings.batch as usize);
            let batch: Vec<Settlement> = self.unsettled.drain(..batch).collect();
            self.settling.start(self.engine.clone().settle(batch));
        }
    }

    fn settled(&mut self, settled: Settled) {
        for (id, token) in settled.over {
            self.held.let_go(id, token);
        }
        self.suspects.extend(settled.suspects);
        for lane in settled.woken {
            if let Some(track) = self.track(&lane.queue, &lane.pool) {
                track.floor = track.floor.min(lane.vtime);
                track.woken = track.woken.min(lane.vtime);
            }
        }
        self.settle_after = (!settled.left.is_empty()).then(|| Instant::now() + SETTLE_RETRY_WAIT);
        self.unsettled.extend(settled.left);
    }

    /// Renews leases, gives up what cannot be renewed in time, and says that this worker lives.
    fn start_caring(&mut self) {
        // Not left to the select alone: a flood of verdicts must not keep leases from being renewed.
        if Instant::now() < self.next_care {
            return;
        }
        self.next_care = Instant::now() + self.care_interval();
        for (id, _) in self.held.leases_before(self.next_care) {
            warn!(job.id = %id, "The lease could not be renewed in time; giving the job up");
            self.held.interrupt(id, Interrupt::LeaseLost);
        }
        if self.caring.is_none() {
            let due = self.held.leases_before(Instant::now() + self.engine.settings.lease() * 2 / 3);
            self.caring.start(self.engine.clone().care(due, self.held.len()));
        }
    }

    fn cared(&mut self, cared: Cared) {
        for answer in cared.renewed {
            if !answer.held {
                self.held.interrupt(answer.id, Interrupt::LeaseLost);
            } else if let Some(lease_ends) = cared.lease_ends {
                self.held.renewed(answer.id, lease_ends);
            }
            if answer.cancel_requested {
                self.held.interrupt(answer.id, Interrupt::Cancel);
            }
        }
    }

    /// Gives back what has not begun, lets the rest finish until the deadline, then gives it back too.
    async fn stop(&mut self) {
        // A claim under way is waited for, since what it brings has to be given back.
        if !self.claiming.is_none() {
            let claimed = self.claiming.answer().await;
            self.claimed(claimed);
        }
        // apalis ends when it has handed out what is in the channel, which is withdrawn now.
        self.handout = None;
        let waiting = self.held.withdraw();
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
            for job in self.held.all() {
                self.held.interrupt(job.id, Interrupt::Shutdown);
            }
            self.drain(Instant::now() + LAST_MOMENT, CancellationToken::new()).await;
            for job in self.held.all() {
                self.release(&job, "the worker was stopped");
            }
            self.drain(Instant::now() + self.engine.settings.statement_timeout(), CancellationToken::new())
                .await;
        }
    }

    fn release(&mut self, job: &Claimed, reason: &str) {
        if !self.unsettled.iter().any(|settlement| settlement.id == job.id) {
            let verdict = Verdict::Released { after: None, reason: reason.to_owned() };
            self.unsettled.push(Settlement::of(job, verdict));
        }
    }

    /// Settles as jobs end, until none is left, the deadline comes or somebody is in a hurry.
    async fn drain(&mut self, deadline: Instant, hurry: CancellationToken) {
        let is_done = |driver: &Self| {
            driver.held.is_empty() && driver.unsettled.is_empty() && driver.settling.is_none()
        };
        while !is_done(self) && Instant::now() < deadline {
            self.heartbeat.beat();
            self.start_settling();
            self.start_caring();
            tokio::select! {
                biased;
                () = hurry.cancelled() => return,
                settled = self.settling.answer() => self.settled(settled),
                cared = self.caring.answer() => self.cared(cared),
                Some(ack) = self.acks.recv() => {
                    self.take(ack);
                    self.take_acks();
                }
                () = until(self.settle_after) => self.settle_after = None,
                () = sleep_until(self.next_care) => {}
                () = sleep_until(deadline) => {}
            }
        }
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
