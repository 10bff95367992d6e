//! A project's quota, by bucket and Pacific day.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use crate::settings::Quota;

/// A budget of the project that is used up by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Bucket {
    /// Every list method.
    #[serde(rename = "default")]
    Default,
    /// `videos:batchGetStats`.
    #[serde(rename = "videos.batchGetStats")]
    BatchGetStats,
}

/// Counts units against the limits; a day begins at midnight in Los Angeles.
#[derive(Debug)]
pub(crate) struct Meter {
    limits: Quota,
    used: BTreeMap<NaiveDate, BTreeMap<Bucket, u64>>,
    exhausted: Option<(NaiveDate, Bucket)>,
}

impl Meter {
    pub(crate) fn new(limits: Quota) -> Self {
        Self { limits, used: BTreeMap::new(), exhausted: None }
    }

    /// Takes a unit, and answers false when the bucket is empty.
    pub(crate) fn take(&mut self, bucket: Bucket, now: DateTime<Utc>) -> bool {
        let day = pacific_day(now);
        let limit = match bucket {
            Bucket::Default => self.limits.default_units,
            Bucket::BatchGetStats => self.limits.batch_get_stats_units,
        };
        let used = self.used.entry(day).or_default().entry(bucket).or_default();
        if *used >= limit || self.exhausted == Some((day, bucket)) {
            return false;
        }
        *used += 1;
        true
    }

    /// Empties a bucket for the rest of the day, as another user of the project would.
    pub(crate) fn exhaust(&mut self, bucket: Bucket, now: DateTime<Utc>) {
        self.exhausted = Some((pacific_day(now), bucket));
    }

    pub(crate) fn used(&self) -> BTreeMap<NaiveDate, BTreeMap<Bucket, u64>> {
        self.used.clone()
    }
}

fn pacific_day(now: DateTime<Utc>) -> NaiveDate {
    now.with_timezone(&chrono_tz::America::Los_Angeles).date_naive()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_at_midnight_in_los_angeles() {
        let mut meter = Meter::new(Quota { default_units: 1, batch_get_stats_units: 1 });
        let at = |text: &str| text.parse::<DateTime<Utc>>().expect("an instant");
        assert!(meter.take(Bucket::Default, at("2026-07-01T06:59:59Z")));
        assert!(!meter.take(Bucket::Default, at("2026-07-01T06:59:59Z")));
        assert!(meter.take(Bucket::BatchGetStats, at("2026-07-01T06:59:59Z")));
        assert!(meter.take(Bucket::Default, at("2026-07-01T07:00:00Z")), "summer: seven hours behind");
        assert!(meter.take(Bucket::Default, at("2026-12-01T07:59:59Z")));
        assert!(meter.take(Bucket::Default, at("2026-12-01T08:00:00Z")), "winter: eight");
    }

    #[test]
    fn an_exhausted_bucket_fills_up_the_next_day() {
        let mut meter = Meter::new(Quota { default_units: 10, batch_get_stats_units: 10 });
        let now: DateTime<Utc> = "2026-07-01T12:00:00Z".parse().expect("an instant");
        meter.exhaust(Bucket::Default, now);
        assert!(!meter.take(Bucket::Default, now));
        assert!(meter.take(Bucket::BatchGetStats, now));
        assert!(meter.take(Bucket::Default, now + chrono::TimeDelta::days(1)));
    }
}
