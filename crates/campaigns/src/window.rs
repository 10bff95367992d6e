//! The hours of somebody's day in which they are written to.

use chrono::{DateTime, Days, LocalResult, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

/// The hours, and where they are counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub zone: Tz,
    pub opens: NaiveTime,
    pub closes: NaiveTime,
}

impl Window {
    /// Returns the first instant from this one on that is in the window.
    pub(crate) fn next(&self, from: DateTime<Utc>) -> DateTime<Utc> {
        let local = from.with_timezone(&self.zone).naive_local();
        let (date, time) = (local.date(), local.time());
        let is_open = if self.opens <= self.closes {
            self.opens == self.closes || (self.opens <= time && time < self.closes)
        } else {
            time >= self.opens || time < self.closes
        };
        if is_open {
            return from;
        }
        let date = if time < self.opens { date } else { date.checked_add_days(Days::new(1)).unwrap_or(date) };
        // An hour that comes twice may have put it before: never back in time.
        self.instant(date.and_time(self.opens)).max(from)
    }

    /// Returns a local time's instant: the first of two, and the first after a gap.
    fn instant(&self, local: NaiveDateTime) -> DateTime<Utc> {
        let minutes = (0..24 * 60).map(|minute| local + TimeDelta::minutes(minute));
        let mut known = minutes.filter_map(|local| match self.zone.from_local_datetime(&local) {
            LocalResult::Single(instant) | LocalResult::Ambiguous(instant, _) => Some(instant.to_utc()),
            LocalResult::None => None,
        });
        // No zone has ever jumped over a day and a half; the fallback is the same time in UTC.
        known.next().unwrap_or_else(|| local.and_utc())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(zone: &str, opens: &str, closes: &str, from: &str) -> String {
        let time = |text: &str| NaiveTime::parse_from_str(text, "%H:%M").unwrap();
        let window = Window { zone: zone.parse().unwrap(), opens: time(opens), closes: time(closes) };
        window.next(from.parse().unwrap()).to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
    }

    #[test]
    fn waits_for_the_morning_of_the_person() {
        let berlin = |from| next("Europe/Berlin", "09:00", "18:00", from);
        assert_eq!(berlin("2026-06-01T06:59:59Z"), "2026-06-01T07:00:00Z");
        assert_eq!(berlin("2026-06-01T07:00:00Z"), "2026-06-01T07:00:00Z");
        assert_eq!(berlin("2026-06-01T15:59:59Z"), "2026-06-01T15:59:59Z");
        assert_eq!(berlin("2026-06-01T16:00:00Z"), "2026-06-02T07:00:00Z");
        assert_eq!(next("Asia/Kathmandu", "09:00", "18:00", "2026-06-01T00:00:00Z"), "2026-06-01T03:15:00Z");
        assert_eq!(next("UTC", "00:00", "00:00", "2026-06-01T03:00:00Z"), "2026-06-01T03:00:00Z");
        assert_eq!(next("UTC", "22:00", "02:00", "2026-06-01T01:00:00Z"), "2026-06-01T01:00:00Z");
        assert_eq!(next("UTC", "22:00", "02:00", "2026-06-01T03:00:00Z"), "2026-06-01T22:00:00Z");
    }

    #[test]
    fn hours_that_do_not_exist_or_come_twice() {
        // On 29 March 2026 the clock of Berlin goes from 02:00 to 03:00, which is 01:00 UTC.
        assert_eq!(next("Europe/Berlin", "02:30", "18:00", "2026-03-29T00:00:00Z"), "2026-03-29T01:00:00Z");
        // On 25 October it goes from 03:00 back to 02:00: 02:30 is 00:30 UTC, and 01:30 UTC again.
        assert_eq!(next("Europe/Berlin", "02:30", "18:00", "2026-10-24T23:00:00Z"), "2026-10-25T00:30:00Z");
    }
}
