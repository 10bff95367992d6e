//! How YouTube writes things: counters as texts, lists that may be absent, pages with opaque tokens.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

/// A page of a list.
#[derive(Debug)]
pub(crate) struct Page<T> {
    /// Absent on the last page; a short page is not the last.
    pub next_page_token: Option<String>,
    pub items: Vec<T>,
    /// Items that are not what YouTube describes: left out, so that one does not cost the page.
    pub unreadable: u64,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Page<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase", bound = "T: Deserialize<'de>")]
        struct Wire<T> {
            next_page_token: Option<String>,
            /// Absent when there is nothing.
            #[serde(default = "Vec::new")]
            items: Vec<Item<T>>,
        }

        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Item<T> {
            Read(T),
            Unreadable(IgnoredAny),
        }

        let wire = Wire::deserialize(input)?;
        let mut page = Self { next_page_token: wire.next_page_token, items: Vec::new(), unreadable: 0 };
        for item in wire.items {
            match item {
                Item::Read(item) => page.items.push(item),
                Item::Unreadable(IgnoredAny) => page.unreadable += 1,
            }
        }
        Ok(page)
    }
}

/// Reads a counter that is written as text because it may pass 2^53; what is absent stays `None`.
pub(crate) fn counter<'de, D: Deserializer<'de>>(input: D) -> Result<Option<i64>, D::Error> {
    Option::<String>::deserialize(input)?
        .map(|text| text.parse().map_err(|_| serde::de::Error::custom("a counter that is no number")))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Counted {
        #[serde(default, deserialize_with = "counter")]
        count: Option<i64>,
    }

    #[test]
    fn one_item_that_is_not_understood_does_not_cost_the_page() {
        let page = r#"{"nextPageToken": "t", "items": [{"count": "18446744073"}, {"count": "many"}, {}, 5]}"#;
        let page: Page<Counted> = serde_json::from_str(page).unwrap();
        let counts: Vec<_> = page.items.iter().map(|item| item.count).collect();
        assert_eq!((counts, page.unreadable), (vec![Some(18_446_744_073), None], 2));
        let empty: Page<Counted> = serde_json::from_str("{}").unwrap();
        assert_eq!((empty.items.len(), empty.next_page_token), (0, None));
    }
}
