//! Pace: how often something may be done whose cost grows with what others keep.
//!
//! Dead entries that a held snapshot protects are walked again each time. What is paced takes a twentieth of the
//! time, however slow it gets.

use std::time::Duration;

use tokio::time::Instant;

/// When it may be done again.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Pace(Option<Instant>);

impl Pace {
    const SHARE: u32 = 20;
    const LONGEST: Duration = Duration::from_secs(15);

    /// Begins at an instant.
    pub(crate) fn from(instant: Instant) -> Self {
        Self(Some(instant))
    }

    pub(crate) fn is_due(&self) -> bool {
        self.0.is_none_or(|next| Instant::now() >= next)
    }

    pub(crate) fn took(&mut self, time: Duration) {
        self.0 = Some(Instant::now() + (time * Self::SHARE).min(Self::LONGEST));
    }
}
