//! How jobs are shown.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
use greenroom_model::JobId;
use greenroom_queue::{Attempt, JobRow, KindInfo, Lane, Outcome};
use serde::Serialize;

use crate::terminal::plain;

pub(super) const HEAD: [&str; 7] = ["id", "kind", "queue", "status", "attempt", "created", "error"];

/// Says what an enqueue met, if it made no job.
pub(super) fn met(id: JobId, outcome: Outcome) -> Option<String> {
    let what = match outcome {
        Outcome::Created => return None,
        Outcome::Kept => "is open already",
        Outcome::Replaced => "waited, and was replaced",
        Outcome::Debounced => "waited, and was put off",
        Outcome::Running => "runs already; nothing was enqueued",
        Outcome::Over => "is over, but holds its key for a while; nothing was enqueued",
    };
    Some(format!("note: job {id} with the same unique key {what}"))
}

/// Errors longer than this are cut in a table; `jobs show` has them whole.
const ERROR_LETTERS: usize = 60;

pub(super) fn row(job: &JobRow) -> [String; 7] {
    [
        job.id.to_string(),
        job.kind.clone(),
        job.queue.clone(),
        status(job),
        format!("{}/{}", job.attempt, job.max_attempts),
        instant(job.created_at),
        brief(job.error_message.as_deref()),
    ]
}

/// Cuts an error to what a table has room for.
pub(super) fn brief(error: Option<&str>) -> String {
    error.unwrap_or_default().chars().take(ERROR_LETTERS).collect()
}

fn status(job: &JobRow) -> String {
    let more = job
        .failure
        .as_deref()
        .or_else(|| {
            job.held.as_deref().map(|held| if held == "kind" { "kind is paused" } else { "behind a batch" })
        })
        .or_else(|| (job.cancel_requested && job.status == "running").then_some("cancelling"));
    more.map_or_else(|| job.status.clone(), |more| format!("{} ({more})", job.status))
}

pub(super) fn instant(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A job with what became of its attempts.
#[derive(Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    pub(super) job: JobRow,
    pub(super) attempts: Vec<Attempt>,
}

impl Shown {
    pub(super) fn text(&self) -> String {
        let job = &self.job;
        let json = |value: &Option<serde_json::Value>| value.as_ref().map(ToString::to_string);
        let lines = [
            ("id", Some(job.id.to_string())),
            ("kind", Some(job.kind.clone())),
            ("status", Some(status(job))),
            ("error", job.error_message.as_deref().map(plain)),
            ("alike", job.fingerprint.map(|fingerprint| fingerprint.to_string())),
            ("user", job.user_id.map(|id| id.to_string())),
            ("payload", Some(job.payload.to_string())),
            ("progress", json(&job.progress)),
            ("result", json(&job.result)),
            ("queue", Some(job.queue.clone())),
            ("pool", Some(job.pool.clone()).filter(|pool| !pool.is_empty())),
            ("lane", job.lane.as_deref().map(plain)),
            ("batch", job.batch.map(|id| id.to_string())),
            ("follows", job.after_batch.map(|id| id.to_string())),
            ("priority", Some(job.priority.to_string())),
            ("attempt", Some(format!("{} of {}", job.attempt, job.max_attempts))),
            ("created", Some(instant(job.created_at))),
            ("runs at", Some(instant(job.run_at))),
            ("started", job.started_at.map(instant)),
            ("worker", job.worker_id.map(|id| id.to_string())),
            ("lease", job.leased_until.map(|until| format!("until {}", instant(until)))),
            ("ended", job.completed_at.map(instant)),
        ];
        let mut text = String::new();
        for (name, value) in lines {
            if let Some(value) = value {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{name:9} {value}");
            }
        }
        for attempt in &self.attempts {
            let error = attempt.error.as_deref().map(plain).unwrap_or_default();
            let _ = writeln!(
                text,
                "{:9} {} {} {error}",
                format!("attempt {}", attempt.number),
                instant(attempt.finished_at),
                attempt.outcome
            );
        }
        text
    }
}

pub(super) const KIND_HEAD: [&str; 7] =
    ["kind", "queue", "attempts", "timeout", "priority", "lane", "schedule"];

/// A kind and its policy.
#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the names of the document")]
pub(super) struct Kind {
    kind: &'static str,
    queue: &'static str,
    max_attempts: u16,
    timeout_secs: u64,
    priority: u8,
    /// The field of the payload by which jobs hold each other back.
    lane_field: Option<&'static str>,
    /// How many of a lane run at once.
    lane_cap: Option<u16>,
    cron: Option<&'static str>,
}

impl Kind {
    pub(super) fn of(info: &KindInfo) -> Self {
        let policy = info.policy;
        let (lane_field, lane_cap) = match policy.lane {
            Lane::Shared => (None, None),
            Lane::Keyed { field, cap } => (Some(field), Some(cap)),
        };
        Self {
            kind: info.kind,
            queue: policy.queue,
            max_attempts: policy.max_attempts,
            timeout_secs: policy.timeout.as_secs(),
            priority: policy.priority,
            lane_field,
            lane_cap,
            cron: policy.cron,
        }
    }

    pub(super) fn row(&self) -> [String; 7] {
        let lane = self.lane_field.zip(self.lane_cap).map(|(field, cap)| format!("{cap} a {field}"));
        [
            self.kind.to_owned(),
            self.queue.to_owned(),
            self.max_attempts.to_string(),
            format!("{} s", self.timeout_secs),
            self.priority.to_string(),
            lane.unwrap_or_default(),
            self.cron.unwrap_or_default().to_owned(),
        ]
    }
}
