//! How lanes and pools are shown.

use chrono::{DateTime, SecondsFormat, Utc};
use greenroom_queue::{LaneRow, PoolRow};

pub(super) const LANE_HEAD: [&str; 7] = ["lane", "pool", "ready", "running", "cap", "weight", "state"];
pub(super) const POOL_HEAD: [&str; 5] = ["pool", "running", "units", "window ends", "state"];

/// Counts are not taken further.
const MANY: i64 = 1_000;

pub(super) fn lane(lane: &LaneRow) -> [String; 7] {
    let asleep = if lane.awake { "awake" } else { "asleep" };
    [
        lane.key.clone(),
        lane.pool.clone(),
        count(lane.ready),
        count(lane.running),
        lane.cap.map_or_else(|| "no".to_owned(), |cap| cap.to_string()),
        lane.weight.to_string(),
        state(lane.paused, lane.open_until, lane.open_reason.as_deref()).unwrap_or_else(|| asleep.to_owned()),
    ]
}

pub(super) fn pool(pool: &PoolRow) -> [String; 5] {
    let of = |limit: Option<i64>| limit.map_or_else(String::new, |limit| format!(" of {limit}"));
    let units =
        pool.budget.map_or_else(|| "no limit".to_owned(), |_| format!("{}{}", pool.granted, of(pool.budget)));
    [
        pool.name.clone(),
        format!("{}{}", pool.running, of(pool.cap.map(i64::from))),
        units,
        pool.window_ends_at.map(instant).unwrap_or_default(),
        state(pool.paused, pool.open_until, pool.open_reason.as_deref())
            .unwrap_or_else(|| "open for jobs".to_owned()),
    ]
}

fn state(paused: bool, open_until: Option<DateTime<Utc>>, reason: Option<&str>) -> Option<String> {
    let breaker =
        open_until.map(|until| format!("breaker open until {}: {}", instant(until), reason.unwrap_or("?")));
    if paused { Some("paused".to_owned()) } else { breaker }
}

fn count(n: i64) -> String {
    if n >= MANY { format!("{MANY}+") } else { n.to_string() }
}

fn instant(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Secs, true)
}
