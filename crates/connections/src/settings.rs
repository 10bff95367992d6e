//! `[tokens]`: when a token is refreshed, and whether old plain ones are taken.

use std::time::Duration;

use greenroom_vault::Bind;
use serde::Deserialize;

/// The section `[tokens]` of the settings; `config/default.toml` says what each one does.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config/default.toml documents every setting, once")]
pub struct Settings {
    pub refresh_margin_secs: u32,
    pub allow_plaintext: bool,
    pub bind: Bind,
    pub reencrypt_pause_ms: u64,
}

impl Settings {
    /// Returns the pause between two batches of a walk over the tokens.
    pub fn reencrypt_pause(&self) -> Duration {
        Duration::from_millis(self.reencrypt_pause_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit() {
        let mut config: toml::Table = include_str!("../../../config/default.toml").parse().unwrap();
        let settings: Settings = config.remove("tokens").unwrap().try_into().unwrap();
        assert_eq!((settings.refresh_margin_secs, settings.allow_plaintext), (600, true));
        assert_eq!((settings.bind, settings.reencrypt_pause_ms), (Bind::Off, 50));
    }
}
