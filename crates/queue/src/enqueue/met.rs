//! What each job of a call met in the table, and the answers that follow from it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use greenroom_model::JobId;

use super::{Enqueued, NewJob, Outcome, WakeLane};
use crate::Again;

/// Where a job of the call stands: which of the jobs to write speaks for it.
pub(super) struct Place {
    writer: usize,
    /// Whether it is the first of the call under its key, or has none.
    first: bool,
}

/// Keeps one job a key: the last that changes a holder, else the first. That is what the jobs would
/// have come to one after another.
pub(super) fn fold(jobs: &[NewJob]) -> (Vec<&NewJob>, Vec<Place>) {
    let mut writers: Vec<&NewJob> = Vec::with_capacity(jobs.len());
    let mut by_key: HashMap<&str, usize> = HashMap::new();
    let mut places = Vec::with_capacity(jobs.len());
    for job in jobs {
        let place = match job.key.as_deref().map(|key| by_key.entry(key)) {
            Some(Entry::Occupied(writer)) => Place { writer: *writer.get(), first: false },
            Some(Entry::Vacant(free)) => Place { writer: *free.insert(writers.len()), first: true },
            None => Place { writer: writers.len(), first: true },
        };
        if place.first {
            writers.push(job);
        } else if job.unique.again != Again::Ignore {
            writers[place.writer] = job;
        }
        places.push(place);
    }
    (writers, places)
}

/// How a job stands that was written, or that holds the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Created,
    /// It waits; replaced, unless the call ignores it.
    Waits,
    Runs,
    Over,
}

struct Holder {
    id: JobId,
    standing: Standing,
    lane: Option<WakeLane>,
}

/// What is known so far, by the id of the job to write.
pub(super) struct Met(HashMap<JobId, Holder>);

impl Met {
    pub(super) fn with_capacity(jobs: usize) -> Self {
        Self(HashMap::with_capacity(jobs))
    }

    pub(super) fn has(&self, job: &NewJob) -> bool {
        self.0.contains_key(&job.id)
    }

    pub(super) fn insert(&mut self, job: &NewJob, id: JobId, standing: Standing, lane: Option<WakeLane>) {
        self.0.insert(job.id, Holder { id, standing, lane });
    }

    /// Answers every job of the call; a lane to wake is named once.
    pub(super) fn answers(mut self, jobs: &[NewJob], writers: &[&NewJob], places: &[Place]) -> Vec<Enqueued> {
        let answer = |(job, place): (&NewJob, &Place)| {
            let holder = self.0.get_mut(&writers[place.writer].id)?;
            Some(Enqueued {
                id: holder.id,
                queue: job.queue,
                kind: job.kind,
                outcome: outcome(holder.standing, job.unique.again, place.first),
                lane: holder.lane.take(),
            })
        };
        jobs.iter().zip(places).filter_map(answer).collect()
    }
}

fn outcome(standing: Standing, again: Again, first: bool) -> Outcome {
    match (standing, again) {
        (Standing::Created, _) if first => Outcome::Created,
        (Standing::Over, _) => Outcome::Over,
        (_, Again::Ignore) => Outcome::Kept,
        (Standing::Runs, _) => Outcome::Running,
        (_, Again::Replace) => Outcome::Replaced,
        (_, Again::Debounce { .. }) => Outcome::Debounced,
    }
}
