//! Resend: HMAC-SHA256 over `id.timestamp.body`, as Svix signs; several signatures while a secret is changed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::Sha256;

use super::{Delivery, Event, Happened, SKEW, Unverified, Verified};

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "type")]
    kind: String,
    created_at: Option<DateTime<Utc>>,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    email_id: Option<String>,
    message_id: Option<String>,
    bounce: Option<Bounce>,
}

#[derive(Deserialize)]
struct Bounce {
    #[serde(rename = "type")]
    kind: Option<String>,
}

pub(super) fn verify(delivery: Delivery<'_>, secret: &SecretString) -> Result<Verified, Unverified> {
    let (id, timestamp) = (delivery.named("svix-id")?, delivery.named("svix-timestamp")?);
    let signatures = delivery.named("svix-signature")?;
    delivery.recent(timestamp, SKEW)?;
    let keys = secret.expose_secret().split(',').map(|key| key.trim().trim_start_matches("whsec_"));
    let mut is_valid = false;
    for key in keys {
        let key = STANDARD.decode(key).map_err(|_| Unverified)?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| Unverified)?;
        mac.update(id.as_bytes());
        mac.update(b".");
        mac.update(timestamp.as_bytes());
        mac.update(b".");
        mac.update(delivery.body);
        for signature in signatures.split(' ').filter_map(|signature| signature.strip_prefix("v1,")) {
            let signature = STANDARD.decode(signature).unwrap_or_default();
            is_valid |= mac.clone().verify_slice(&signature).is_ok();
        }
    }
    if !is_valid {
        return Err(Unverified);
    }
    let body: Body = serde_json::from_slice(delivery.body).map_err(|_| Unverified)?;
    let happened = match body.kind.as_str() {
        "email.delivered" => Happened::Delivered,
        "email.bounced" => {
            let is_passing =
                body.data.bounce.and_then(|bounce| bounce.kind).is_some_and(|kind| kind != "Permanent");
            if is_passing { Happened::SoftBounce } else { Happened::HardBounce }
        }
        "email.delivery_delayed" => Happened::Deferred,
        "email.complained" => Happened::Complained,
        "email.opened" => Happened::Opened,
        "email.clicked" => Happened::Clicked,
        _ => Happened::Other,
    };
    let event = Event {
        id: id.to_owned(),
        happened,
        at: body.created_at,
        provider_message_id: body.data.email_id,
        message_id: body.data.message_id,
        message: None,
    };
    Ok(Verified { events: vec![event], token: None })
}
