//! Postmark: a user and a password, as HTTP has them; one event a call.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use subtle::ConstantTimeEq;

use super::{Delivery, Event, Happened, Unverified, Verified};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Body {
    record_type: String,
    #[serde(rename = "ID")]
    id: Option<i64>,
    #[serde(rename = "MessageID")]
    message_id: String,
    #[serde(rename = "Type")]
    kind: Option<String>,
    bounced_at: Option<DateTime<Utc>>,
    delivered_at: Option<DateTime<Utc>>,
    received_at: Option<DateTime<Utc>>,
    changed_at: Option<DateTime<Utc>>,
    suppress_sending: Option<bool>,
}

pub(super) fn verify(delivery: Delivery<'_>, secret: &SecretString) -> Result<Verified, Unverified> {
    let (scheme, given) = delivery.named("authorization")?.split_once(' ').ok_or(Unverified)?;
    let given = STANDARD.decode(given.trim()).map_err(|_| Unverified)?;
    let is_valid = bool::from(given.ct_eq(secret.expose_secret().as_bytes()));
    if !scheme.eq_ignore_ascii_case("basic") || !is_valid {
        return Err(Unverified);
    }
    let body: Body = serde_json::from_slice(delivery.body).map_err(|_| Unverified)?;
    let happened = match (body.record_type.as_str(), body.kind.as_deref()) {
        ("Delivery", _) => Happened::Delivered,
        ("Bounce", Some("HardBounce" | "BadEmailAddress")) => Happened::HardBounce,
        ("Bounce", Some("Transient" | "DnsError")) => Happened::Deferred,
        ("Bounce", Some("Unsubscribe")) => Happened::Unsubscribed,
        ("Bounce", Some("SpamComplaint")) | ("SpamComplaint", _) => Happened::Complained,
        ("Bounce", _) => Happened::SoftBounce,
        ("SubscriptionChange", _) if body.suppress_sending == Some(true) => Happened::Unsubscribed,
        ("Open", _) => Happened::Opened,
        ("Click", _) => Happened::Clicked,
        _ => Happened::Other,
    };
    let at = body.bounced_at.or(body.delivered_at).or(body.received_at).or(body.changed_at);
    // Only bounces have an id of their own.
    let which =
        body.id.map_or_else(|| at.map_or_else(String::new, |at| at.to_rfc3339()), |id| id.to_string());
    let event = Event {
        id: format!("{} {} {which}", body.record_type, body.message_id),
        happened,
        at,
        provider_message_id: Some(body.message_id),
        message_id: None,
        message: None,
    };
    Ok(Verified { events: vec![event], token: None })
}
