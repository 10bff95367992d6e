//! How queues, workers, lanes and pools are shown.

use chrono::{DateTime, SecondsFormat, Utc};
use greenroom_queue::{LaneRow, PoolRow, QueueRow, WorkerRow};

pub(super) const QUEUE_HEAD: [&str; 10] =
    ["queue", "state", "ready", "blocked", "later", "held", "oldest", "busy", "workers", "open lanes"];
pub(super) const WORKER_HEAD: [&str; 7] = ["worker", "host", "pid", "version", "busy", "silent", "queues"];

pub(super) const LANE_HEAD: [&str; 7] = ["lane", "pool", "ready", "running", "cap", "weight", "state"];
pub(super) const POOL_HEAD: [&str; 5] = ["pool", "running", "units", "window ends", "state"];

/// Counts of queues are not taken further.
const DEPTH: i64 = 5_000;
/// Nor are those of lanes.
const MANY: i64 = 999;
/// How much of a breaker's reason a table has room for; `why` tells all of it.
const REASON: usize = 60;

pub(super) fn queue(queue: &QueueRow) -> [String; 10] {
    [
        queue.queue.clone(),
        if queue.paused { "paused" } else { "open" }.to_owned(),
        many(queue.ready, DEPTH),
        many(queue.blocked, DEPTH),
        many(queue.later, DEPTH),
        many(queue.held, DEPTH),
        queue.oldest_secs.map(lasting).unwrap_or_default(),
        format!("{} of {}", queue.running, queue.slots),
        queue.workers.to_string(),
        queue.open_lanes.to_string(),
    ]
}

pub(super) fn worker(worker: &WorkerRow) -> [String; 7] {
    let queues =
        worker.queues.iter().zip(&worker.queue_slots).map(|(queue, slots)| format!("{queue}:{slots}"));
    let silence = lasting(worker.silent_secs);
    // Host and process tell workers of one name apart.
    let name = worker.name.strip_suffix(&format!("-{}", worker.id)).unwrap_or(&worker.name);
    [
        if worker.sweeps { format!("{name} (sweeps)") } else { name.to_owned() },
        worker.host.clone(),
        worker.pid.to_string(),
        worker.version.clone(),
        format!("{} of {}", worker.busy, worker.slots),
        if worker.silent { format!("{silence}, too long") } else { silence },
        queues.collect::<Vec<_>>().join(","),
    ]
}

/// Says how long something lasts, in the two units that matter.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is not negative, nor 2^63 s")]
fn lasting(secs: f64) -> String {
    let secs = secs.max(0.0) as u64;
    match (secs / 86_400, secs / 3_600 % 24, secs / 60 % 60, secs % 60) {
        (0, 0, 0, secs) => format!("{secs} s"),
        (0, 0, mins, secs) => format!("{mins} min {secs} s"),
        (0, hours, mins, _) => format!("{hours} h {mins} min"),
        (days, hours, ..) => format!("{days} d {hours} h"),
    }
}

pub(super) fn lane(lane: &LaneRow, now: DateTime<Utc>) -> [String; 7] {
    let is_full = lane.cap.is_some_and(|cap| lane.running >= i64::from(cap));
    let held = hold(lane.paused, lane.open_until, lane.open_reason.as_deref(), now);
    let state = match held {
        Some(held) => held,
        None if is_full => "full".to_owned(),
        None if lane.awake => "awake".to_owned(),
        None => "asleep".to_owned(),
    };
    [
        lane.key.clone(),
        lane.pool.clone(),
        many(lane.ready, MANY),
        many(lane.running, MANY),
        lane.cap.map_or_else(|| "no".to_owned(), |cap| cap.to_string()),
        lane.weight.to_string(),
        state,
    ]
}

pub(super) fn pool(pool: &PoolRow, now: DateTime<Utc>) -> [String; 5] {
    let of = |limit: Option<i64>| limit.map_or_else(String::new, |limit| format!(" of {limit}"));
    let units =
        pool.budget.map_or_else(|| "no limit".to_owned(), |_| format!("{}{}", pool.granted, of(pool.budget)));
    let state = match hold(pool.paused, pool.open_until, pool.open_reason.as_deref(), now) {
        Some(held) => held,
        None if pool.budget.is_some_and(|budget| pool.granted >= budget) => {
            "spent until the window ends".to_owned()
        }
        None if pool.cap.is_some_and(|cap| pool.running >= i64::from(cap)) => "full".to_owned(),
        None => "open for jobs".to_owned(),
    };
    [
        pool.name.clone(),
        format!("{}{}", pool.running, of(pool.cap.map(i64::from))),
        units,
        pool.window_ends_at.map(instant).unwrap_or_default(),
        state,
    ]
}

/// Says what holds up a lane or a pool, whatever it could give.
fn hold(
    paused: bool,
    open_until: Option<DateTime<Utc>>,
    reason: Option<&str>,
    now: DateTime<Utc>,
) -> Option<String> {
    let reason: String = reason.unwrap_or("?").chars().take(REASON).collect();
    match open_until {
        _ if paused => Some("paused".to_owned()),
        Some(until) if until > now => Some(format!("breaker open until {}: {reason}", instant(until))),
        Some(_) => Some(format!("half-open, one job tries: {reason}")),
        None => None,
    }
}

/// Tells a count that was taken to `most` and no further.
fn many(n: i64, most: i64) -> String {
    if n > most { format!("{most}+") } else { n.to_string() }
}

fn instant(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Secs, true)
}
