//! `[credits]`: when allowances come, and what becomes of what is left of them.

use greenroom_model::MicroCredits;
use serde::Deserialize;

/// The section `[credits]` of the settings; `config/default.toml` says what each one does.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config/default.toml documents every setting, once")]
pub struct Settings {
    pub reset_mode: ResetMode,
    pub leftover: Leftover,
    pub leftover_cap: u32,
    pub reset_batch: u32,
    pub prices_dir: String,
}

/// When a period begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResetMode {
    /// Each account on its own day.
    Anniversary,
    /// All of them on the first of a month.
    Calendar,
}

/// What becomes of an allowance that is not used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Leftover {
    /// It is gone.
    Expires,
    /// It stays.
    Stays,
    /// It stays up to a cap.
    Capped,
}

impl Settings {
    /// Returns how much of an allowance is kept; nothing is no limit.
    pub(crate) fn kept(&self) -> Option<MicroCredits> {
        match self.leftover {
            Leftover::Expires => Some(MicroCredits::ZERO),
            Leftover::Stays => None,
            Leftover::Capped => Some(MicroCredits::whole(self.leftover_cap.into())),
        }
    }
}

#[cfg(test)]
impl Default for Settings {
    fn default() -> Self {
        let mut config: toml::Table = include_str!("../../../config/default.toml").parse().unwrap();
        config.remove("credits").unwrap().try_into().unwrap()
    }
}
