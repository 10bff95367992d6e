//! The `Retry-After` header: seconds, or one of the three dates of RFC 9110.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// Nobody is left alone for longer: a larger number is a fault of the service.
const LONGEST: Duration = Duration::from_hours(24);

/// Reads how long to wait from now; `None` where the header is absent or makes no sense.
pub(crate) fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(secs) => Duration::from_secs(secs),
        // A date in the past means at once.
        Err(_) => (http_date(text)? - now).to_std().unwrap_or_default(),
    };
    Some(wait.min(LONGEST))
}

fn http_date(text: &str) -> Option<DateTime<Utc>> {
    let formats = ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    formats
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .map(|date| date.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(text: &str) -> Option<u64> {
        let now = DateTime::parse_from_rfc3339("1994-11-06T08:49:00Z").unwrap().to_utc();
        let headers = [(RETRY_AFTER, text.parse().unwrap())].into_iter().collect();
        retry_after(&headers, now).map(|wait| wait.as_secs())
    }

    #[test]
    fn reads_seconds_and_all_three_dates() {
        assert_eq!(wait("0"), Some(0));
        assert_eq!(wait(" 120 "), Some(120));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(37));
        assert_eq!(wait("Sunday, 06-Nov-94 08:49:37 GMT"), Some(37));
        assert_eq!(wait("Sun Nov  6 08:49:37 1994"), Some(37));
    }

    #[test]
    fn the_past_is_now_and_for_ever_is_a_day() {
        assert_eq!(wait("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        assert_eq!(wait("99999999999"), Some(86_400));
        assert_eq!(wait("Sun, 06 Nov 2094 08:49:37 GMT"), None, "that day is a Saturday");
        assert_eq!(wait("Sat, 06 Nov 2094 08:49:37 GMT"), Some(86_400));
    }

    #[test]
    fn nonsense_is_nothing() {
        for text in ["", "-1", "1.5", "soon", "99999999999999999999999"] {
            assert_eq!(wait(text), None, "{text}");
        }
    }
}
