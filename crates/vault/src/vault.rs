//! The keys together: the first one seals, every one opens.

use std::fmt;

use zeroize::Zeroizing;

use crate::keys::{Key, KeyError};
use crate::place::Bind;
use crate::secret::Secret;
use crate::token::{Token, normalise};

/// Seals with the first key of a list and opens with any of them.
#[derive(Clone)]
pub struct Vault {
    first: Key,
    others: Vec<Key>,
    pub(crate) bind: Bind,
}

/// Why a stored token does not open; carries nothing of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The text has not the shape of a token: cut off, altered, or never one.
    #[error("this is not a whole Fernet token: it was cut off, altered, or never was one")]
    Malformed,
    /// No key of the list authenticates the token.
    #[error(
        "no key in ENCRYPTION_KEY opens this token: add the key it was sealed with, or reconnect the account"
    )]
    UnknownKey,
    /// The token opens, but its content is not text.
    #[error("this token holds bytes that are not UTF-8 text: reconnect the account")]
    NotText,
    /// The token opens, but it belongs to another row or column.
    #[error("token_binding_mismatch: this token was sealed for another row: reconnect the account")]
    Misplaced,
    /// The token names no place, and the settings want one.
    #[error(
        "this token is bound to no row and tokens.bind is \"require\": run tokens reencrypt with \"on\" first"
    )]
    Unbound,
}

impl Vault {
    /// Reads the keys as `ENCRYPTION_KEY` has them: one, or several separated by commas.
    pub fn from_keys(keys: &str) -> Result<Self, KeyError> {
        let mut keys = Key::parse_list(keys)?.into_iter();
        let first = keys.next().ok_or(KeyError::Missing)?;
        Ok(Self { first, others: keys.collect(), bind: Bind::default() })
    }

    /// Seals a secret under the first key.
    ///
    /// The token carries the machine's time, which nothing here judges.
    pub fn seal(&self, secret: &Secret) -> String {
        self.first.fernet.encrypt(secret.expose().as_bytes())
    }

    /// Opens a sealed token under whichever key fits, however old or young it is.
    pub fn open(&self, sealed: &str) -> Result<Secret, OpenError> {
        let token = Token::parse(&normalise(sealed)).ok_or(OpenError::Malformed)?;
        self.open_token(&token)
    }

    /// Seals a token again under the first key and keeps the time it carries.
    pub fn rotate(&self, sealed: &str) -> Result<String, OpenError> {
        let token = Token::parse(&normalise(sealed)).ok_or(OpenError::Malformed)?;
        let secret = self.open_token(&token)?;
        Ok(self.first.fernet.encrypt_at_time(secret.expose().as_bytes(), token.made_at))
    }

    /// Returns the id of the key that seals: eight hex digits that may be shown and logged.
    pub fn key_id(&self) -> &str {
        &self.first.id
    }

    /// Returns the ids of all keys, the sealing one first.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.keys().map(|key| key.id.as_str())
    }

    /// Returns the id of the key that opens a sealed token.
    pub fn key_of(&self, sealed: &str) -> Option<String> {
        let token = Token::parse(&normalise(sealed))?;
        self.open_by(&token).ok().map(|(id, _)| id.to_owned())
    }

    pub(crate) const fn first(&self) -> &Key {
        &self.first
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.first).chain(&self.others)
    }

    pub(crate) fn open_token(&self, token: &Token) -> Result<Secret, OpenError> {
        self.open_by(token).map(|(_, secret)| secret)
    }

    /// Opens a token, and tells the id of the key that did.
    pub(crate) fn open_by(&self, token: &Token) -> Result<(&str, Secret), OpenError> {
        // Saying that now is the moment it was made takes the crate's clock check away; the MAC decides.
        let open = |key: &Key| key.fernet.decrypt_at_time(&token.text, None, token.made_at).ok();
        let opened = self.keys().find_map(|key| Some((key.id.as_str(), open(key)?)));
        let (id, bytes) = opened.ok_or(OpenError::UnknownKey)?;
        let bytes = Zeroizing::new(bytes);
        let secret = std::str::from_utf8(&bytes).map(Secret::from).map_err(|_| OpenError::NotText)?;
        Ok((id, secret))
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("key_ids", &self.key_ids().collect::<Vec<_>>()).finish()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE;
    use fernet::Fernet;
    use proptest::prelude::*;

    use super::*;
    use crate::generate_key;

    const KEY: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
    const OTHER: &str = "9rtyBmpmfNeOSlqxPsnjWlVp6ndPXSNB6VOmEuhD5LI=";
    const HELLO: &str = "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==";

    fn vault(keys: &str) -> Vault {
        Vault::from_keys(keys).unwrap()
    }

    fn opened(keys: &str, token: &str) -> Result<String, OpenError> {
        vault(keys).open(token).map(|secret| secret.expose().to_owned())
    }

    fn made_at(token: &str) -> u64 {
        u64::from_be_bytes(URL_SAFE.decode(token).unwrap()[1..9].try_into().unwrap())
    }

    #[test]
    fn the_specification_s_tokens_open_or_not() {
        use OpenError::{Malformed, UnknownKey};
        assert_eq!(opened(KEY, HELLO).unwrap(), "hello");
        for (token, error) in [
            // Incorrect MAC.
            (
                "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykQUFBQUFBQUFBQQ==",
                UnknownKey,
            ),
            // Too short.
            ("gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPA==", Malformed),
            // Invalid base64.
            (
                "%%%%%%%%%%%%%AECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykRtfsH-p1YsUD2Q==",
                Malformed,
            ),
            // Not whole blocks.
            (
                "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPOm73QeoCk9uGib28Xe5vz6oxq5nmxbx_v7mrfyudzUm",
                Malformed,
            ),
            // Wrong padding under a right MAC.
            (
                "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0ODz4LEpdELGQAad7aNEHbf-JkLPIpuiYRLQ3RtXatOYREu2FWke6CnJNYIbkuKNqOhw==",
                UnknownKey,
            ),
            // Incorrect IV.
            (
                "gAAAAAAdwJ6xBQECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAkLhFLHpGtDBRLRTZeUfWgHSv49TF2AUEZ1TIvcZjK1zQ==",
                UnknownKey,
            ),
        ] {
            assert_eq!(opened(KEY, token).unwrap_err(), error, "{token}");
        }
        // Invalid for their time only (far future, past its ttl), which a token at rest is not asked for.
        for token in [
            "gAAAAAAdwStRAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAnja1xKYyhd-Y6mSkTOyTGJmw2Xc2a6kBd-iX9b_qXQcw==",
            "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykRtfsH-p1YsUD2Q==",
        ] {
            assert_eq!(opened(KEY, token).unwrap(), "", "{token}");
        }
    }

    #[test]
    fn a_token_from_the_future_opens() {
        let fernet = Fernet::new(KEY).unwrap();
        for time in [4_102_444_800, (1 << 36) - 1] {
            let token = fernet.encrypt_at_time(b"later", time);
            assert_eq!(opened(KEY, &token).unwrap(), "later");
            assert_eq!(made_at(&vault(KEY).rotate(&token).unwrap()), time);
        }
    }

    #[test]
    fn a_time_beyond_all_clocks_is_refused_though_its_seal_is_good() {
        let fernet = Fernet::new(KEY).unwrap();
        for time in [1 << 36, u64::MAX - 60, u64::MAX] {
            let token = fernet.encrypt_at_time(b"never", time);
            assert_eq!(opened(KEY, &token).unwrap_err(), OpenError::Malformed);
            assert_eq!(vault(KEY).rotate(&token).unwrap_err(), OpenError::Malformed);
        }
    }

    #[test]
    fn spelling_does_not_matter_but_content_does() {
        let split = HELLO.as_bytes().chunks(40).map(|line| String::from_utf8_lossy(line)).collect::<Vec<_>>();
        for token in [
            split.join("\r\n"),
            format!(" \t{HELLO}\n\x0b\x0c"),
            HELLO.replace('-', "+").replace('_', "/"),
            HELLO.trim_end_matches('=').to_owned(),
            format!("b'{HELLO}'"),
            format!("\"{HELLO}\""),
        ] {
            assert_eq!(opened(KEY, &token).unwrap(), "hello", "{token}");
        }
        for junk in ["!", "\0", "é", "\u{a0}", "=", "%0A"] {
            let token = format!("{}{junk}{}", &HELLO[..50], &HELLO[50..]);
            assert_eq!(opened(KEY, &token).unwrap_err(), OpenError::Malformed, "{junk:?}");
        }
    }

    #[test]
    fn the_first_key_seals_and_every_key_opens() {
        let old = vault(KEY);
        let both = vault(&format!("{OTHER}, {KEY}"));
        assert_eq!(both.open(&old.seal(&"a".into())).unwrap().expose(), "a");
        let sealed = both.seal(&"b".into());
        assert_eq!(old.open(&sealed).unwrap_err(), OpenError::UnknownKey);
        assert_eq!(opened(OTHER, &sealed).unwrap(), "b");
        assert_eq!(both.key_id(), vault(OTHER).key_id());
        assert_eq!(both.key_ids().collect::<Vec<_>>(), [vault(OTHER).key_id(), old.key_id()]);
    }

    #[test]
    fn rotation_changes_the_key_and_keeps_the_time() {
        let rotated = vault(&format!("{OTHER},{KEY}")).rotate(HELLO).unwrap();
        assert_eq!(opened(OTHER, &rotated).unwrap(), "hello");
        assert_eq!(opened(KEY, &rotated).unwrap_err(), OpenError::UnknownKey);
        assert_eq!(made_at(&rotated), 499_162_800);
        assert_eq!(vault(OTHER).rotate(HELLO).unwrap_err(), OpenError::UnknownKey);
    }

    #[test]
    fn bytes_that_are_no_text_are_an_error() {
        let token = Fernet::new(KEY).unwrap().encrypt(&[0xff, 0xfe]);
        assert_eq!(opened(KEY, &token).unwrap_err(), OpenError::NotText);
    }

    #[test]
    fn debug_shows_ids_only() {
        let key = generate_key();
        let shown = format!("{:?}", vault(key.expose()));
        assert!(
            shown.contains(vault(key.expose()).key_id()) && !shown.contains(&key.expose()[..12]),
            "{shown}"
        );
    }

    proptest! {
        #[test]
        fn whatever_is_sealed_opens_again(text in any::<String>()) {
            let vault = vault(&format!("{KEY},{OTHER}"));
            let sealed = vault.seal(&Secret::from(text.as_str()));
            prop_assert!(sealed.starts_with("gAAAAA") && sealed.len() >= 100);
            let again = vault.rotate(&sealed).unwrap();
            let opened = vault.open(&again).unwrap();
            prop_assert_eq!(opened.expose(), text);
        }

        #[test]
        fn nothing_panics(text in any::<String>(), bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let vault = vault(KEY);
            let shaped = URL_SAFE.encode([&[0x80], bytes.as_slice()].concat());
            for input in [text.as_str(), &format!("gAAAAA{text}"), &shaped, &String::from_utf8_lossy(&bytes)] {
                let _ = Vault::from_keys(input);
                prop_assert!(vault.open(input).is_err());
                prop_assert!(vault.rotate(input).is_err());
                let _ = vault.classify(Some(input));
            }
        }

        #[test]
        fn no_altered_byte_goes_unnoticed(at in 0_usize..73, bit in 0_u8..8) {
            let mut bytes = URL_SAFE.decode(HELLO).unwrap();
            bytes[at] ^= 1 << bit;
            prop_assert!(vault(KEY).open(&URL_SAFE.encode(bytes)).is_err());
        }
    }
}
