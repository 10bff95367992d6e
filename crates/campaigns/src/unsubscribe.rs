//! Leaving a list without logging in: a token in a link that names the person and cannot be forged.
//!
//! `v1.<person and list>.<HMAC-SHA256, 16 bytes>`, both in base64url. It does not end and may be used again, since old
//! mails are read late and programs click twice.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use greenroom_model::UserId;
use greenroom_vault::SigningKeys;
use sqlx::PgConnection;

use crate::{CampaignsError, store};

/// The one list there is: everything that needs consent.
const LIST: &[u8] = b"news";
/// What stands before what is signed, and before the token.
const VERSION: &str = "v1";
const ID_BYTES: usize = 16;

/// A token that nobody has signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this link is not valid")]
pub struct BadToken;

/// The keys of `UNSUBSCRIBE_KEY`: the first signs, every one verifies.
#[derive(Clone, Debug)]
pub struct UnsubscribeKeys(SigningKeys);

impl UnsubscribeKeys {
    /// Reads keys that are separated by commas.
    pub fn parse(text: &str) -> Result<Self, CampaignsError> {
        Ok(Self(SigningKeys::parse(text)?))
    }

    /// Returns a person's token.
    pub fn token(&self, user: UserId) -> String {
        let who = [user.0.as_bytes(), LIST].concat();
        let signature = self.0.sign(&signed(&who));
        format!("{VERSION}.{}.{}", URL_SAFE_NO_PAD.encode(who), URL_SAFE_NO_PAD.encode(signature))
    }

    /// Returns whose token it is.
    pub fn verify(&self, token: &str) -> Result<UserId, BadToken> {
        let mut parts = token.split('.');
        let (Some(VERSION), Some(who), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BadToken);
        };
        let who = URL_SAFE_NO_PAD.decode(who).map_err(|_| BadToken)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| BadToken)?;
        let is_valid = self.0.verify(&signed(&who), &signature);
        let (id, list) = who.split_at_checked(ID_BYTES).ok_or(BadToken)?;
        if !is_valid || list != LIST {
            return Err(BadToken);
        }
        let id = <[u8; ID_BYTES]>::try_from(id).map_err(|_| BadToken)?;
        Ok(UserId(sqlx::types::Uuid::from_bytes(id)))
    }

    /// Takes the person of a token off the list. Twice is as good as once.
    pub async fn unsubscribe(&self, conn: &mut PgConnection, user: UserId) -> Result<bool, CampaignsError> {
        Ok(store::mark_unsubscribed(conn, user).await?)
    }

    /// Puts the person back.
    pub async fn resubscribe(&self, conn: &mut PgConnection, user: UserId) -> Result<bool, CampaignsError> {
        Ok(store::mark_subscribed(conn, user).await?)
    }
}

fn signed(who: &[u8]) -> Vec<u8> {
    [b"v1.", who].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "an old key of some length";
    const NEW: &str = "a new key of some length";

    #[test]
    fn a_token_is_valid_under_any_key_and_no_other() {
        let user = UserId::new();
        let token = UnsubscribeKeys::parse(OLD).unwrap().token(user);
        let both = UnsubscribeKeys::parse(&format!("{NEW}, {OLD}")).unwrap();
        assert_eq!(both.verify(&token), Ok(user));
        assert_ne!(both.token(user), token);
        assert_eq!(UnsubscribeKeys::parse(NEW).unwrap().verify(&token), Err(BadToken));
        let short = UnsubscribeKeys::parse("short").unwrap_err().to_string();
        assert!(short.starts_with("UNSUBSCRIBE_KEY: key number 1 has fewer"), "{short}");
    }

    #[test]
    fn no_letter_of_a_token_can_be_changed() {
        let keys = UnsubscribeKeys::parse(NEW).unwrap();
        let token = keys.token(UserId::new());
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)), "{token}");
        for place in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(keys.verify(&changed), Err(BadToken), "{changed}");
        }
        for wrong in ["", "v1", "v1..", "v2.a.b", &format!("{token}."), &token[..token.len() - 1]] {
            assert_eq!(keys.verify(wrong), Err(BadToken), "{wrong}");
        }
    }
}
