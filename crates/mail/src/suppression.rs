//! Who is not mailed, whatever is to be told: decided when a message is planned and again when it is sent.

use chrono::{DateTime, Utc};

use crate::{Class, Settings};

/// What of a person decides whether they may be mailed.
#[derive(Clone, Debug, Default)]
pub struct Recipient {
    /// The address.
    pub email: String,
    /// Whether the account is in use.
    pub is_active: bool,
    /// Whether they asked for news.
    pub opt_in: bool,
    /// When they asked for no more.
    pub unsubscribed_at: Option<DateTime<Utc>>,
    /// When their address turned out not to exist.
    pub bounced_at: Option<DateTime<Utc>>,
    /// What was last heard of mail to them.
    pub last_event: Option<String>,
}

/// Tells why a person is not mailed, if they are not.
pub fn suppressed(who: &Recipient, class: Class, settings: &Settings) -> Option<&'static str> {
    if !who.is_active {
        return Some("inactive");
    }
    if who.email.parse::<lettre::Address>().is_err() {
        return Some("invalid_address");
    }
    if who.bounced_at.is_some() {
        return Some("bounced");
    }
    if who.last_event.as_deref() == Some("complained") {
        return Some("complained");
    }
    if class == Class::Marketing {
        if who.unsubscribed_at.is_some() {
            return Some("unsubscribed");
        }
        if !who.opt_in {
            return Some("not_opted_in");
        }
    }
    (!settings.allows(&who.email)).then_some("not_allowlisted")
}
