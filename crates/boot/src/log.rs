//! The log: lines on standard error, for people or for machines.
//!
//! Standard output is for data alone, so that commands can be piped.

use std::io::IsTerminal;

use serde::Deserialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::error::BootError;

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

/// Opens the log of this process; once.
pub fn init(settings: &LogSettings) -> Result<(), BootError> {
    let filter = EnvFilter::builder().parse(&settings.filter).map_err(|error| {
        BootError::Setting(format!("log.filter is no filter ({error}): use a level, or `info,module=debug`"))
    })?;
    let registry = tracing_subscriber::registry().with(filter);
    let opened = match settings.format {
        Format::Text => {
            let colour = std::io::stderr().is_terminal();
            registry.with(layer().with_writer(std::io::stderr).with_ansi(colour)).try_init()
        }
        Format::Json => {
            registry.with(layer().with_writer(std::io::stderr).json().flatten_event(true)).try_init()
        }
    };
    opened.map_err(|_| BootError::Twice("log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_once_and_refuses_a_filter_that_is_none() {
        let settings = |filter: &str| LogSettings { format: Format::Json, filter: filter.to_owned() };
        let error = init(&settings("info,sqlx=loud")).unwrap_err().to_string();
        assert!(error.starts_with("log.filter is no filter"), "{error}");
        init(&settings("warn")).unwrap();
        assert!(matches!(init(&settings("warn")), Err(BootError::Twice("log"))));
    }
}
