//! `[http]`: how long to wait for the outside world, and how often to ask it again.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::time::Duration;

use serde::Deserialize;

/// The section `[http]` of the settings; `config/default.toml` says what each one does.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config/default.toml documents every setting, once")]
pub struct Settings {
    pub connect_timeout_secs: NonZeroU64,
    pub timeout_secs: NonZeroU64,
    pub max_tries: NonZeroU32,
    pub retry_delay_ms: NonZeroU64,
    pub max_pause_secs: NonZeroU64,
    pub idle_connections: usize,
    pub idle_timeout_secs: NonZeroU64,
    pub max_body_bytes: NonZeroUsize,
}

impl Settings {
    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout_secs.get())
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_secs.get())
    }

    pub(crate) fn retry_delay(&self) -> Duration {
        Duration::from_millis(self.retry_delay_ms.get())
    }

    pub(crate) fn max_pause(&self) -> Duration {
        Duration::from_secs(self.max_pause_secs.get())
    }

    pub(crate) fn idle_timeout(&self) -> Duration {
        Duration::from_secs(self.idle_timeout_secs.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit() {
        let mut config: toml::Table = include_str!("../../../config/default.toml").parse().unwrap();
        let settings: Settings = config.remove("http").unwrap().try_into().unwrap();
        assert_eq!(settings.timeout(), Duration::from_secs(30));
    }
}
