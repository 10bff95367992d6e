//! Cron expressions as people write them, over the `cron` crate.
//!
//! Five fields are minutes to weekday, six begin with seconds; `@daily` and its like stand for five. As
//! in crontab, 0 and 7 are Sunday, and where both the day and the weekday are restricted either of them
//! will do. (The crate wants seconds always, counts Sunday as 1, and asks for both.)
//!
//! An expression means wall clock time in its zone. Where the clocks are changed, one that names hours
//! fires exactly once for each local time: what falls into the gap of spring comes at the first instant
//! after it, and what comes twice in autumn fires the first time. One that fires in every hour goes on by
//! real time: it has nothing to make up for in the gap, and fires in both of the repeated hours.

#[cfg(test)]
mod tests;

use std::str::FromStr;

use chrono::{DateTime, MappedLocalTime, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};
use cron::{Schedule, TimeUnitSpec};

/// A parsed expression in a time zone.
#[derive(Clone, Debug)]
pub struct Cron {
    /// Where two are, either fires.
    schedules: Vec<Schedule>,
    timezone: Tz,
}

/// Why an expression is not understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CronError {
    /// The number of fields is wrong.
    #[error(
        "the cron expression {0:?} has {1} fields: write five (minute hour day month weekday) or six, seconds first"
    )]
    Fields(String, usize),
    /// A field is wrong.
    #[error("the cron expression {0:?} is not understood: {1}")]
    Expression(String, String),
    /// There is no such day.
    #[error("the cron expression {0:?} never fires: no month it names has such a day")]
    Never(String),
    /// The zone is not in the time zone database.
    #[error("there is no time zone {0:?}: write a name such as UTC or Europe/Berlin")]
    Timezone(String),
}

/// The fields in their order, with what may stand in them.
const FIELDS: [(&str, &str); 6] = [
    ("second", "0 to 59"),
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day", "1 to 31"),
    ("month", "1 to 12 or jan to dec"),
    ("weekday", "0 to 7 or sun to sat"),
];
const DAY: usize = 3;
const WEEKDAY: usize = 5;

impl Cron {
    /// Parses an expression of five or six fields, for a zone of the time zone database.
    pub fn parse(expression: &str, timezone: &str) -> Result<Self, CronError> {
        let zone = timezone.parse().map_err(|_| CronError::Timezone(timezone.to_owned()))?;
        let mut fields: Vec<&str> = nickname(expression.trim()).split_whitespace().collect();
        match fields.len() {
            5 => fields.insert(0, "0"),
            6 => {}
            n => return Err(CronError::Fields(expression.to_owned(), n)),
        }
        let wrong = |field: usize| {
            let (name, range) = FIELDS[field];
            let why = format!(
                "the {name} {:?} is not of {range}, as numbers, ranges (a-b), steps (a-b/n, */n) and lists of them",
                fields[field]
            );
            CronError::Expression(expression.to_owned(), why)
        };
        let weekday = weekdays(fields[WEEKDAY]).ok_or_else(|| wrong(WEEKDAY))?;
        let is_restricted = |field: &str| !field.starts_with(['*', '?']);
        let either = is_restricted(fields[DAY]) && is_restricted(fields[WEEKDAY]);
        let mut schedules = Vec::with_capacity(2);
        for (day, weekday) in
            if either { vec![(fields[DAY], "*"), ("*", &*weekday)] } else { vec![(fields[DAY], &*weekday)] }
        {
            let crate_fields = [fields[0], fields[1], fields[2], day, fields[4], weekday];
            let schedule = Schedule::from_str(&crate_fields.join(" "))
                .map_err(|_| wrong((0..6).find(|n| !stands_alone(&crate_fields, *n)).unwrap_or(WEEKDAY)))?;
            schedules.push(schedule);
        }
        let cron = Self { schedules, timezone: zone };
        match cron.next_local(NaiveDateTime::default()) {
            Some(_) => Ok(cron),
            None => Err(CronError::Never(expression.to_owned())),
        }
    }

    /// Returns the zone whose wall clock it means.
    pub fn timezone(&self) -> Tz {
        self.timezone
    }

    /// Returns the first time after the given instant, if there is one.
    pub fn next_after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let local = instant.with_timezone(&self.timezone).naive_local();
        if !self.is_every_hour() {
            return self.first(local, instant, |at| self.once(at));
        }
        // In the first of two repeated hours, local times that seem to be over are to come again.
        let again = match self.timezone.from_local_datetime(&local) {
            MappedLocalTime::Ambiguous(first, second) if first == instant => local - (second - first),
            _ => local,
        };
        let zone = self.timezone;
        let first = self.first(local, instant, |at| zone.from_local_datetime(&at).earliest());
        let second = self.first(again, instant, |at| zone.from_local_datetime(&at).latest());
        first.into_iter().chain(second).min()
    }

    /// Returns the last time up to `until` that is after `since`, if there is one.
    pub(crate) fn last_between(&self, since: DateTime<Utc>, until: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // Looked for in longer and longer stretches before the end: so nobody counts the seconds of a year.
        let mut stretch = TimeDelta::minutes(1);
        loop {
            let from = since.max(until - stretch);
            let fires = std::iter::successors(self.next_after(from), |fire| self.next_after(*fire));
            let last = fires.take_while(|fire| *fire <= until).last();
            if last.is_some() || from == since {
                return last;
            }
            stretch = stretch * 2;
        }
    }

    fn is_every_hour(&self) -> bool {
        self.schedules.iter().all(|schedule| schedule.hours().is_all())
    }

    /// Returns the first instant after the given one that a local time from `local` on stands for.
    fn first(
        &self,
        local: NaiveDateTime,
        instant: DateTime<Utc>,
        pick: impl Fn(NaiveDateTime) -> Option<DateTime<Tz>>,
    ) -> Option<DateTime<Utc>> {
        std::iter::successors(self.next_local(local), |at| self.next_local(*at))
            .filter_map(pick)
            .map(|at| at.with_timezone(&Utc))
            .find(|at| *at > instant)
    }

    /// Returns the one instant that a local time stands for: the first, or the end of the gap it is in.
    fn once(&self, local: NaiveDateTime) -> Option<DateTime<Tz>> {
        let there = self.timezone.from_local_datetime(&local).earliest();
        there.or_else(|| GapInfo::new(&local, &self.timezone)?.end)
    }

    /// Returns the next local time, on a clock that nobody ever changes.
    fn next_local(&self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        let after = local.and_utc();
        self.schedules
            .iter()
            .filter_map(|schedule| schedule.after(&after).next())
            .min()
            .map(|at| at.naive_utc())
    }
}

/// Writes out what crontab's nicknames stand for.
fn nickname(expression: &str) -> &str {
    match expression.to_ascii_lowercase().as_str() {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => expression,
    }
}

/// Tells whether a field is understood when all others are `*`.
fn stands_alone(fields: &[&str; 6], n: usize) -> bool {
    let mut alone = ["*"; 6];
    alone[n] = fields[n];
    Schedule::from_str(&alone.join(" ")).is_ok()
}

/// Turns crontab's weekdays into the crate's numbers; a range may go over the end of the week.
fn weekdays(field: &str) -> Option<String> {
    let mut days = [false; 7];
    for part in field.split(',') {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let (from, to) = match range.split_once('-') {
            Some((from, to)) => (weekday(from)?, weekday(to)?),
            None if range == "*" || range == "?" => (0, 6),
            // As with the other fields, a day with a step goes on to the end of the week.
            None => (weekday(range)?, if step.is_some() { 6 } else { weekday(range)? }),
        };
        let to = if to < from { to + 7 } else { to };
        let step = step.map_or(Ok(1), str::parse).ok().filter(|step| (1..=7).contains(step))?;
        for day in (from..=to).step_by(step) {
            days[day % 7] = true;
        }
    }
    if days == [true; 7] {
        return Some("*".to_owned());
    }
    let numbers = (1..=7).filter(|number| days[number - 1]).map(|number| number.to_string());
    Some(numbers.collect::<Vec<_>>().join(","))
}

/// Reads a day as crontab counts them, 0 and 7 being Sunday, or by its name.
fn weekday(day: &str) -> Option<usize> {
    const NAMES: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
    match day.parse() {
        Ok(number) => (number <= 7).then_some(number),
        Err(_) => NAMES.iter().position(|name| {
            day.is_ascii() && (day.eq_ignore_ascii_case(name) || day.eq_ignore_ascii_case(&name[..3]))
        }),
    }
}
