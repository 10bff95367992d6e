//! The query of a call: lists in both spellings, ranges, parts and fields.

use std::collections::BTreeSet;

use crate::{fields::Selection, google::refusal::Refusal};

/// Parameters that every method takes.
const COMMON: &[&str] = &[
    "$.xgafv",
    "access_token",
    "alt",
    "callback",
    "fields",
    "key",
    "oauth_token",
    "prettyPrint",
    "quotaUser",
    "uploadType",
    "upload_protocol",
    "onBehalfOfContentOwner",
];

/// The query of a call.
#[derive(Clone, Debug)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    pub(crate) fn new(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    /// Returns everything as it was given.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Refuses what the method does not know, so that a client's typing error shows.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Refusal> {
        let unknown = |name: &&str| !known.contains(name) && !COMMON.contains(name);
        match self.0.iter().map(|(name, _)| name.as_str()).find(unknown) {
            Some(name) => Err(Refusal::unknown_parameter(name)),
            None => Ok(()),
        }
    }

    /// Returns a parameter, unless it is absent or empty.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, value)| key == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }

    /// Returns a list given as `id=a,b`, as `id=a&id=b` or as both; each entry once.
    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        let given = self.0.iter().filter(|(key, _)| key == name);
        let entries = given.flat_map(|(_, value)| value.split(',')).map(str::trim);
        entries.filter(|entry| !entry.is_empty() && seen.insert(*entry)).collect()
    }

    /// Reads a flag.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.one(name).is_some_and(|value| matches!(value, "true" | "True" | "1"))
    }

    /// Reads `id`, of which a call may name 50.
    pub(crate) fn ids(&self) -> Result<Vec<&str>, Refusal> {
        let ids = self.list("id");
        if ids.len() > 50 { Err(Refusal::too_many_ids()) } else { Ok(ids) }
    }

    /// Returns which one of some filters is given.
    pub(crate) fn filter(&self, of: &[&'static str]) -> Result<&'static str, Refusal> {
        let given: Vec<_> = of.iter().copied().filter(|name| self.one(name).is_some()).collect();
        match given[..] {
            [] => Err(Refusal::no_filter(&of.join(", "))),
            [one] => Ok(one),
            _ => Err(Refusal::incompatible(&given.join(", "))),
        }
    }

    /// Reads one of a closed list of words; the first is the default.
    pub(crate) fn word<'w>(&self, name: &str, of: &[&'w str]) -> Result<&'w str, Refusal> {
        let Some(given) = self.one(name) else {
            return Ok(of[0]);
        };
        of.iter().copied().find(|&word| word == given).ok_or_else(|| {
            Refusal::invalid_parameter(name, format!("Invalid value at '{name}': \"{given}\""))
        })
    }

    /// Reads `maxResults`.
    pub(crate) fn max_results(&self, default: usize, least: usize, most: usize) -> Result<usize, Refusal> {
        let Some(given) = self.one("maxResults") else {
            return Ok(default);
        };
        given.parse().ok().filter(|wanted| (least..=most).contains(wanted)).ok_or_else(|| {
            let message =
                format!("Invalid value '{given}'. Values must be within the range: [{least}, {most}]");
            Refusal::invalid_parameter("maxResults", message)
        })
    }

    /// Reads `part`, which every method wants.
    pub(crate) fn parts(&self, known: &[&str]) -> Result<Parts, Refusal> {
        let parts = self.list("part");
        if parts.is_empty() {
            return Err(Refusal::missing_part());
        }
        match parts.iter().find(|part| !known.contains(part)) {
            Some(part) => Err(Refusal::unknown_part(part)),
            None => Ok(Parts(parts.into_iter().map(str::to_owned).collect())),
        }
    }

    /// Reads `fields`.
    pub(crate) fn fields(&self) -> Result<Selection, Refusal> {
        let Some(fields) = self.one("fields") else {
            return Ok(Selection::All);
        };
        Selection::parse(fields)
            .map_err(|_| Refusal::invalid_parameter("fields", format!("Invalid field selection {fields}")))
    }
}

/// The parts of a resource that are asked for.
pub(crate) struct Parts(BTreeSet<String>);

impl Parts {
    pub(crate) fn has(&self, part: &str) -> bool {
        self.0.contains(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_two_spellings() {
        let params = |pairs: &[(&str, &str)]| {
            Params::new(pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect())
        };
        assert_eq!(params(&[("id", "a,b"), ("x", "c")]).list("id"), ["a", "b"]);
        assert_eq!(params(&[("id", "a"), ("id", "b,a")]).list("id"), ["a", "b"]);
        assert!(params(&[("id", ",")]).list("id").is_empty());
    }
}
