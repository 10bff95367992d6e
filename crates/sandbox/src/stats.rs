//! What has been asked of the sandbox, so that tests count calls instead of guessing.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::{endpoint::Endpoint, google::Bucket};

/// What has been asked of the sandbox since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Calls by endpoint, refused ones too.
    pub calls: BTreeMap<Endpoint, u64>,
    /// Answers by endpoint and HTTP status.
    pub answers: BTreeMap<Endpoint, BTreeMap<u16, u64>>,
    /// Units of quota by Pacific day and bucket.
    pub units: BTreeMap<NaiveDate, BTreeMap<Bucket, u64>>,
    /// How many calls were in flight at once, at most.
    pub most_in_flight: u64,
}

impl Stats {
    /// Returns how often an endpoint was called.
    pub fn calls(&self, endpoint: Endpoint) -> u64 {
        self.calls.get(&endpoint).copied().unwrap_or(0)
    }

    /// Returns how often an endpoint answered with a status.
    pub fn answers(&self, endpoint: Endpoint, status: u16) -> u64 {
        self.answers.get(&endpoint).and_then(|by_status| by_status.get(&status)).copied().unwrap_or(0)
    }

    /// Returns how many units of a bucket were used, over all days.
    pub fn units(&self, bucket: Bucket) -> u64 {
        self.units.values().filter_map(|by_bucket| by_bucket.get(&bucket)).sum()
    }
}

/// Counts as calls come and go.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    calls: BTreeMap<Endpoint, u64>,
    answers: BTreeMap<Endpoint, BTreeMap<u16, u64>>,
    in_flight: u64,
    most_in_flight: u64,
}

impl Counter {
    pub(crate) fn begin(&mut self, endpoint: Endpoint) {
        *self.calls.entry(endpoint).or_default() += 1;
        self.in_flight += 1;
        self.most_in_flight = self.most_in_flight.max(self.in_flight);
    }

    pub(crate) fn answered(&mut self, endpoint: Endpoint, status: u16) {
        *self.answers.entry(endpoint).or_default().entry(status).or_default() += 1;
    }

    pub(crate) fn end(&mut self) {
        self.in_flight -= 1;
    }

    pub(crate) fn stats(&self, units: BTreeMap<NaiveDate, BTreeMap<Bucket, u64>>) -> Stats {
        Stats {
            calls: self.calls.clone(),
            answers: self.answers.clone(),
            units,
            most_in_flight: self.most_in_flight,
        }
    }
}
