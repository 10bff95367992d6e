//! Instants as people write them: a date and time, or an age.

use chrono::{DateTime, TimeDelta, Utc};
use greenroom_model::Clock;

const RULE: &str = "write an instant such as 2026-05-01T12:00:00Z, or an age such as 30s, 15m, 2h, 7d or 4w";

/// Reads an instant; an age is counted back from now.
pub(super) fn instant(text: &str) -> Result<DateTime<Utc>, &'static str> {
    at(text, Clock::system().now())
}

fn at(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, &'static str> {
    let Some(unit) = text.chars().next_back().filter(char::is_ascii_lowercase) else {
        return DateTime::parse_from_rfc3339(text).map(|instant| instant.to_utc()).map_err(|_| RULE);
    };
    let secs = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        'w' => 7 * 24 * 60 * 60,
        _ => return Err(RULE),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| RULE)?;
    let age = TimeDelta::try_seconds(i64::from(number) * secs).ok_or(RULE)?;
    now.checked_sub_signed(age).ok_or(RULE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_dates_are_read() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        for (text, secs) in
            [("30s", 30), ("15m", 900), ("2h", 7_200), ("7d", 604_800), ("4w", 2_419_200), ("0s", 0)]
        {
            assert_eq!(at(text, now), Ok(now - TimeDelta::seconds(secs)), "{text}");
        }
        assert_eq!(at("2027-01-15T09:00:00+01:00", now), Ok(now));
        for wrong in [
            "",
            "h",
            "2",
            "-2h",
            "2 h",
            "2y",
            "1.5h",
            "yesterday",
            "2026-05-01",
            "99999999999d",
            "4000000000w",
            "é",
        ] {
            assert_eq!(at(wrong, now), Err(RULE), "{wrong}");
        }
    }
}
