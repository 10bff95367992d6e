//! The keys of `ENCRYPTION_KEY`: how they are written, and the ids by which they may be named.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fernet::Fernet;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::Secret;

/// Why `ENCRYPTION_KEY` is not a list of keys; names a position, never a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no key at all.
    #[error("ENCRYPTION_KEY is empty: set one Fernet key, or several separated by commas")]
    Missing,
    /// One of the keys does not decode to 32 bytes.
    #[error(
        "ENCRYPTION_KEY: key number {position} is not a Fernet key (32 bytes in URL-safe base64, \
         44 characters): correct it or take it out of the list"
    )]
    Malformed {
        /// The key's place in the list; the first is 1.
        position: usize,
    },
}

/// Makes a new key from the system's own randomness, in the form `ENCRYPTION_KEY` takes.
pub fn generate_key() -> Secret {
    Secret::from(Fernet::generate_key())
}

/// One key, ready for use, with the id that may be shown.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) fernet: Fernet,
    pub(crate) id: String,
}

impl Key {
    /// Reads a list of keys separated by commas.
    pub(crate) fn parse_list(text: &str) -> Result<Vec<Self>, KeyError> {
        if text.trim().is_empty() {
            return Err(KeyError::Missing);
        }
        let parse = |(i, part)| Self::parse(part).ok_or(KeyError::Malformed { position: i + 1 });
        text.split(',').enumerate().map(parse).collect()
    }

    fn parse(text: &str) -> Option<Self> {
        let text = bare(text);
        // Python takes both alphabets and wants the padding; the crate takes one alphabet with or without.
        let text: Zeroizing<String> = Zeroizing::new(text.chars().map(url_safe).collect());
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()?);
        let fernet = Fernet::new(&text)?;
        let digest = Sha256::new().chain_update("greenroom-key-id").chain_update(&*bytes).finalize();
        let id = hex::encode(&digest[..4]);
        Some(Self { fernet, id })
    }
}

/// Takes off whitespace and one pair of quotes, as environment files like to add.
fn bare(text: &str) -> &str {
    let text = text.trim();
    let within = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    within('"').or_else(|| within('\'')).unwrap_or(text).trim()
}

/// Maps the two letters of standard base64 to the URL-safe ones.
pub(crate) fn url_safe(letter: char) -> char {
    match letter {
        '+' => '-',
        '/' => '_',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";

    fn ids(text: &str) -> Result<Vec<String>, KeyError> {
        Ok(Key::parse_list(text)?.into_iter().map(|key| key.id).collect())
    }

    #[test]
    fn one_key_is_taken_however_it_was_pasted() {
        let id = ids(KEY).unwrap();
        let bare = KEY.trim_end_matches('=');
        for text in [
            format!("{KEY}\n"),
            format!("  {KEY}\t"),
            format!("\"{KEY}\""),
            format!(" '{KEY}\n' "),
            bare.to_owned(),
            KEY.replace('-', "+").replace('_', "/"),
        ] {
            assert_eq!(ids(&text).unwrap(), id);
        }
    }

    #[test]
    fn the_id_is_a_digest_of_the_key() {
        // printf 'greenroom-key-id' | cat - key.bin | sha256sum
        assert_eq!(ids(KEY).unwrap(), ["ac2e04bc"]);
    }

    #[test]
    fn a_wrong_key_is_named_by_its_place() {
        let malformed = |position| Err(KeyError::Malformed { position });
        assert_eq!(ids(""), Err(KeyError::Missing));
        assert_eq!(ids(" \n"), Err(KeyError::Missing));
        assert_eq!(ids("password"), malformed(1));
        assert_eq!(ids(&format!("{KEY},")), malformed(2));
        assert_eq!(ids(&format!("{KEY},{KEY},{}", &KEY[4..])), malformed(3));
        assert_eq!(ids(&format!("'\"{KEY}\"'")), malformed(1), "two pairs of quotes");
        assert_eq!(ids(&format!("\"{KEY}")), malformed(1), "half a pair");
        assert_eq!(ids("\""), malformed(1));
        let error = ids("hunter2,hunter3").unwrap_err().to_string();
        assert!(error.contains("key number 1") && !error.contains("hunter"), "{error}");
    }

    #[test]
    fn new_keys_are_keys_and_differ() {
        let (one, two) = (generate_key(), generate_key());
        assert_eq!(one.expose().len(), 44);
        assert_ne!(ids(one.expose()).unwrap(), ids(two.expose()).unwrap());
    }
}
