//! The name of a piece of work, under which it is charged once.

use std::fmt;

use greenroom_model::{JobId, SyncRunId};

/// Names logical work, never an attempt at it: a retry has the same key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(String);

impl Key {
    /// Names a unit of a job's work; the unit must be the same on every attempt.
    pub fn of_job(job: JobId, unit: &str) -> Self {
        Self(format!("job:{job}:{unit}"))
    }

    /// Names one run, for the event of a run that is free or has failed: the job may be tried again and
    /// then be charged under a key of its own.
    pub fn of_run(run: SyncRunId) -> Self {
        Self(format!("run:{run}"))
    }

    /// Returns the key as it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
