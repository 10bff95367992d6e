//! A text that cannot be printed, serialised or forgotten in memory.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

/// A token, key or password: debug-prints as `[redacted]` and is wiped when dropped.
///
/// It has no `Display` and no `Serialize`, so that only [`Secret::expose`] lets it out, and a search
/// for that word finds every place that does.
///
/// ```compile_fail
/// println!("{}", greenroom_vault::Secret::from("ya29.x"));
/// ```
/// ```compile_fail
/// fn writes<T: serde::Serialize>(_: T) {}
/// writes(greenroom_vault::Secret::from("ya29.x"));
/// ```
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Returns the text itself, for the one call that needs it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(SecretString::from(text))
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        // Boxing in place may move the text to a smaller allocation and leave the old one unwiped.
        let text = Zeroizing::new(text);
        Self::from(text.as_str())
    }
}

impl From<SecretString> for Secret {
    fn from(secret: SecretString) -> Self {
        Self(secret)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_nothing_but_on_request() {
        let secret = Secret::from("ya29.canary".to_owned());
        assert_eq!(format!("{secret:?} {:?}", Some(secret.clone())), "[redacted] Some([redacted])");
        assert_eq!(secret.expose(), "ya29.canary");
    }

    #[test]
    fn is_read_from_json() {
        let secret: Secret = serde_json::from_str(r#""1//canary""#).unwrap();
        assert_eq!(secret.expose(), "1//canary");
    }
}
