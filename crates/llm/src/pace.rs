//! Limits that an answer announces in its headers: when nothing is left, the next call waits until there is.

use chrono::{DateTime, TimeDelta, Utc};
use greenroom_http::HeaderMap;

/// What is left of, and when it comes back; in OpenAI's and in Anthropic's words.
const LIMITS: [(&str, &str); 5] = [
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"),
];

/// Returns when the server may be asked again, where it has said that nothing is left.
pub(crate) fn resume_at(headers: &HeaderMap, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    LIMITS
        .iter()
        .filter(|(remaining, _)| text(remaining).and_then(|left| left.parse::<i64>().ok()) == Some(0))
        .filter_map(|(_, reset)| instant(text(reset)?, now))
        .max()
}

/// Reads an instant of RFC 3339, or a duration such as `6m0s`, `1.5s` or `20ms`.
fn instant(text: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Some(instant.to_utc());
    }
    let (mut rest, mut millis) = (text.trim(), 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, unit) = rest.split_at(digits);
        let end = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        let number: f64 = number.parse().ok()?;
        millis += number
            * match &unit[..end] {
                "ms" => 1.0,
                "s" => 1_000.0,
                "m" => 60_000.0,
                "h" => 3_600_000.0,
                _ => return None,
            };
        rest = &unit[end..];
    }
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds, cut where no server means it")]
    let wait = TimeDelta::milliseconds(millis.clamp(0.0, 86_400_000.0).ceil() as i64);
    Some(now + wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_instants_are_understood() {
        let now: DateTime<Utc> = "2026-11-27T05:00:00Z".parse().unwrap();
        let millis = |text: &str| instant(text, now).map(|instant| (instant - now).num_milliseconds());
        assert_eq!(millis("6m0s"), Some(360_000));
        assert_eq!(millis("1.5s"), Some(1_500));
        assert_eq!(millis("20ms"), Some(20));
        assert_eq!(millis("2026-11-27T05:00:03Z"), Some(3_000));
        for wrong in ["soon", "5", "5 apples"] {
            assert_eq!(millis(wrong), None, "{wrong}");
        }
        let mut headers = HeaderMap::new();
        headers.insert("x-ratelimit-remaining-requests", "3".parse().unwrap());
        headers.insert("x-ratelimit-reset-requests", "9s".parse().unwrap());
        assert_eq!(resume_at(&headers, now), None, "something is left");
        headers.insert("x-ratelimit-remaining-requests", "0".parse().unwrap());
        assert_eq!(resume_at(&headers, now), Some(now + TimeDelta::seconds(9)));
    }
}
