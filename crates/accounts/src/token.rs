//! How a service token is written: `gr_<id>_<secret><checksum>`.
//!
//! Twelve characters name it, forty-three are random (256 bits), six are the CRC-32 of all before them, so
//! that a scanner recognises a leaked one without asking anybody. All are of base 62, so that a double
//! click selects the whole.

use greenroom_vault::Secret;
use rand::{CryptoRng, RngExt};
use sha2::{Digest, Sha256};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ID: usize = 12;
const SECRET: usize = 43;
const CHECKSUM: usize = 6;

/// A token's two halves: the name it is found by, and the hash it is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) id: String,
    pub(crate) secret_sha256: [u8; 32],
}

/// Makes a new token; the text exists only in what is returned.
pub(crate) fn generate(rng: &mut impl CryptoRng) -> (Secret, Parts) {
    let mut letters = |count: usize| -> String {
        (0..count).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
    };
    let (id, secret) = (letters(ID), Secret::from(letters(SECRET)));
    let body = Secret::from(format!("gr_{id}_{}", secret.expose()));
    let text = Secret::from(format!("{}{}", body.expose(), checksum(body.expose())));
    let secret_sha256 = Sha256::digest(secret.expose()).into();
    (text, Parts { id, secret_sha256 })
}

/// Takes a token apart; `None` is no token of ours, or one that was mistyped.
pub(crate) fn parse(text: &str) -> Option<Parts> {
    let body = text.get(..text.len().checked_sub(CHECKSUM)?)?;
    let (id, secret) = body.strip_prefix("gr_")?.split_once('_')?;
    let well_formed = id.len() == ID
        && secret.len() == SECRET
        && id.bytes().chain(secret.bytes()).all(|letter| letter.is_ascii_alphanumeric())
        && text.ends_with(&checksum(body));
    well_formed.then(|| Parts { id: id.to_owned(), secret_sha256: Sha256::digest(secret).into() })
}

fn checksum(body: &str) -> String {
    let mut rest = u64::from(crc32(body.as_bytes()));
    let mut letters = [b'0'; CHECKSUM];
    for letter in letters.iter_mut().rev() {
        let digit = usize::try_from(rest % 62).unwrap_or_default();
        *letter = ALPHABET[digit];
        rest /= 62;
    }
    letters.map(char::from).iter().collect()
}

/// The CRC-32 of zip and Ethernet, bit by bit: sixty bytes are not worth a table.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1)))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn the_checksum_is_the_well_known_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_token_is_taken_apart_again() {
        let (text, parts) = generate(&mut StdRng::seed_from_u64(1));
        let text = text.expose();
        assert_eq!(text.len(), "gr_".len() + 12 + 1 + 43 + 6);
        assert_eq!(parse(text), Some(parts.clone()));
        assert!(text.starts_with(&format!("gr_{}_", parts.id)));
        assert_eq!(parts.secret_sha256, <[u8; 32]>::from(Sha256::digest(&text[16..59])));
    }

    #[test]
    fn a_mistyped_token_is_no_token() {
        let (text, _) = generate(&mut StdRng::seed_from_u64(2));
        let text = text.expose();
        for at in 0..text.len() {
            let other = if text.as_bytes()[at] == b'x' { 'y' } else { 'x' };
            let mistyped = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            assert_eq!(parse(&mistyped), None, "{mistyped}");
        }
        for text in ["", "gr_", "ya29.x", &text[1..], &text[..text.len() - 1], &format!("{text}x")] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC*") {
            prop_assert_eq!(parse(&text), None);
            prop_assert_eq!(parse(&format!("gr_{text}")), None);
        }
    }
}
