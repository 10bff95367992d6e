//! Cron expressions as people write them, over the `cron` crate.
//!
//! Five fields are minutes to weekday, six begin with seconds. Weekdays mean what they mean in
//! crontab: 0 and 7 are Sunday. (The crate wants seconds always and counts Sunday as 1.)

use std::str::FromStr;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

/// A parsed expression in a time zone.
#[derive(Clone, Debug)]
pub struct Cron {
    schedule: cron::Schedule,
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
    /// The zone is not in the time zone database.
    #[error("there is no time zone {0:?}: write a name such as UTC or Europe/Berlin")]
    Timezone(String),
}

impl Cron {
    /// Parses an expression of five or six fields, for a zone of the time zone database.
    pub fn parse(expression: &str, timezone: &str) -> Result<Self, CronError> {
        let wrong = |why: String| CronError::Expression(expression.to_owned(), why);
        let mut fields: Vec<String> = expression.split_whitespace().map(str::to_owned).collect();
        match fields.len() {
            5 => fields.insert(0, "0".to_owned()),
            6 => {}
            n => return Err(CronError::Fields(expression.to_owned(), n)),
        }
        fields[5] = weekdays(&fields[5]).ok_or_else(|| wrong(format!("{:?} is no weekday", fields[5])))?;
        let schedule =
            cron::Schedule::from_str(&fields.join(" ")).map_err(|error| wrong(error.to_string()))?;
        let timezone = timezone.parse().map_err(|_| CronError::Timezone(timezone.to_owned()))?;
        Ok(Self { schedule, timezone })
    }

    /// Returns the first time after the given instant, if there is one.
    pub fn next_after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.schedule
            .after(&instant.with_timezone(&self.timezone))
            .next()
            .map(|fire| fire.with_timezone(&Utc))
    }
}

/// Turns crontab's numbers into names: `1-5` becomes `Mon-Fri`, `0,6` becomes `Sun,Sat`.
fn weekdays(field: &str) -> Option<String> {
    const NAMES: [&str; 8] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let name = |day: &str| match day.parse::<usize>() {
        Ok(n) => NAMES.get(n).map(|name| (*name).to_owned()),
        Err(_) => Some(day.to_owned()),
    };
    let parts = field.split(',').map(|part| {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let range = match range.split_once('-') {
            // The crate refuses a range that ends on Sunday, its first day: name the days instead.
            Some((from, to))
                if from.parse::<usize>().is_ok() && to.parse::<usize>().is_ok() && step.is_none() =>
            {
                let (from, to) = (from.parse::<usize>().ok()?, to.parse::<usize>().ok()?);
                (from <= to && to < NAMES.len()).then(|| NAMES[from..=to].join(","))?
            }
            Some((from, to)) => format!("{}-{}", name(from)?, name(to)?),
            None => name(range)?,
        };
        Some(step.map_or_else(|| range.clone(), |step| format!("{range}/{step}")))
    });
    parts.collect::<Option<Vec<_>>>().map(|parts| parts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fires(expression: &str, zone: &str, from: &str, n: usize) -> Vec<String> {
        let cron = Cron::parse(expression, zone).unwrap();
        let mut at: DateTime<Utc> = from.parse().unwrap();
        (0..n)
            .map(|_| {
                at = cron.next_after(at).unwrap();
                at.format("%a %F %T").to_string()
            })
            .collect()
    }

    #[test]
    fn five_fields_begin_with_minutes_and_six_with_seconds() {
        assert_eq!(
            fires("*/15 * * * *", "UTC", "2026-01-01T00:00:00Z", 2),
            ["Thu 2026-01-01 00:15:00", "Thu 2026-01-01 00:30:00"]
        );
        assert_eq!(fires("*/20 * * * * *", "UTC", "2026-01-01T00:00:00Z", 1), ["Thu 2026-01-01 00:00:20"]);
        assert!(matches!(Cron::parse("* * *", "UTC"), Err(CronError::Fields(_, 3))));
        assert!(matches!(Cron::parse("99 * * * *", "UTC"), Err(CronError::Expression(..))));
        assert!(matches!(Cron::parse("* * * * 9", "UTC"), Err(CronError::Expression(..))));
        assert!(matches!(Cron::parse("* * * * *", "Mars/Base"), Err(CronError::Timezone(_))));
    }

    #[test]
    fn weekdays_count_as_in_crontab() {
        let monday = ["Mon 2026-01-05 09:00:00"];
        assert_eq!(fires("0 9 * * 1", "UTC", "2026-01-01T00:00:00Z", 1), monday);
        for sunday in ["0 9 * * 0", "0 9 * * 7", "0 9 * * Sun"] {
            assert_eq!(fires(sunday, "UTC", "2026-01-01T00:00:00Z", 1), ["Sun 2026-01-04 09:00:00"]);
        }
        let workdays = fires("0 9 * * 1-5", "UTC", "2026-01-02T10:00:00Z", 5);
        assert_eq!(workdays[0], monday[0]);
        assert_eq!(workdays[4], "Fri 2026-01-09 09:00:00");
        assert_eq!(fires("0 9 * * 5-7", "UTC", "2026-01-02T10:00:00Z", 2)[1], "Sun 2026-01-04 09:00:00");
    }

    #[test]
    fn zones_and_leap_days_are_kept() {
        assert_eq!(
            fires("0 9 * * *", "Europe/Berlin", "2026-06-01T00:00:00Z", 1),
            ["Mon 2026-06-01 07:00:00"]
        );
        assert_eq!(fires("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", 1), ["Tue 2028-02-29 00:00:00"]);
    }
}
