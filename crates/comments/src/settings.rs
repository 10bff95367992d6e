//! `[enrichment]`.

use std::num::NonZeroU16;

use serde::Deserialize;

/// How comments are read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Comments that one transaction reads and stores.
    pub batch: NonZeroU16,
}
