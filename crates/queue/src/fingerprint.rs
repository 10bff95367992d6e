//! Groups failures: errors that say the same but for ids, numbers and names share a number.
//!
//! The number is computed here and not by the standard library's hasher, whose results may change with the
//! compiler: rows of an old release must still group with those of a new one. Only the error is hashed; the
//! statement that stores it makes the job's kind part of it (`hashtextextended(job_type, …)`), since rows
//! know their kinds.

use std::fmt;
use std::str::FromStr;

/// What rescued jobs share: their process died, whatever they did.
pub(crate) const CRASH: i64 = fnv1a(b"its worker died").cast_signed();

/// Errors are told apart by no more than this; what follows is a body or a trace.
const LETTERS: usize = 1024;

/// A group of failures, as people see it: 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub struct Fingerprint(pub i64);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A text that is no fingerprint.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint has 16 hexadecimal digits, as `jobs failures` shows them")]
pub struct NoFingerprint;

impl FromStr for Fingerprint {
    type Err = NoFingerprint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 16 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NoFingerprint);
        }
        u64::from_str_radix(text, 16).map(|bits| Self(bits.cast_signed())).map_err(|_| NoFingerprint)
    }
}

impl serde::Serialize for Fingerprint {
    /// As text: a number of 64 bits is more than JSON's readers keep.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Hashes what an error says in general.
pub(crate) fn of_error(error: &str) -> i64 {
    fnv1a(normalised(error).as_bytes()).cast_signed()
}

/// FNV-1a in 64 bits.
const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    hash
}

/// Takes out of an error what differs from one time to the next.
///
/// Quoted values become `"*"`. A word with an `@` or a `://` is an address and becomes `@`; of other words the
/// parts between dots, slashes, colons and the like become `#` where they hold a digit. Space of any kind
/// and length becomes one space.
fn normalised(error: &str) -> String {
    let unquoted = without_quoted(error.chars().take(LETTERS));
    let mut out = String::with_capacity(unquoted.len());
    for word in unquoted.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        if word.contains('@') || word.contains("://") {
            out.push('@');
        } else {
            word.split_inclusive(|letter: char| !letter.is_alphanumeric() && letter != '-' && letter != '_')
                .for_each(|part| push_part(&mut out, part));
        }
    }
    out
}

/// Appends a part of a word with the sign that ends it.
fn push_part(out: &mut String, part: &str) {
    let end = part.chars().next_back().filter(|letter| !letter.is_alphanumeric() && !"-_".contains(*letter));
    let body = &part[..part.len() - end.map_or(0, char::len_utf8)];
    if body.contains(|letter: char| letter.is_numeric()) {
        // `1.5`, `127.0.0.1` and `12:30:01` are one number.
        let joined = out.strip_suffix(['.', ':', ',', '/']).filter(|before| before.ends_with('#'));
        match joined.map(str::len) {
            Some(length) => out.truncate(length),
            None => out.push('#'),
        }
    } else {
        out.push_str(body);
    }
    out.extend(end);
}

/// Replaces what stands between quotation marks. An apostrophe within a word quotes nothing, and a mark
/// without its partner stands for itself.
fn without_quoted(letters: impl Iterator<Item = char>) -> String {
    let letters: Vec<char> = letters.collect();
    let mut out = String::with_capacity(letters.len());
    let mut at = 0;
    while let Some(&letter) = letters.get(at) {
        let begins = at.checked_sub(1).is_none_or(|before| !letters[before].is_alphanumeric());
        let close = match letter {
            '"' | '`' => Some(letter),
            '\'' if begins => Some('\''),
            '“' => Some('”'),
            '‘' if begins => Some('’'),
            _ => None,
        };
        let end = close.and_then(|close| {
            let is_end = |end: usize| {
                letters[end] == close
                    && (close != '\'' || letters.get(end + 1).is_none_or(|next| !next.is_alphanumeric()))
            };
            (at + 1..letters.len()).find(|&end| is_end(end))
        });
        if let Some(end) = end {
            out.push_str("\"*\"");
            at = end + 1;
        } else {
            out.push(letter);
            at += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_differs_from_time_to_time_is_taken_out() {
        for (error, expected) in [
            ("it broke", "it broke"),
            ("HTTP 503 after 1.5 s", "HTTP # after # s"),
            ("  two\n  lines\t", "two lines"),
            ("job 0190f2c4-7a1b-7c3d-8e4f-5a6b7c8d9e0f is gone", "job # is gone"),
            ("at 0xDEADBEEF12, sha 9f86d081884c7d65", "at #, sha #"),
            ("no user \"ada\" in 'agency one'", "no user \"*\" in \"*\""),
            ("field `name`: unknown “x”", "field \"*\": unknown \"*\""),
            ("mail to ada@example.com bounced", "mail to @ bounced"),
            ("GET https://api.example.com/v1/7?key=x failed", "GET @ failed"),
            ("refused by 127.0.0.1:5432 at 2026-11-25T10:00:00Z", "refused by # at #"),
            ("the server can't and won't", "the server can't and won't"),
            ("an open \" mark", "an open \" mark"),
            ("video dQw4w9WgXcQ: not found", "video #: not found"),
            ("/v1/jobs/42/retry", "/#/jobs/#/retry"),
            ("", ""),
        ] {
            assert_eq!(normalised(error), expected, "{error}");
        }
    }

    #[test]
    fn the_numbers_are_those_of_every_release() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(of_error("it broke 7 times"), of_error("it broke 12 times"));
        assert_ne!(of_error("it broke"), of_error("it broke 7 times"));
        assert_eq!(CRASH, of_error("its worker died"));
    }

    #[test]
    fn people_see_sixteen_digits() {
        for bits in [0, 1, -1, i64::MIN, i64::MAX] {
            let shown = Fingerprint(bits).to_string();
            assert_eq!((shown.len(), shown.parse()), (16, Ok(Fingerprint(bits))));
        }
        for wrong in ["", "7", "+00000000000000f", "0x00000000000000", "000000000000000g", "é00000000000000"]
        {
            assert_eq!(wrong.parse::<Fingerprint>(), Err(NoFingerprint), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn errors_that_differ_in_ids_alone_agree(
            words in "[a-z ]{0,20}", n in any::<(u64, u64)>(), ids in any::<(u128, u128)>(),
            names in ("[^\"\\p{C}]{0,12}", "[^\"\\p{C}]{0,12}"), who in ("[a-z]{1,8}", "[a-z]{1,8}"),
        ) {
            let error = |n: u64, id: u128, name: &str, who: &str| format!(
                "{words} {n}: {} of \"{name}\" <{who}@example.com> answered {n}.{n}", uuid::Uuid::from_u128(id));
            prop_assert_eq!(of_error(&error(n.0, ids.0, &names.0, &who.0)), of_error(&error(n.1, ids.1, &names.1, &who.1)));
        }

        #[test]
        fn any_text_has_a_fingerprint(text in any::<String>()) {
            let general = normalised(&text);
            prop_assert_eq!(of_error(&text), of_error(&text));
            prop_assert!(!general.contains(char::is_numeric) && general.chars().count() <= 3 * LETTERS);
        }
    }
}
