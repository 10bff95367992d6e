//! Keys that sign what goes out and comes back by hands that are not ours: links in mail, return paths.
//!
//! What is signed is not secret; it only must not be made up. HMAC-SHA256, of which 16 bytes are kept: links stay short.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

/// Shorter keys could be guessed.
const LEAST_KEY_BYTES: usize = 16;
/// The bytes of a signature.
pub const SIGNATURE_BYTES: usize = 16;

/// Several keys: the first signs, every one verifies, so that a key can be changed while what it signed is still read.
#[derive(Clone)]
pub struct SigningKeys(Vec<Hmac<Sha256>>);

/// Why a text is not a list of keys; never carries a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key number {position} has fewer than 16 characters: 32 random ones will do")]
pub struct SigningKeyError {
    /// The key's place in the list; the first is 1.
    pub position: usize,
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKeys({})", self.0.len())
    }
}

impl SigningKeys {
    /// Reads keys that are separated by commas.
    pub fn parse(text: &str) -> Result<Self, SigningKeyError> {
        let key = |(place, key): (usize, &str)| {
            let error = SigningKeyError { position: place + 1 };
            let key = Some(key.trim().as_bytes()).filter(|key| key.len() >= LEAST_KEY_BYTES).ok_or(error)?;
            Hmac::new_from_slice(key).map_err(|_| error)
        };
        Ok(Self(text.split(',').enumerate().map(key).collect::<Result<_, _>>()?))
    }

    /// Signs bytes. What they are for is to stand in front of them, so that no signature is good for something else.
    pub fn sign(&self, bytes: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.0.first().map(|key| signature(key, bytes)).unwrap_or_default()
    }

    /// Tells whether one of the keys has signed these bytes.
    pub fn verify(&self, bytes: &[u8], given: &[u8]) -> bool {
        // Every key is tried, so that the time tells nothing.
        let any = self.0.iter().fold(Choice::from(0), |any, key| any | signature(key, bytes).ct_eq(given));
        any.into()
    }
}

fn signature(key: &Hmac<Sha256>, bytes: &[u8]) -> [u8; SIGNATURE_BYTES] {
    let whole = key.clone().chain_update(bytes).finalize().into_bytes();
    let mut kept = [0; SIGNATURE_BYTES];
    kept.copy_from_slice(&whole[..SIGNATURE_BYTES]);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "an old key of some length";
    const NEW: &str = "a new key of some length";

    #[test]
    fn the_first_key_signs_and_every_one_verifies() {
        let (old, new) = (SigningKeys::parse(OLD).unwrap(), SigningKeys::parse(NEW).unwrap());
        let both = SigningKeys::parse(&format!("{NEW}, {OLD}")).unwrap();
        assert!(both.verify(b"x", &old.sign(b"x")));
        assert!(both.verify(b"x", &new.sign(b"x")));
        assert_eq!(both.sign(b"x"), new.sign(b"x"));
        assert!(!new.verify(b"x", &old.sign(b"x")));
        assert!(!new.verify(b"y", &new.sign(b"x")));
        assert!(!new.verify(b"x", &new.sign(b"x")[..15]));
        assert!(!new.verify(b"x", b""));
        assert_eq!(format!("{both:?}"), "SigningKeys(2)");
    }

    #[test]
    fn a_key_that_could_be_guessed_is_refused_by_its_place() {
        assert_eq!(SigningKeys::parse("short").unwrap_err().position, 1);
        assert_eq!(SigningKeys::parse(&format!("{NEW},")).unwrap_err().position, 2);
    }
}
