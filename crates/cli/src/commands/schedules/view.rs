//! How schedules are shown.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use greenroom_queue::schedules::ScheduleRow;
use serde::Serialize;

use crate::terminal::plain;

pub(super) const HEAD: [&str; 8] = ["name", "cron", "zone", "next", "last", "outcome", "state", "late"];

/// A schedule with its coming ticks.
#[derive(Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    schedule: ScheduleRow,
    /// The coming ticks, of which the first may be late.
    next: Vec<DateTime<Utc>>,
}

impl Shown {
    pub(super) fn of(schedule: ScheduleRow, next: u16) -> Self {
        let next = schedule.upcoming(usize::from(next));
        Self { schedule, next }
    }

    pub(super) fn row(&self) -> [String; 8] {
        let schedule = &self.schedule;
        [
            schedule.name.clone(),
            schedule.cron.clone(),
            schedule.timezone.clone(),
            self.next.first().copied().map(instant).unwrap_or_default(),
            schedule.last_fire_at.map_or("never".to_owned(), instant),
            schedule.last_outcome.clone().unwrap_or_default(),
            self.state(),
            self.late().unwrap_or_default(),
        ]
    }

    pub(super) fn text(&self) -> String {
        let schedule = &self.schedule;
        let declared = schedule.declared_cron.as_ref().zip(schedule.declared_timezone.as_ref());
        let catch_up = schedule.declared_catch_up.as_deref().unwrap_or_default();
        let lines = [
            ("name", Some(schedule.name.clone())),
            ("kind", Some(schedule.kind.clone())),
            ("state", Some(self.state())),
            ("error", schedule.error.as_deref().map(plain)),
            ("cron", Some(format!("{} in {}", schedule.cron, schedule.timezone))),
            ("catch-up", Some(schedule.catch_up.clone())),
            ("declared", declared.map(|(cron, zone)| format!("{cron} in {zone}, catch-up {catch_up}"))),
            ("payload", Some(schedule.payload.to_string())),
            ("last", schedule.last_fire_at.map(instant)),
            ("job", schedule.last_job_id.map(|id| id.to_string())),
            ("outcome", schedule.last_outcome.clone()),
            ("skipped", (schedule.skipped > 0).then(|| schedule.skipped.to_string())),
            ("late", self.late()),
        ];
        let mut text = String::new();
        for (name, value) in lines {
            if let Some(value) = value {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{name:9} {value}");
            }
        }
        for fire in &self.next {
            let _ = writeln!(text, "{:9} {}", "next", instant(*fire));
        }
        text
    }

    /// Says in words what is not as the code has it, or keeps it from firing.
    fn state(&self) -> String {
        let schedule = &self.schedule;
        let words = [
            (schedule.paused, "paused"),
            (schedule.overridden, "overridden"),
            (schedule.undeclared, "not in the code"),
            (schedule.error.is_some(), "error"),
        ];
        let said: Vec<&str> = words.iter().filter(|(holds, _)| *holds).map(|(_, word)| *word).collect();
        if said.is_empty() { "on".to_owned() } else { said.join(", ") }
    }

    /// Says by how much its next tick is late; what is paused is not late.
    fn late(&self) -> Option<String> {
        #[expect(clippy::cast_possible_truncation, reason = "whole seconds are told")]
        let late = TimeDelta::seconds(self.schedule.lag_secs as i64);
        (late > TimeDelta::zero() && !self.schedule.paused).then(|| format!("{} s", late.num_seconds()))
    }
}

fn instant(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Secs, true)
}
