//! Tokens that know where they belong.
//!
//! Fernet authenticates a token and not its place: whoever can write to the database can put one row's token
//! into another. So a token may be sealed in an envelope, JSON that names its place beside it
//! (`{"v":1,"t":token,"b":place}`), and is refused anywhere else. Off, tokens are bare and Python reads
//! them, and a swap goes unnoticed; that is the price of sharing the database.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::stored::Stored;
use crate::token::{PREFIX, Token, normalise};
use crate::vault::{OpenError, Vault};

/// How an envelope begins; no provider's token does.
const ENVELOPE: &str = r#"{"v":1,"#;

/// A column of a row, such as `youtube_connections/<id>/access_token`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(String);

impl Place {
    /// Names a column of a row.
    pub fn new(table: &str, row: impl fmt::Display, column: &str) -> Self {
        Self(format!("{table}/{row}/{column}"))
    }
}

/// Whether tokens are bound to their places.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bind {
    /// Writes bare tokens, which Python reads; opens both.
    #[default]
    Off,
    /// Writes envelopes, opens both.
    On,
    /// Writes envelopes and opens nothing else.
    Require,
}

#[derive(Serialize)]
struct Sealing<'a> {
    v: u8,
    t: &'a str,
    b: &'a str,
}

#[derive(Deserialize)]
struct Opened {
    t: Secret,
    b: String,
}

impl Vault {
    /// Binds tokens to their places from now on, or not.
    #[must_use]
    pub fn binding(mut self, bind: Bind) -> Self {
        self.bind = bind;
        self
    }

    /// Seals a secret for its place, under the first key.
    pub fn seal_for(&self, place: &Place, secret: &Secret) -> String {
        self.first().fernet.encrypt(self.content(place, secret).as_bytes())
    }

    /// Opens what is sealed for this place or, unless that is forbidden, for none.
    pub fn open_for(&self, place: &Place, sealed: &str) -> Result<Secret, OpenError> {
        let token = Token::parse(&normalise(sealed)).ok_or(OpenError::Malformed)?;
        self.unwrapped(place, self.open_token(&token)?)
    }

    /// Decides what a token column holds, and opens it where that is possible.
    pub fn classify_for(&self, place: &Place, column: Option<&str>) -> Stored {
        match self.classify(column) {
            Stored::Encrypted(content) => {
                self.unwrapped(place, content).map_or_else(Stored::Undecryptable, Stored::Encrypted)
            }
            other => other,
        }
    }

    /// Seals a token again as it would be sealed now, and keeps the time it carries; `None` where it is so already.
    pub fn reseal_for(&self, place: &Place, sealed: &str) -> Result<Option<String>, OpenError> {
        let token = Token::parse(&normalise(sealed)).ok_or(OpenError::Malformed)?;
        let (key, content) = self.open_by(&token)?;
        let secret = self.unwrapped(place, content.clone())?;
        let wanted = self.content(place, &secret);
        // Python's wrappings are taken off as well.
        if key == self.key_id() && *wanted == content.expose() && sealed.starts_with(PREFIX) {
            return Ok(None);
        }
        Ok(Some(self.first().fernet.encrypt_at_time(wanted.as_bytes(), token.made_at)))
    }

    fn content(&self, place: &Place, secret: &Secret) -> Zeroizing<String> {
        if self.bind == Bind::Off {
            return Zeroizing::new(secret.expose().to_owned());
        }
        let envelope = Sealing { v: 1, t: secret.expose(), b: &place.0 };
        // A number and two texts are JSON whatever they hold.
        Zeroizing::new(serde_json::to_string(&envelope).unwrap_or_default())
    }

    fn unwrapped(&self, place: &Place, content: Secret) -> Result<Secret, OpenError> {
        if !content.expose().starts_with(ENVELOPE) {
            return if self.bind == Bind::Require { Err(OpenError::Unbound) } else { Ok(content) };
        }
        let opened: Opened = serde_json::from_str(content.expose()).map_err(|_| OpenError::Malformed)?;
        if opened.b == place.0 { Ok(opened.t) } else { Err(OpenError::Misplaced) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::generate_key;

    fn places() -> (Place, Place) {
        let place = |row| Place::new("youtube_connections", row, "access_token");
        (place(1), place(2))
    }

    #[test]
    fn a_bound_token_opens_in_its_place_alone() {
        let vault = Vault::from_keys(generate_key().expose()).unwrap().binding(Bind::On);
        let (here, there) = places();
        let sealed = vault.seal_for(&here, &"ya29.x".into());
        assert_eq!(vault.open_for(&here, &sealed).unwrap().expose(), "ya29.x");
        assert_eq!(vault.open_for(&there, &sealed).unwrap_err(), OpenError::Misplaced);
        assert_eq!(vault.classify_for(&there, Some(&sealed)).as_str(), "undecryptable");
        // Off still reads what was bound, in its place.
        let off = vault.binding(Bind::Off);
        assert_eq!(off.open_for(&here, &sealed).unwrap().expose(), "ya29.x");
        assert_eq!(off.open_for(&there, &sealed).unwrap_err(), OpenError::Misplaced);
    }

    #[test]
    fn bare_tokens_are_for_python_and_can_be_forbidden() {
        let vault = Vault::from_keys(generate_key().expose()).unwrap();
        let (here, _) = places();
        let bare = vault.seal_for(&here, &"1//x".into());
        assert_eq!(vault.open(&bare).unwrap().expose(), "1//x");
        let on = vault.clone().binding(Bind::On);
        assert_eq!(on.open_for(&here, &bare).unwrap().expose(), "1//x");
        let require = vault.binding(Bind::Require);
        assert_eq!(require.open_for(&here, &bare).unwrap_err(), OpenError::Unbound);
    }

    #[test]
    fn a_token_is_sealed_again_until_it_is_as_it_should_be() {
        let (old, new) = (generate_key(), generate_key());
        let (here, there) = places();
        let before = Vault::from_keys(old.expose()).unwrap();
        let sealed = before.seal_for(&here, &"1//x".into());
        assert_eq!(before.reseal_for(&here, &sealed).unwrap(), None);
        assert_eq!(
            before.reseal_for(&here, &format!("b'{sealed}'")).unwrap().map(|t| t.len()),
            Some(sealed.len())
        );
        let after = Vault::from_keys(&format!("{},{}", new.expose(), old.expose())).unwrap();
        let again = after.reseal_for(&here, &sealed).unwrap().unwrap();
        assert_eq!(after.key_of(&again).as_deref(), Some(after.key_id()));
        assert_eq!(after.reseal_for(&here, &again).unwrap(), None);
        let bound = after.binding(Bind::On);
        let again = bound.reseal_for(&here, &again).unwrap().unwrap();
        assert_eq!(bound.reseal_for(&here, &again).unwrap(), None);
        assert_eq!(bound.reseal_for(&there, &again).unwrap_err(), OpenError::Misplaced);
        let made_at = |token: &str| Token::parse(token).unwrap().made_at;
        assert_eq!(made_at(&again), made_at(&sealed));
    }

    proptest! {
        #[test]
        fn whatever_is_bound_opens_again(text in any::<String>(), row in any::<u32>()) {
            let vault = Vault::from_keys(generate_key().expose()).unwrap().binding(Bind::Require);
            let place = Place::new("t", row, "c");
            let sealed = vault.seal_for(&place, &Secret::from(text.as_str()));
            let opened = vault.open_for(&place, &sealed).unwrap();
            prop_assert_eq!(opened.expose(), text);
        }

        #[test]
        fn no_content_panics(text in any::<String>()) {
            let vault = Vault::from_keys(generate_key().expose()).unwrap();
            let (here, _) = places();
            for content in [text.clone(), format!("{ENVELOPE}{text}")] {
                let sealed = vault.seal(&Secret::from(content.as_str()));
                let _ = vault.open_for(&here, &sealed);
                let _ = vault.reseal_for(&here, &sealed);
            }
        }
    }
}
