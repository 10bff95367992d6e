//! The jobs in a process's hands: what the driver knows of each, and how many each queue has.

use std::collections::HashMap;
use std::sync::Arc;

use greenroom_model::JobId;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::backend::{Begun, Handed};
use crate::claim::Claimed;
use crate::context::Interrupt;
use crate::workers::Served;

/// A job in this process's hands.
struct Holding {
    job: Arc<Claimed>,
    lease_ends: Instant,
    interrupt: watch::Sender<Option<Interrupt>>,
    begun: Begun,
}

/// Everything this process holds.
pub(crate) struct Held {
    jobs: HashMap<JobId, Holding>,
    served: Vec<Served>,
    /// How many jobs of each served queue are held, in their order.
    busy: Vec<u32>,
}

impl Held {
    pub(crate) fn new(served: Vec<Served>) -> Self {
        Self { jobs: HashMap::new(), busy: vec![0; served.len()], served }
    }

    pub(crate) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    pub(crate) fn serves(&self, queue: &str) -> bool {
        self.served.iter().any(|served| served.name == queue)
    }

    /// Returns how many more jobs of a queue may be held, and how many of it at most.
    pub(crate) fn free(&self, queue: &str) -> (u32, u32) {
        let of_queue = self.served.iter().zip(&self.busy).find(|(served, _)| served.name == queue);
        of_queue.map_or((0, 0), |(served, busy)| (served.slots.saturating_sub(*busy), served.slots))
    }

    fn count(&mut self, queue: &str, by: impl FnOnce(u32) -> u32) {
        if let Some(at) = self.served.iter().position(|served| served.name == queue) {
            self.busy[at] = by(self.busy[at]);
        }
    }

    /// Takes a claimed job into the hands; returns what the handler's side gets.
    pub(crate) fn take(&mut self, job: Claimed) -> Handed {
        let asked_to_end = job.cancel_requested.then_some(Interrupt::Cancel);
        let (interrupt, interrupted) = watch::channel(asked_to_end);
        let (job, begun) = (Arc::new(job), Begun::default());
        self.count(&job.queue, |busy| busy + 1);
        let handed = Handed { job: Arc::clone(&job), interrupt: interrupted, begun: begun.clone() };
        let holding = Holding { lease_ends: job.lease_ends, job: Arc::clone(&job), interrupt, begun };
        if let Some(earlier) = self.jobs.insert(job.id, holding) {
            // Rescued from this very process and claimed again: the earlier attempt is over.
            self.count(&earlier.job.queue, |busy| busy.saturating_sub(1));
        }
        handed
    }

    /// Lets go of a job, if it is held under this token.
    pub(crate) fn let_go(&mut self, id: JobId, token: i64) {
        if self.holds(id, token)
            && let Some(holding) = self.jobs.remove(&id)
        {
            self.count(&holding.job.queue, |busy| busy.saturating_sub(1));
        }
    }

    pub(crate) fn holds(&self, id: JobId, token: i64) -> bool {
        self.jobs.get(&id).is_some_and(|holding| holding.job.token == token)
    }

    /// Tells a running job that it should end, and why; the first reason stands.
    pub(crate) fn interrupt(&self, id: JobId, why: Interrupt) {
        if let Some(holding) = self.jobs.get(&id) {
            holding.interrupt.send_if_modified(|current| {
                let first = current.is_none();
                if first {
                    *current = Some(why);
                }
                first
            });
        }
    }

    /// Returns the ids and tokens of leases that end before the instant.
    pub(crate) fn leases_before(&self, instant: Instant) -> Vec<(JobId, i64)> {
        let ending = self.jobs.values().filter(|holding| holding.lease_ends <= instant);
        ending.map(|holding| (holding.job.id, holding.job.token)).collect()
    }

    pub(crate) fn renewed(&mut self, id: JobId, lease_ends: Instant) {
        if let Some(holding) = self.jobs.get_mut(&id) {
            holding.lease_ends = lease_ends;
        }
    }

    /// Withdraws what has not begun; returns it.
    pub(crate) fn withdraw(&self) -> Vec<Arc<Claimed>> {
        let waiting = self.jobs.values().filter(|holding| holding.begun.withdraw());
        waiting.map(|holding| Arc::clone(&holding.job)).collect()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Claimed>> {
        self.jobs.values().map(|holding| Arc::clone(&holding.job)).collect()
    }
}
