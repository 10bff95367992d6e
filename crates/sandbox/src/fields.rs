//! The grammar of `fields=`, Google's partial responses.
//!
//! ```text
//! fields   = selector ("," selector)*
//! selector = name ("/" name)* ["(" fields ")"]
//! name     = "*" | a field's name
//! ```
//!
//! What is selected twice is united: `items/id,items(snippet)` selects both.

use std::collections::BTreeMap;

/// What is selected of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// All of it.
    All,
    /// These fields of it.
    Only(BTreeMap<String, Selection>),
}

/// A text that does not follow the grammar.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadFields;

impl Selection {
    /// Reads a `fields` parameter.
    pub(crate) fn parse(text: &str) -> Result<Self, BadFields> {
        let mut reader = Reader { rest: text };
        let mut selection = reader.fields(0)?;
        if !reader.rest.is_empty() {
            return Err(BadFields);
        }
        selection.spread_wildcard();
        Ok(selection)
    }

    /// Returns what is selected of the field of this name, or nothing when it is left out.
    pub(crate) fn below(&self, name: &str) -> Option<&Self> {
        match self {
            Self::All => Some(&Self::All),
            Self::Only(fields) => fields.get(name).or_else(|| fields.get("*")),
        }
    }

    fn unite(&mut self, other: Self) {
        match (self, other) {
            (Self::All, _) => {}
            (all, Self::All) => *all = Self::All,
            (Self::Only(ours), Self::Only(theirs)) => {
                for (name, selection) in theirs {
                    match ours.get_mut(&name) {
                        Some(ours) => ours.unite(selection),
                        None => _ = ours.insert(name, selection),
                    }
                }
            }
        }
    }

    /// Gives every named field what `*` beside it selects, so that one look-up answers.
    fn spread_wildcard(&mut self) {
        let Self::Only(fields) = self else { return };
        match fields.get("*").cloned() {
            Some(Self::All) => *self = Self::All,
            wildcard => {
                for field in fields.values_mut() {
                    if let Some(wildcard) = &wildcard {
                        field.unite(wildcard.clone());
                    }
                    field.spread_wildcard();
                }
            }
        }
    }
}

struct Reader<'t> {
    rest: &'t str,
}

impl<'t> Reader<'t> {
    fn fields(&mut self, depth: u32) -> Result<Selection, BadFields> {
        // YouTube's resources are seven levels deep; a deeper text only wants the stack.
        if depth > 32 {
            return Err(BadFields);
        }
        let mut fields = self.selector(depth)?;
        while self.take(',') {
            fields.unite(self.selector(depth)?);
        }
        Ok(fields)
    }

    fn selector(&mut self, depth: u32) -> Result<Selection, BadFields> {
        let mut path = vec![self.name()?];
        while self.take('/') {
            path.push(self.name()?);
        }
        let mut selection = Selection::All;
        if self.take('(') {
            selection = self.fields(depth + 1)?;
            if !self.take(')') {
                return Err(BadFields);
            }
        }
        for name in path.into_iter().rev() {
            selection = Selection::Only(BTreeMap::from([(name.to_owned(), selection)]));
        }
        Ok(selection)
    }

    fn name(&mut self) -> Result<&'t str, BadFields> {
        let of_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '*';
        let end = self.rest.find(|c| !of_name(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        if name.is_empty() || (name.contains('*') && name != "*") { Err(BadFields) } else { Ok(name) }
    }

    fn take(&mut self, c: char) -> bool {
        let rest = self.rest.strip_prefix(c);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(fields: &str, path: &str) -> bool {
        let selection = Selection::parse(fields).expect("fields");
        path.split('/').try_fold(&selection, |selection, name| selection.below(name)).is_some()
    }

    #[test]
    fn names_paths_and_parentheses_nest() {
        let fields = "nextPageToken,items(id,snippet(title,thumbnails/default/url),replies/comments(id))";
        for path in [
            "nextPageToken",
            "items",
            "items/id",
            "items/snippet/title",
            "items/snippet/thumbnails/default/url",
            "items/replies/comments/id",
        ] {
            assert!(selects(fields, path), "{path}");
        }
        for path in [
            "etag",
            "items/etag",
            "items/snippet/tags",
            "items/snippet/thumbnails/high",
            "items/replies/comments/etag",
        ] {
            assert!(!selects(fields, path), "{path}");
        }
    }

    #[test]
    fn a_field_named_alone_is_selected_whole() {
        assert!(selects("items", "items/snippet/title"));
        assert!(selects("items/id,items", "items/snippet/title"));
    }

    #[test]
    fn selections_of_one_field_are_united() {
        assert!(selects("items/id,items(snippet)", "items/id"));
        assert!(selects("items/id,items(snippet)", "items/snippet"));
    }

    #[test]
    fn a_wildcard_stands_for_every_name() {
        assert!(selects("*", "items/id"));
        assert!(selects("items/*/title", "items/snippet/title"));
        assert!(!selects("items/*/title", "items/snippet/tags"));
        assert!(selects("items(*/title,snippet/tags)", "items/snippet/title"));
        assert!(selects("items(*/title,snippet/tags)", "items/snippet/tags"));
    }

    #[test]
    fn what_is_not_of_the_grammar_is_refused() {
        for fields in
            ["", ",", "items(", "items()", "items)", "items/", "a b", "it*ms", "items(id", "(id)", "a,,b"]
        {
            assert_eq!(Selection::parse(fields), Err(BadFields), "{fields}");
        }
        assert_eq!(Selection::parse(&"a(".repeat(10_000)), Err(BadFields));
    }
}
