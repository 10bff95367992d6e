//! What YouTube's errors mean, decided once: the table of its error reasons.

use chrono::{DateTime, Days, TimeDelta, TimeZone as _, Utc};
use chrono_tz::America::Los_Angeles;
use greenroom_http::{Class, Refused, Verdict};
use serde::Deserialize;

/// How long YouTube is left alone when the project itself may not ask it.
const CONFIGURATION_PAUSE: TimeDelta = TimeDelta::minutes(10);

#[derive(Deserialize)]
struct Envelope {
    error: ApiError,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ApiError {
    message: String,
    errors: Vec<Reason>,
    status: String,
    details: Vec<Detail>,
}

#[derive(Deserialize)]
struct Reason {
    reason: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Detail {
    reason: String,
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    quota_limit: String,
}

/// Reads an error of the Data API: by its reason first, then by its status, then by the HTTP status.
pub(crate) fn classify(refused: &Refused<'_>) -> Verdict {
    let Ok(Envelope { error }) = serde_json::from_slice::<Envelope>(refused.body) else {
        return Verdict::by_status(refused);
    };
    let detail = error.details.iter().find(|detail| !detail.reason.is_empty());
    let code = error
        .errors
        .first()
        .map(|error| error.reason.clone())
        .or_else(|| detail.map(|detail| detail.reason.clone()))
        .or_else(|| Some(error.status.clone()).filter(|status| !status.is_empty()));
    let per_day = detail.is_some_and(|detail| detail.metadata.quota_limit.contains("PerDay"));
    let class = match code.as_deref().unwrap_or_default() {
        code if is_days_quota(code) => Class::RetryAt(next_pacific_midnight(refused.now)),
        _ if per_day => Class::RetryAt(next_pacific_midnight(refused.now)),
        // The last is usually bad input, but it passes often enough to be tried again.
        "rateLimitExceeded" | "userRateLimitExceeded" | "RATE_LIMIT_EXCEEDED" | "processingFailure" => {
            Class::Retry
        }
        // Only an operator can switch the API on; no connection is at fault.
        "accessNotConfigured" | "SERVICE_DISABLED" => Class::RetryAt(refused.now + CONFIGURATION_PAUSE),
        "youtubeSignupRequired" => Class::Reject,
        _ => Verdict::by_status(refused).class,
    };
    Verdict { class, code, message: Some(error.message).filter(|message| !message.is_empty()) }
}

/// Tells whether YouTube's name for a refusal says that the project's units of the day are used up.
pub(crate) fn is_days_quota(code: &str) -> bool {
    matches!(code, "quotaExceeded" | "dailyLimitExceeded")
}

/// Returns when a day's quota comes back: the next midnight in California.
pub(crate) fn next_pacific_midnight(now: DateTime<Utc>) -> DateTime<Utc> {
    let tomorrow = now.with_timezone(&Los_Angeles).date_naive() + Days::new(1);
    // Clocks there change at two in the morning, so every midnight happens once.
    tomorrow
        .and_hms_opt(0, 0, 0)
        .and_then(|midnight| Los_Angeles.from_local_datetime(&midnight).earliest())
        .map_or(now + TimeDelta::days(1), |midnight| midnight.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: u16, body: &str) -> Verdict {
        let now = "2026-11-22T12:00:00Z".parse().unwrap();
        classify(&Refused { status, headers: &greenroom_http::HeaderMap::new(), body: body.as_bytes(), now })
    }

    fn by_reason(status: u16, reason: &str) -> Class {
        verdict(
            status,
            &format!(r#"{{"error":{{"code":{status},"message":"m","errors":[{{"reason":"{reason}"}}]}}}}"#),
        )
        .class
    }

    #[test]
    fn an_empty_day_s_budget_waits_for_midnight_in_california() {
        let midnight: DateTime<Utc> = "2026-11-23T08:00:00Z".parse().unwrap();
        assert_eq!(by_reason(403, "quotaExceeded"), Class::RetryAt(midnight));
        let granular = r#"{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[
            {"reason":"RATE_LIMIT_EXCEEDED","metadata":{"quota_limit":"SearchQueriesPerDayPerProject"}}]}}"#;
        assert_eq!(verdict(429, granular).class, Class::RetryAt(midnight));
        // In summer the same midnight is an hour earlier, and the change of clocks is no day without one.
        let summer: DateTime<Utc> = "2026-06-01T12:00:00Z".parse().unwrap();
        assert_eq!(next_pacific_midnight(summer).to_rfc3339(), "2026-06-02T07:00:00+00:00");
        let change: DateTime<Utc> = "2026-03-08T09:00:00Z".parse().unwrap();
        assert_eq!(next_pacific_midnight(change).to_rfc3339(), "2026-03-09T07:00:00+00:00");
    }

    #[test]
    fn every_reason_has_its_class() {
        for (status, reason, class) in [
            (401, "authError", Class::Reauthorise),
            (401, "youtubeSignupRequired", Class::Reject),
            (403, "rateLimitExceeded", Class::Retry),
            (403, "commentsDisabled", Class::Reject),
            (403, "insufficientPermissions", Class::Reject),
            (404, "videoNotFound", Class::Reject),
            (400, "processingFailure", Class::Retry),
            (400, "invalidPageToken", Class::Reject),
            (503, "backendError", Class::Retry),
        ] {
            assert_eq!(by_reason(status, reason), class, "{status} {reason}");
        }
        let minute = r#"{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[
            {"reason":"RATE_LIMIT_EXCEEDED","metadata":{"quota_limit":"PerMinutePerProject"}}]}}"#;
        assert_eq!(
            (verdict(429, minute).class, verdict(429, minute).code),
            (Class::Retry, Some("RATE_LIMIT_EXCEEDED".into()))
        );
        assert_eq!(verdict(502, "<html>").class, Class::Retry);
    }
}
