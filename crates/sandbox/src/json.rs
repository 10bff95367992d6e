//! Writes JSON straight into bytes, leaving out what the caller did not ask for.
//!
//! A page of 100 threads has thousands of fields. Building a tree and pruning it costs several times
//! what writing costs, and the stand-in must not be slower than the client that is measured on it;
//! so the selection is asked before each field is written.

use crate::{fields::Selection, world::digest};

/// Stands where an etag comes; patched when the object is complete.
const ETAG: [u8; 27] = [b'.'; 27];

/// An object being written.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    selected: &'a Selection,
    start: usize,
    etag: Option<usize>,
}

/// A complete answer and its etag, which its body may or may not carry.
pub(crate) struct Document {
    pub(crate) body: Vec<u8>,
    pub(crate) etag: String,
}

/// Writes a whole answer.
pub(crate) fn document(selected: &Selection, fill: impl FnOnce(&mut Object<'_>)) -> Document {
    let mut body = Vec::with_capacity(16 * 1024);
    let at = braces(&mut body, selected, fill);
    let etag = etag_of(&body);
    patch(&mut body, at, &etag);
    Document { body, etag }
}

/// Writes one object, with an etag of its content if it asks for one.
fn object(out: &mut Vec<u8>, selected: &Selection, fill: impl FnOnce(&mut Object<'_>)) {
    let start = out.len();
    let at = braces(out, selected, fill);
    if at.is_some() {
        let etag = etag_of(&out[start..]);
        patch(out, at, &etag);
    }
}

/// Writes an object and returns where it left room for its etag.
fn braces(out: &mut Vec<u8>, selected: &Selection, fill: impl FnOnce(&mut Object<'_>)) -> Option<usize> {
    let start = out.len();
    out.push(b'{');
    let mut object = Object { out, selected, start, etag: None };
    fill(&mut object);
    let etag = object.etag;
    out.push(b'}');
    etag
}

fn patch(out: &mut [u8], at: Option<usize>, etag: &str) {
    if let Some(at) = at {
        out[at..at + ETAG.len()].copy_from_slice(etag.as_bytes());
    }
}

/// Returns an etag of some bytes, in the form of Google's.
fn etag_of(bytes: &[u8]) -> String {
    let first = digest(bytes);
    // Google's has 27 characters; the second half only has to look like one.
    let second = digest(&first.to_be_bytes());
    let mut etag = String::with_capacity(ETAG.len());
    for (word, len) in [(first, 11), (second, 11), (first ^ second, 5)] {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let digit = |at: u32| usize::try_from((word >> (6 * at)) & 63).unwrap_or(0);
        etag.extend((0..len).map(|at| char::from(DIGITS[digit(at)])));
    }
    etag
}

impl<'a> Object<'a> {
    /// Writes a text.
    pub(crate) fn text(&mut self, name: &str, text: &str) {
        if self.begin(name).is_some() {
            quote(self.out, text);
        }
    }

    /// Writes a text that may be absent; an absent one is left out, never null.
    pub(crate) fn text_if(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// Writes a 64-bit number, which JSON's readers cannot all hold, as a text.
    pub(crate) fn big(&mut self, name: &str, number: u64) {
        self.text(name, &number.to_string());
    }

    /// Writes a number.
    pub(crate) fn number(&mut self, name: &str, number: u64) {
        if self.begin(name).is_some() {
            self.out.extend_from_slice(number.to_string().as_bytes());
        }
    }

    /// Writes a flag.
    pub(crate) fn flag(&mut self, name: &str, flag: bool) {
        if self.begin(name).is_some() {
            self.out.extend_from_slice(if flag { b"true" } else { b"false" });
        }
    }

    /// Writes an instant as Google does, in whole seconds and with a `Z`.
    pub(crate) fn time(&mut self, name: &str, at: chrono::DateTime<chrono::Utc>) {
        self.text(name, &at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
    }

    /// Writes a list of texts.
    pub(crate) fn texts<'t>(&mut self, name: &str, texts: impl IntoIterator<Item = &'t str>) {
        if self.begin(name).is_some() {
            self.out.push(b'[');
            for (at, text) in texts.into_iter().enumerate() {
                if at > 0 {
                    self.out.push(b',');
                }
                quote(self.out, text);
            }
            self.out.push(b']');
        }
    }

    /// Leaves room for the etag of this object.
    pub(crate) fn etag(&mut self) {
        if self.begin("etag").is_some() {
            self.out.push(b'"');
            self.etag = Some(self.out.len());
            self.out.extend_from_slice(&ETAG);
            self.out.push(b'"');
        }
    }

    /// Writes an object within this one.
    pub(crate) fn object(&mut self, name: &str, fill: impl FnOnce(&mut Object<'_>)) {
        if let Some(selected) = self.begin(name) {
            object(self.out, selected, fill);
        }
    }

    /// Writes a list of objects.
    pub(crate) fn objects<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut fill: impl FnMut(&mut Object<'_>, T),
    ) {
        if let Some(selected) = self.begin(name) {
            self.out.push(b'[');
            for (at, item) in items.into_iter().enumerate() {
                if at > 0 {
                    self.out.push(b',');
                }
                object(self.out, selected, |object| fill(object, item));
            }
            self.out.push(b']');
        }
    }

    /// Writes a field's name if it is selected, and returns what is selected below it.
    fn begin(&mut self, name: &str) -> Option<&'a Selection> {
        let selected = self.selected.below(name)?;
        if self.out.len() > self.start + 1 {
            self.out.push(b',');
        }
        // Names are ours and need no escaping.
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        Some(selected)
    }
}

fn quote(out: &mut Vec<u8>, text: &str) {
    // Writing a text into bytes cannot fail.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(fields: &str, name: &str) -> String {
        let document = document(&Selection::parse(fields).expect("fields"), |o| {
            o.text("kind", "toy");
            o.etag();
            o.object("snippet", |o| {
                o.text("name", name);
                o.big("views", u64::MAX);
                o.number("likes", 3);
                o.flag("open", true);
                o.text_if("absent", None);
            });
            o.objects("items", 0..2, |o, n| {
                o.etag();
                o.number("n", n);
            });
            o.texts("tags", ["a", "b\"c"]);
        });
        String::from_utf8(document.body).expect("text")
    }

    #[test]
    fn what_is_written_is_json_with_etags_of_its_content() {
        let read: serde_json::Value = serde_json::from_str(&written("*", "x")).expect("JSON");
        assert_eq!(read["snippet"]["views"], "18446744073709551615");
        assert_eq!(read["snippet"]["likes"], 3);
        assert_eq!(read["tags"][1], "b\"c");
        assert!(read["snippet"].get("absent").is_none());
        assert_eq!(read["etag"].as_str().map(str::len), Some(27));
        assert_ne!(read["items"][0]["etag"], read["items"][1]["etag"]);
        let other: serde_json::Value = serde_json::from_str(&written("*", "y")).expect("JSON");
        assert_ne!(read["etag"], other["etag"]);
        assert_eq!(read["items"], other["items"]);
    }

    #[test]
    fn only_what_is_selected_is_written() {
        assert_eq!(
            written("items/n,snippet(name)", "x"),
            r#"{"snippet":{"name":"x"},"items":[{"n":0},{"n":1}]}"#
        );
    }
}
