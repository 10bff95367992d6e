//! What a Fernet token looks like, decided before any key is asked.
//!
//! Layout: version `0x80`, time (8 bytes), IV (16), ciphertext (whole blocks of 16), HMAC (32).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::keys::url_safe;

/// How every token begins while its time is below [`TIME_LIMIT`]: version and 28 zero bits.
pub(crate) const PREFIX: &str = "gAAAAA";

/// Times from here on (the year 4147) are forged; near 2⁶⁴ they would overflow the crate's sums.
const TIME_LIMIT: u64 = 1 << 36;

const OVERHEAD: usize = 1 + 8 + 16 + 32;
const BLOCK: usize = 16;

/// A text of a token's shape, in the one spelling that the crate reads.
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) made_at: u64,
}

impl Token {
    /// Reads a normalised text; `None` is "no key could open this".
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text: String = text.trim_end_matches('=').chars().map(url_safe).collect();
        let bytes = URL_SAFE_NO_PAD.decode(&text).ok()?;
        let ciphertext = bytes.len().checked_sub(OVERHEAD)?;
        let made_at = u64::from_be_bytes(bytes.get(1..9)?.try_into().ok()?);
        let fits = bytes.first() == Some(&0x80) && ciphertext > 0 && ciphertext % BLOCK == 0;
        (fits && made_at < TIME_LIMIT).then_some(Self { text, made_at })
    }
}

/// Takes out ASCII whitespace and unwraps one layer of `b'…'`, `"…"` or `'…'`.
///
/// Python's `str(bytes)` and JSON's quoting are common in old rows. Base64 has no use for either. The
/// result is wiped, because an old row may hold a plain token.
pub(crate) fn normalise(text: &str) -> Zeroizing<String> {
    // Rust's own notion of ASCII whitespace leaves out the vertical tab, Python's does not.
    let is_space = |c: char| c.is_ascii_whitespace() || c == '\x0b';
    let mut bare = Zeroizing::new(String::with_capacity(text.len()));
    bare.extend(text.chars().filter(|c| !is_space(*c)));
    for (open, close) in [("b'", "'"), ("\"", "\""), ("'", "'")] {
        if let Some(within) = bare.strip_prefix(open).and_then(|rest| rest.strip_suffix(close)) {
            return Zeroizing::new(within.to_owned());
        }
    }
    bare
}
