//! `[tokens]` and `[oauth]`: when a token is refreshed, how it is stored, and where consents are asked for.

use std::time::Duration;

use greenroom_http::Url;
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
    pub purge_after_days: u32,
}

impl Settings {
    /// Returns the pause between two batches of a walk over the tokens.
    pub fn reencrypt_pause(&self) -> Duration {
        Duration::from_millis(self.reencrypt_pause_ms)
    }
}

/// The section `[oauth]` of the settings; `config/default.toml` says what each one does.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config/default.toml documents every setting, once")]
pub struct OauthSettings {
    pub public_url: Url,
    pub return_url: String,
    pub redirect_uris: Vec<String>,
    pub google_authorize_url: Url,
    pub google_token_url: Url,
    pub google_revoke_url: Url,
    pub google_channels_url: Url,
    pub instagram_authorize_url: Url,
    pub instagram_token_url: Url,
    pub instagram_graph_url: Url,
    pub twitter_authorize_url: Url,
    pub twitter_token_url: Url,
    pub twitter_revoke_url: Url,
    pub twitter_me_url: Url,
}

impl OauthSettings {
    /// Returns the settings by which everything outside is at one address, where the sandbox stands in.
    pub fn at(base_url: &str) -> Vec<(&'static str, String)> {
        [
            ("oauth.google_authorize_url", "/o/oauth2/v2/auth"),
            ("oauth.google_token_url", "/token"),
            ("oauth.google_revoke_url", "/revoke"),
            ("oauth.google_channels_url", "/youtube/v3/channels"),
            ("oauth.instagram_authorize_url", "/oauth/authorize"),
            ("oauth.instagram_token_url", "/oauth/access_token"),
            ("oauth.instagram_graph_url", ""),
            ("oauth.twitter_authorize_url", "/i/oauth2/authorize"),
            ("oauth.twitter_token_url", "/2/oauth2/token"),
            ("oauth.twitter_revoke_url", "/2/oauth2/revoke"),
            ("oauth.twitter_me_url", "/2/users/me"),
        ]
        .map(|(key, path)| (key, format!("{base_url}{path}")))
        .to_vec()
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
        let oauth: OauthSettings = config.remove("oauth").unwrap().try_into().unwrap();
        assert!(oauth.redirect_uris.is_empty());
    }
}
