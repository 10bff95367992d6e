//! Takes secrets out of a text that came from outside, before anyone stores or prints it.
//!
//! It knows secrets by how they begin (those of Google, Instagram and Facebook, and our own sealed
//! ones) or by the name before them (`access_token=…`). It is a net below code that does not let secrets
//! into texts in the first place: a secret of no known shape passes.

const REDACTED: &str = "[redacted]";

/// How secret values begin, whatever stands before them.
const BEGINNINGS: [&str; 10] =
    ["ya29.", "1//", "1%2F%2F", "GOCSPX-", "IGQ", "EAA", "gAAAAA", "gr_", "sk-ant-", "sk-proj-"];

/// What stands before a secret value, after which everything up to a separator is taken.
const NAMES: [&str; 5] = ["access_token", "refresh_token", "client_secret", "id_token", "code"];

/// Returns the text with `[redacted]` in the place of every secret it recognises.
pub fn scrub(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        // A name begins a word: `code=` is one, `error_code=` is not.
        let within_word = clean.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        if let Some((kept, secret)) = secret_at(rest, within_word) {
            clean.push_str(&rest[..kept]);
            clean.push_str(REDACTED);
            rest = &rest[kept + secret..];
        } else {
            clean.push(letter);
            rest = &rest[letter.len_utf8()..];
        }
    }
    clean
}

/// Returns how many bytes of the text are a name to keep and how many after it are its secret.
fn secret_at(text: &str, within_word: bool) -> Option<(usize, usize)> {
    if BEGINNINGS.iter().any(|beginning| text.starts_with(beginning)) {
        return Some((0, token_len(text)));
    }
    if within_word {
        return None;
    }
    let named = bearer(text).or_else(|| NAMES.iter().find_map(|name| named(text, name)))?;
    let secret = token_len(&text[named..]);
    (secret > 0).then_some((named, secret))
}

/// Returns the length of `Bearer ` in any case.
fn bearer(text: &str) -> Option<usize> {
    let word = text.get(..6)?;
    let spaces = text[6..].len() - text[6..].trim_start().len();
    (word.eq_ignore_ascii_case("bearer") && spaces > 0).then_some(6 + spaces)
}

/// Returns the length of `name=`, or of `"name":"` as JSON writes it.
fn named(text: &str, name: &str) -> Option<usize> {
    let after = text.strip_prefix(name)?;
    let value = after.strip_prefix('=').or_else(|| {
        // `"code": 403` is a number that people need; a secret in JSON is always a string.
        after.strip_prefix('"')?.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')
    })?;
    (name != "code" || after.starts_with('=')).then_some(text.len() - value.len())
}

fn token_len(text: &str) -> usize {
    let in_token = |c: char| c.is_ascii_alphanumeric() || "-._~+/=%|:".contains(c);
    text.find(|c| !in_token(c)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tokens_are_taken_out_wherever_they_stand() {
        for (dirty, clean) in [
            ("ya29.a0Af_B-x", "[redacted]"),
            ("token <ya29.a0Af_B-x> expired", "token <[redacted]> expired"),
            ("xya29.a0", "x[redacted]"),
            ("1//0gAbC-d_e.", "[redacted]"),
            ("?refresh_token=1%2F%2F0gAbC&x=1", "?refresh_token=[redacted]&x=1"),
            ("at 1%2F%2F0gAbC&x=1", "at [redacted]&x=1"),
            ("the secret GOCSPX-a_b is wrong", "the secret [redacted] is wrong"),
            ("IGQVJabc, EAAGdef", "[redacted], [redacted]"),
            ("Incorrect API key provided: sk-proj-aB_c-1.", "Incorrect API key provided: [redacted]"),
            ("sk-ant-api03-x is risk-free", "[redacted] is risk-free"),
            ("gAAAAABk_-x==", "[redacted]"),
            ("gr_0123456789ab_secret", "[redacted]"),
            ("Authorization: Bearer abc.def-1", "Authorization: Bearer [redacted]"),
            ("bearer  abc", "bearer  [redacted]"),
            ("access_token=abc|def&next=1", "access_token=[redacted]&next=1"),
            ("client_secret=GOCSPX-x refresh_token=y", "client_secret=[redacted] refresh_token=[redacted]"),
            ("/cb?code=4/0AX&state=s", "/cb?code=[redacted]&state=s"),
            (r#"{"access_token": "opaque", "n":1}"#, r#"{"access_token": "[redacted]", "n":1}"#),
            (r#"{"client_secret":"x"}"#, r#"{"client_secret":"[redacted]"}"#),
        ] {
            assert_eq!(scrub(dirty), clean, "{dirty}");
        }
    }

    #[test]
    fn what_people_need_stays() {
        for text in [
            "",
            "Token has been expired or revoked.",
            r#"{"error":{"code": 403, "message":"Comments are disabled"}}"#,
            "error_code=190",
            "Bearer",
            "access_token is missing",
            "Ünïcode ✓ bearers",
        ] {
            assert_eq!(scrub(text), text);
        }
    }

    proptest! {
        #[test]
        fn no_piece_of_a_token_survives(before in "\\PC{0,20}", token in "[A-Za-z0-9_-]{12,60}", after in "[ &\"'<>,;)}\\]]\\PC{0,20}") {
            for beginning in BEGINNINGS {
                let text = format!("{before}{beginning}{token}{after}");
                prop_assert!(!scrub(&text).contains(&token), "{}", text);
            }
        }

        #[test]
        fn scrubbing_again_changes_nothing(text in "\\PC*") {
            let once = scrub(&text);
            prop_assert_eq!(scrub(&once), once);
        }
    }
}
