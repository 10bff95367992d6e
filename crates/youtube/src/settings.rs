//! `[youtube]`: where YouTube answers, and how hard it is asked.

use greenroom_http::Url;
use serde::Deserialize;

/// The section `[youtube]` of the settings; `config/default.toml` says what each one does.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config/default.toml documents every setting, once")]
pub struct Settings {
    pub api_base_url: Url,
    pub in_flight: std::num::NonZeroU16,
    pub sync_interval_secs: u32,
    pub quota_project: String,
}
