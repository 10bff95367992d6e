//! The engine's settings, each with the rule it must keep.

use std::time::Duration;

/// How a worker claims, holds and gives back jobs.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How long a claimed job is held before others may rescue it; renewed three times in that time.
    pub lease_secs: u64,
    /// How often a worker looks for jobs when nothing wakes it.
    pub poll_interval_ms: u64,
    /// How often the leader promotes, rescues and wakes.
    pub sweep_interval_ms: u64,
    /// How long a running job has to notice that it was cancelled before it is dropped.
    pub cancel_grace_ms: u64,
    /// The limit of one statement of the engine, after which its connection is given up.
    pub statement_timeout_ms: u64,
    /// How many jobs one statement of the engine claims, completes or sweeps at most.
    pub batch: u32,
    /// Failures in a row after which a breaker opens.
    pub breaker_threshold: i32,
    /// How long a breaker stays open the first time; doubled each time it opens again.
    pub breaker_wait_secs: u64,
    /// The longest it stays open.
    pub breaker_longest_wait_secs: u64,
    /// How long completed jobs are kept.
    pub keep_completed_secs: u64,
    /// How long failed jobs are kept.
    pub keep_failed_secs: u64,
}

/// The longest retention: a hundred years.
const KEEP_LIMIT: u64 = 3_155_760_000;

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease_secs: 60,
            poll_interval_ms: 1_000,
            sweep_interval_ms: 1_000,
            cancel_grace_ms: 5_000,
            statement_timeout_ms: 5_000,
            batch: 500,
            breaker_threshold: 5,
            breaker_wait_secs: 30,
            breaker_longest_wait_secs: 900,
            keep_completed_secs: 7 * 86_400,
            keep_failed_secs: 30 * 86_400,
        }
    }
}

impl Settings {
    /// Checks every rule and names the key that breaks one.
    pub fn validate(&self) -> Result<(), String> {
        let rules = [
            ("lease_secs", self.lease_secs >= 3, "at least 3, so that a renewal can fail twice"),
            ("poll_interval_ms", (10..=60_000).contains(&self.poll_interval_ms), "between 10 and 60000"),
            ("sweep_interval_ms", (10..=60_000).contains(&self.sweep_interval_ms), "between 10 and 60000"),
            (
                "statement_timeout_ms",
                (100..=self.lease_secs * 500).contains(&self.statement_timeout_ms),
                "between 100 and half the lease",
            ),
            ("breaker_threshold", self.breaker_threshold >= 1, "at least 1"),
            ("breaker_wait_secs", self.breaker_wait_secs >= 1, "at least 1"),
            (
                "breaker_longest_wait_secs",
                self.breaker_longest_wait_secs >= self.breaker_wait_secs,
                "at least queue.breaker_wait_secs",
            ),
            (
                "keep_completed_secs",
                (60..=KEEP_LIMIT).contains(&self.keep_completed_secs),
                "between 60 and a hundred years",
            ),
            (
                "keep_failed_secs",
                (60..=KEEP_LIMIT).contains(&self.keep_failed_secs),
                "between 60 and a hundred years",
            ),
            ("batch", (1..=10_000).contains(&self.batch), "between 1 and 10000"),
        ];
        match rules.into_iter().find(|(_, holds, _)| !holds) {
            Some((key, _, rule)) => Err(format!("queue.{key} must be {rule}")),
            None => Ok(()),
        }
    }

    pub(crate) fn lease(&self) -> Duration {
        Duration::from_secs(self.lease_secs)
    }

    pub(crate) fn poll_interval(&self) -> Duration {
        Duration::from_millis(self.poll_interval_ms)
    }

    pub(crate) fn sweep_interval(&self) -> Duration {
        Duration::from_millis(self.sweep_interval_ms)
    }

    pub(crate) fn cancel_grace(&self) -> Duration {
        Duration::from_millis(self.cancel_grace_ms)
    }

    pub(crate) fn breaker_wait(&self) -> Duration {
        Duration::from_secs(self.breaker_wait_secs)
    }

    pub(crate) fn breaker_longest_wait(&self) -> Duration {
        Duration::from_secs(self.breaker_longest_wait_secs)
    }

    pub(crate) fn statement_timeout(&self) -> Duration {
        Duration::from_millis(self.statement_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_rule_names_its_key() {
        assert_eq!(Settings::default().validate(), Ok(()));
        let message = Settings { batch: 0, ..Settings::default() }.validate().unwrap_err();
        assert!(message.starts_with("queue.batch must be"), "{message}");
    }
}
