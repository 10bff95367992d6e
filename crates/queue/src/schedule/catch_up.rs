//! What becomes of ticks that were missed, while nobody ran or the schedule was paused.

use chrono::{DateTime, TimeDelta, Utc};

use crate::Cron;

/// The most missed ticks of one schedule that `all` catches up with at a time.
const CATCH_UP_LIMIT: usize = 1_000;
/// How late a tick may be and still not be a missed one.
pub(super) const ON_TIME: TimeDelta = TimeDelta::minutes(1);

/// What becomes of ticks that were missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// They are left out.
    Skip,
    /// The latest of them runs.
    Latest,
    /// Every one of them runs.
    All,
}

impl CatchUp {
    /// Returns its name in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Latest => "latest",
            Self::All => "all",
        }
    }

    /// Reads its name in the table, where a CHECK allows no other.
    pub(super) fn parse(text: &str) -> Self {
        match text {
            "skip" => Self::Skip,
            "all" => Self::All,
            _ => Self::Latest,
        }
    }
}

/// Returns the fire times to enqueue now, by the catch-up policy, and the next one after them.
pub(super) fn missed(
    cron: &Cron,
    catch_up: CatchUp,
    first: DateTime<Utc>,
    now: DateTime<Utc>,
) -> (Vec<DateTime<Utc>>, Option<DateTime<Utc>>) {
    let mut fires = match catch_up {
        // The rest of a long absence is caught up with at the next tick.
        CatchUp::All => std::iter::successors(Some(first), |fire| cron.next_after(*fire))
            .take_while(|fire| *fire <= now)
            .take(CATCH_UP_LIMIT)
            .collect(),
        CatchUp::Skip | CatchUp::Latest => vec![cron.last_between(first, now).unwrap_or(first)],
    };
    let next = cron.next_after(fires.last().copied().unwrap_or(first));
    if catch_up == CatchUp::Skip {
        fires.retain(|fire| now - *fire <= ON_TIME);
    }
    (fires, next)
}
