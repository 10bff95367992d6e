//! How YouTube writes things: counters as texts, lists that may be absent, pages with opaque tokens.

use serde::{Deserialize, Deserializer};

/// A page of a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Page<T> {
    /// Absent on the last page; a short page is not the last.
    pub next_page_token: Option<String>,
    /// Absent when there is nothing.
    #[serde(default = "Vec::new")]
    pub items: Vec<T>,
}

/// Reads a counter that is written as text because it may pass 2^53; what is absent stays `None`.
pub(crate) fn counter<'de, D: Deserializer<'de>>(input: D) -> Result<Option<i64>, D::Error> {
    Option::<String>::deserialize(input)?
        .map(|text| text.parse().map_err(|_| serde::de::Error::custom("a counter that is no number")))
        .transpose()
}
