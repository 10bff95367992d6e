//! How a unique key is held, and what a second enqueue under it does.

use std::time::Duration;

/// How long a job's key is held, and what becomes of another job that comes under it meanwhile.
///
/// ```
/// # use std::time::Duration;
/// # use greenroom_queue::{Policy, Unique};
/// const ONE_OPEN: Policy = Policy::on("mail").unique(Unique::WHILE_OPEN.replace());
/// const HOURLY: Policy = Policy::on("mail").unique(Unique::for_period(Duration::from_hours(1)));
/// const CALM: Policy = Policy::on("mail")
///     .unique(Unique::WHILE_OPEN.debounce(Duration::from_secs(5), Duration::from_mins(1)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Unique {
    /// How long the key stays held, counted from the enqueue, even if the job ends before; an open
    /// job holds it in any case.
    pub period: Option<Duration>,
    /// What a second enqueue does.
    pub again: Again,
}

/// What a second enqueue under a held key does. A job that runs, or is over, is never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Nothing: the holder's id is returned.
    Ignore,
    /// The waiting holder becomes the new job: its payload, user, priority and time. One that was ready
    /// keeps its place, unless the new job names a time.
    Replace,
    /// As `Replace`, but the time is this call's plus `wait`, and never later than `at_most` after the
    /// first. The first call waits too. A time the job names itself is not heeded.
    Debounce {
        /// The calm that must come before it runs.
        wait: Duration,
        /// The longest that calls can put it off.
        at_most: Duration,
    },
}

impl Unique {
    /// Holds the key from the enqueue to the end of the job. This is what a policy begins with.
    pub const WHILE_OPEN: Self = Self { period: None, again: Again::Ignore };

    /// Holds the key for a period from the enqueue, whatever becomes of the job, and while it is open.
    pub const fn for_period(period: Duration) -> Self {
        Self { period: Some(period), ..Self::WHILE_OPEN }
    }

    /// Lets a second enqueue replace the waiting job.
    pub const fn replace(mut self) -> Self {
        self.again = Again::Replace;
        self
    }

    /// Lets every further enqueue put the waiting job off by `wait`, `at_most` in all.
    pub const fn debounce(mut self, wait: Duration, at_most: Duration) -> Self {
        self.again = Again::Debounce { wait, at_most };
        self
    }
}
