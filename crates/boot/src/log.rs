//! The log: lines on standard error, for people or for machines.
//!
//! Standard output is for data alone, so that commands can be piped.

use std::io::IsTerminal;

use serde::Deserialize;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::error::BootError;
use crate::traces::Traces;

/// The section `[log]` of the settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// How a line is written.
    pub format: Format,
    /// Which lines are written, in the syntax of `RUST_LOG`.
    pub filter: String,
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    Text,
    /// For machines: a JSON object a line.
    Json,
}

/// Opens the log of this process; once. What it says within spans also goes to a collector of traces.
pub fn init(settings: &LogSettings, traces: Option<&Traces>) -> Result<(), BootError> {
    let filter = EnvFilter::builder().parse(&settings.filter).map_err(|error| {
        BootError::Setting(format!("log.filter is no filter ({error}): use a level, or `info,module=debug`"))
    })?;
    // Each by a filter of its own: who wants a quiet log may want traces all the same.
    let traces = traces.map(|traces| traces.layer().with_filter(LevelFilter::INFO));
    let registry = tracing_subscriber::registry().with(traces);
    let lines = layer().with_writer(std::io::stderr);
    let opened = match settings.format {
        Format::Text => {
            let colour = std::io::stderr().is_terminal();
            registry.with(lines.with_ansi(colour).with_filter(filter)).try_init()
        }
        Format::Json => registry.with(lines.json().flatten_event(true).with_filter(filter)).try_init(),
    };
    opened.map_err(|_| BootError::Twice("log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_once_and_refuses_a_filter_that_is_none() {
        let settings = |filter: &str| LogSettings { format: Format::Json, filter: filter.to_owned() };
        let error = init(&settings("info,sqlx=loud"), None).unwrap_err().to_string();
        assert!(error.starts_with("log.filter is no filter"), "{error}");
        // One of these two is the second, whoever else has set up a log in this process.
        let opened = [init(&settings("warn"), None), init(&settings("warn"), None)];
        assert!(matches!(opened, [_, Err(BootError::Twice("log"))]));
    }
}
