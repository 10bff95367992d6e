//! What a token column holds, decided by its first letters alone.
//!
//! "It does not open, so it must be plain" would send ciphertext to a provider. So a text that begins
//! like a token is one, whether it opens or not. No provider's token in use begins that way (`ya29.`,
//! `1//`, `IGQ`, `EAA`); a random one would by chance of 1 in 6.9e10.

use crate::secret::Secret;
use crate::token::{PREFIX, Token, normalise};
use crate::vault::{OpenError, Vault};

/// What a token column holds.
#[derive(Debug, Clone)]
pub enum Stored {
    /// NULL, empty, or only whitespace.
    Absent,
    /// A token that opens, and its content.
    Encrypted(Secret),
    /// A token that does not open; it is neither used nor overwritten.
    Undecryptable(OpenError),
    /// A token that was stored as it is, before there was encryption.
    LegacyPlaintext(Secret),
}

impl Stored {
    /// Returns the word that commands print: `absent`, `encrypted`, `undecryptable` or `legacy_plaintext`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Encrypted(_) => "encrypted",
            Self::Undecryptable(_) => "undecryptable",
            Self::LegacyPlaintext(_) => "legacy_plaintext",
        }
    }
}

impl Vault {
    /// Decides what a token column holds, and opens it where that is possible.
    pub fn classify(&self, column: Option<&str>) -> Stored {
        let text = normalise(column.unwrap_or_default());
        if text.is_empty() {
            return Stored::Absent;
        }
        if !text.starts_with(PREFIX) {
            return Stored::LegacyPlaintext(Secret::from(text.as_str()));
        }
        let opened =
            Token::parse(&text).ok_or(OpenError::Malformed).and_then(|token| self.open_token(&token));
        opened.map_or_else(Stored::Undecryptable, Stored::Encrypted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
    const OTHER: &str = "9rtyBmpmfNeOSlqxPsnjWlVp6ndPXSNB6VOmEuhD5LI=";

    fn vault() -> Vault {
        Vault::from_keys(KEY).unwrap()
    }

    #[test]
    fn nothing_is_absent() {
        for column in [None, Some(""), Some(" \n\t\x0b"), Some("''"), Some("b''"), Some(" \"\" ")] {
            assert_eq!(vault().classify(column).as_str(), "absent", "{column:?}");
        }
    }

    #[test]
    fn a_token_that_opens_is_encrypted_in_whatever_wrapping() {
        let sealed = vault().seal(&"1//refresh".into());
        for column in
            [sealed.clone(), format!("b'{sealed}'"), format!(" \"{sealed}\"\n"), format!("'{sealed}'")]
        {
            match vault().classify(Some(&column)) {
                Stored::Encrypted(secret) => assert_eq!(secret.expose(), "1//refresh"),
                other => panic!("{column}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_token_that_does_not_open_is_never_taken_for_plaintext() {
        let sealed = vault().seal(&"ya29.x".into());
        let foreign = Vault::from_keys(OTHER).unwrap().seal(&"ya29.x".into());
        let tampered = format!("{}x{}", &sealed[..40], &sealed[41..]);
        let (cut, broken) = (&sealed[..64], format!("{sealed}!"));
        for column in [&foreign, &tampered, cut, &broken, "gAAAAA", "b'gAAAAA'", "gAAAAA not base64"] {
            assert_eq!(vault().classify(Some(column)).as_str(), "undecryptable", "{column}");
        }
    }

    #[test]
    fn anything_else_is_a_token_from_before() {
        for (column, token) in [
            ("ya29.a0Af_x", "ya29.a0Af_x"),
            (" 1//0g\n", "1//0g"),
            ("b'IGQVJ'", "IGQVJ"),
            ("EAAG", "EAAG"),
            ("gAAAA", "gAAAA"),
            ("xgAAAAA", "xgAAAAA"),
        ] {
            match vault().classify(Some(column)) {
                Stored::LegacyPlaintext(secret) => assert_eq!(secret.expose(), token),
                other => panic!("{column}: {other:?}"),
            }
        }
    }
}
