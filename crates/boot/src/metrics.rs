//! Counting: one recorder for the process, rendered where somebody asks.
//!
//! What is counted, and what it means, stands in one list ([`NAMES`]); a test holds the code, the
//! dashboard and the alerts to it.

mod names;

use std::thread;
use std::time::Duration;

use metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;

use crate::error::BootError;

pub use names::{Kind, NAMES, Name};

/// From a fast statement to the longest job, in seconds.
const SECONDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0];
/// A gauge that nobody has set for so long is not told any more: who led, and looked, leads no longer.
const GAUGE_LIFE: Duration = Duration::from_secs(30);
/// Histograms keep every sample until somebody folds them; this is how often.
const UPKEEP: Duration = Duration::from_secs(5);

/// What this process has counted so far.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Returns all metrics in Prometheus' text form.
    pub fn render(&self) -> String {
        self.0.run_upkeep();
        self.0.render()
    }
}

/// Makes this process count; once. Where it is not called, counting costs nothing.
pub fn install() -> Result<Metrics, BootError> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .map_err(|_| BootError::Twice("metrics"))?
        .idle_timeout(MetricKindMask::GAUGE, Some(GAUGE_LIFE));
    let handle = builder.install_recorder().map_err(|_| BootError::Twice("metrics"))?;
    for name in NAMES {
        match name.kind {
            Kind::Counter => describe_counter!(name.name, name.says),
            Kind::Gauge => describe_gauge!(name.name, name.says),
            Kind::Histogram => describe_histogram!(name.name, name.says),
        }
    }
    let metrics = Metrics(handle);
    let kept = metrics.clone();
    thread::Builder::new().name("metrics".to_owned()).spawn(move || {
        loop {
            #[expect(clippy::disallowed_methods, reason = "the thread is its own, and no runtime's")]
            thread::sleep(UPKEEP);
            kept.0.run_upkeep();
        }
    })?;
    Ok(metrics)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;
    use std::sync::LazyLock;

    use super::*;

    /// A process counts once, whatever its tests start.
    pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(|| install().unwrap());

    #[test]
    fn counts_and_renders_under_descriptions() {
        let installed = METRICS.clone();
        metrics::counter!("greenroom_jobs_rescued_total").increment(2);
        metrics::histogram!("greenroom_job_wait_seconds", "queue" => "a").record(0.3);
        let text = installed.render();
        assert!(text.contains("greenroom_jobs_rescued_total 2"), "{text}");
        assert!(text.contains("# HELP greenroom_jobs_rescued_total Jobs"), "{text}");
        assert!(text.contains(r#"greenroom_job_wait_seconds_bucket{queue="a",le="0.5"} 1"#), "{text}");
        assert!(matches!(install(), Err(BootError::Twice("metrics"))));
    }

    #[test]
    fn names_are_each_there_once_and_say_their_unit() {
        let once: BTreeSet<&str> = NAMES.iter().map(|name| name.name).collect();
        assert_eq!(once.len(), NAMES.len());
        for Name { name, kind, says } in NAMES {
            assert!(name.starts_with("greenroom_") && says.ends_with('.'), "{name}: {says}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert!(*kind != Kind::Histogram || name.ends_with("_seconds"), "{name} has no buckets");
        }
    }
}
