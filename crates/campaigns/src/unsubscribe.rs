//! Leaving a list without logging in: a token in a link that names the person and cannot be forged.
//!
//! `v1.<person and list>.<HMAC-SHA256, 16 bytes>`, both in base64url. It does not end and may be used again, since old
//! mails are read late and programs click twice.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use greenroom_model::UserId;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use sqlx::PgConnection;
use subtle::{Choice, ConstantTimeEq};

use crate::{CampaignsError, store};

/// The one list there is: everything that needs consent.
const LIST: &[u8] = b"news";
const ID_BYTES: usize = 16;
const TAG_BYTES: usize = 16;
/// Shorter keys could be guessed.
const LEAST_KEY_BYTES: usize = 16;

/// A token that nobody has signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this link is not valid")]
pub struct BadToken;

/// The keys of `UNSUBSCRIBE_KEY`: the first signs, every one verifies.
#[derive(Clone)]
pub struct UnsubscribeKeys(Vec<Hmac<Sha256>>);

impl std::fmt::Debug for UnsubscribeKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UnsubscribeKeys({})", self.0.len())
    }
}

impl UnsubscribeKeys {
    /// Reads keys that are separated by commas.
    pub fn parse(text: &str) -> Result<Self, CampaignsError> {
        let keys = text.split(',').map(str::trim).map(|key| {
            if key.len() < LEAST_KEY_BYTES {
                return Err(CampaignsError::Key(
                    "each key has at least 16 characters: 32 random ones will do",
                ));
            }
            Hmac::new_from_slice(key.as_bytes()).map_err(|_| CampaignsError::Key("a key cannot be used"))
        });
        Ok(Self(keys.collect::<Result<_, _>>()?))
    }

    /// Returns a person's token.
    pub fn token(&self, user: UserId) -> String {
        let mut who = user.0.as_bytes().to_vec();
        who.extend_from_slice(LIST);
        let tag = self.0.first().map(|key| tag(key, &who)).unwrap_or_default();
        format!("v1.{}.{}", URL_SAFE_NO_PAD.encode(who), URL_SAFE_NO_PAD.encode(tag))
    }

    /// Returns whose token it is.
    pub fn verify(&self, token: &str) -> Result<UserId, BadToken> {
        let mut parts = token.split('.');
        let (Some("v1"), Some(who), Some(signed), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BadToken);
        };
        let who = URL_SAFE_NO_PAD.decode(who).map_err(|_| BadToken)?;
        let signed = URL_SAFE_NO_PAD.decode(signed).map_err(|_| BadToken)?;
        // Every key is tried, so that the time tells nothing.
        let valid = self.0.iter().fold(Choice::from(0), |valid, key| valid | tag(key, &who).ct_eq(&signed));
        let (id, list) = who.split_at_checked(ID_BYTES).ok_or(BadToken)?;
        if !bool::from(valid) || list != LIST {
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

fn tag(key: &Hmac<Sha256>, who: &[u8]) -> Vec<u8> {
    let mut mac = key.clone();
    mac.update(b"v1.");
    mac.update(who);
    mac.finalize().into_bytes()[..TAG_BYTES].to_vec()
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
        assert!(UnsubscribeKeys::parse("short").is_err());
        assert!(UnsubscribeKeys::parse(&format!("{NEW},")).is_err());
        assert_eq!(format!("{both:?}"), "UnsubscribeKeys(2)");
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
