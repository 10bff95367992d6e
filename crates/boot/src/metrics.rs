//! Counting: one recorder for the process, rendered where somebody asks.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::error::BootError;

/// From a fast statement to the longest job, in seconds.
const SECONDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0];

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
        // Histograms keep every sample until somebody folds them; whoever reads does it.
        self.0.run_upkeep();
        self.0.render()
    }
}

/// Makes this process count; once.
pub fn install() -> Result<Metrics, BootError> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .map_err(|_| BootError::Twice("metrics"))?;
    builder.install_recorder().map(Metrics).map_err(|_| BootError::Twice("metrics"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_renders() {
        let installed = install().unwrap();
        metrics::counter!("greenroom_test_total", "kind" => "a").increment(2);
        metrics::histogram!("greenroom_test_seconds").record(0.3);
        let text = installed.render();
        assert!(text.contains(r#"greenroom_test_total{kind="a"} 2"#), "{text}");
        assert!(text.contains(r#"greenroom_test_seconds_bucket{le="0.5"} 1"#), "{text}");
        assert!(matches!(install(), Err(BootError::Twice("metrics"))));
    }
}
