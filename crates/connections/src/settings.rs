//! `[tokens]`: when a token is refreshed, and whether old plain ones are taken.

use serde::Deserialize;

/// The section `[tokens]` of the settings; `config/default.toml` says what each one does.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config/default.toml documents every setting, once")]
pub struct Settings {
    pub refresh_margin_secs: u32,
    pub allow_plaintext: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit() {
        let mut config: toml::Table = include_str!("../../../config/default.toml").parse().unwrap();
        let settings: Settings = config.remove("tokens").unwrap().try_into().unwrap();
        assert_eq!((settings.refresh_margin_secs, settings.allow_plaintext), (600, true));
    }
}
