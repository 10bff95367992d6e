//! Mailgun: HMAC-SHA256 over a timestamp and a token, both in the body. The signature does not cover the event, so a
//! token is taken for one event only.

use chrono::DateTime;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::Sha256;

use super::{Delivery, Event, Happened, SKEW, Unverified, Verified};

#[derive(Deserialize)]
struct Body {
    signature: Signature,
    #[serde(rename = "event-data")]
    data: Data,
}

#[derive(Deserialize)]
struct Signature {
    timestamp: String,
    token: String,
    #[serde(rename = "signature")]
    digest: String,
}

#[derive(Deserialize)]
struct Data {
    event: String,
    id: String,
    timestamp: Option<f64>,
    severity: Option<String>,
    message: Option<Message>,
}

#[derive(Deserialize)]
struct Message {
    headers: Headers,
}

#[derive(Deserialize)]
struct Headers {
    #[serde(rename = "message-id")]
    message_id: Option<String>,
}

pub(super) fn verify(delivery: Delivery<'_>, secret: &SecretString) -> Result<Verified, Unverified> {
    // The signature is in the body, so the body is read first; nothing of it is believed before it is verified.
    let Body { signature, data } = serde_json::from_slice(delivery.body).map_err(|_| Unverified)?;
    delivery.recent(&signature.timestamp, SKEW)?;
    let given = hex(&signature.digest).ok_or(Unverified)?;
    let key = secret.expose_secret().as_bytes();
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| Unverified)?;
    mac.update(signature.timestamp.as_bytes());
    mac.update(signature.token.as_bytes());
    mac.verify_slice(&given).map_err(|_| Unverified)?;
    let happened = match (data.event.as_str(), data.severity.as_deref()) {
        ("delivered", _) => Happened::Delivered,
        ("failed", Some("temporary")) => Happened::Deferred,
        ("failed", _) => Happened::HardBounce,
        ("complained", _) => Happened::Complained,
        ("unsubscribed", _) => Happened::Unsubscribed,
        ("opened", _) => Happened::Opened,
        ("clicked", _) => Happened::Clicked,
        _ => Happened::Other,
    };
    #[expect(clippy::cast_possible_truncation, reason = "a time in seconds; its fraction is not kept")]
    let at = data.timestamp.and_then(|secs| DateTime::from_timestamp(secs as i64, 0));
    let message_id = data.message.and_then(|message| message.headers.message_id);
    let event = Event {
        id: data.id,
        happened,
        at,
        provider_message_id: None,
        message_id: message_id.map(|id| format!("<{}>", id.trim_matches(['<', '>']))),
        message: None,
    };
    Ok(Verified { events: vec![event], token: Some(signature.token) })
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pairs = digits.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
