//! `SendGrid`: ECDSA over the curve P-256 and SHA-256 of timestamp and body; a list of events.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{Delivery, Event, Happened, Unverified, Verified};

/// It may take longer than others.
const SKEW: TimeDelta = TimeDelta::minutes(10);
/// A public key of this curve in its envelope ends with its point.
const POINT_BYTES: usize = 65;

#[derive(Deserialize)]
struct Told {
    event: String,
    sg_event_id: String,
    sg_message_id: Option<String>,
    #[serde(rename = "smtp-id")]
    smtp_id: Option<String>,
    timestamp: Option<i64>,
    #[serde(rename = "type")]
    kind: Option<String>,
    status: Option<String>,
}

pub(super) fn verify(delivery: Delivery<'_>, secret: &SecretString) -> Result<Verified, Unverified> {
    let timestamp = delivery.named("x-twilio-email-event-webhook-timestamp")?;
    let signature = delivery.named("x-twilio-email-event-webhook-signature")?;
    delivery.recent(timestamp, SKEW)?;
    let key = STANDARD.decode(secret.expose_secret()).map_err(|_| Unverified)?;
    let point = key.len().checked_sub(POINT_BYTES).map(|at| &key[at..]).ok_or(Unverified)?;
    let signature = STANDARD.decode(signature).map_err(|_| Unverified)?;
    let signed = [timestamp.as_bytes(), delivery.body].concat();
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point);
    key.verify(&signed, &signature).map_err(|_| Unverified)?;
    let told: Vec<Told> = serde_json::from_slice(delivery.body).map_err(|_| Unverified)?;
    let events = told.into_iter().map(|told| Event {
        happened: happened(&told),
        id: told.sg_event_id,
        at: told.timestamp.and_then(|secs| DateTime::from_timestamp(secs, 0)),
        // What follows the first dot is the filter's, and another at every event.
        provider_message_id: told.sg_message_id.map(|id| id.split('.').next().unwrap_or_default().to_owned()),
        message_id: told.smtp_id,
        message: None,
    });
    Ok(Verified { events: events.collect(), token: None })
}

fn happened(told: &Told) -> Happened {
    match told.event.as_str() {
        "delivered" => Happened::Delivered,
        // "blocked" is a bounce that says nothing of the address.
        "bounce" if told.kind.as_deref() == Some("blocked") => Happened::Rejected,
        "bounce" if told.status.as_deref().is_some_and(|status| status.starts_with('4')) => {
            Happened::SoftBounce
        }
        "bounce" => Happened::HardBounce,
        "deferred" => Happened::Deferred,
        "spamreport" => Happened::Complained,
        "unsubscribe" | "group_unsubscribe" => Happened::Unsubscribed,
        "open" => Happened::Opened,
        "click" => Happened::Clicked,
        _ => Happened::Other,
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

    use super::*;
    use crate::events::SKEW;

    #[test]
    fn a_list_is_believed_that_its_key_has_signed() {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        // The envelope of a key of this curve, as SendGrid shows it.
        let envelope = STANDARD.decode("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgA=").unwrap();
        let public = SecretString::from(STANDARD.encode([&envelope, key.public_key().as_ref()].concat()));
        let body = br#"[{"event":"bounce","sg_event_id":"a","type":"bounce","status":"5.1.1","smtp-id":"<m@x.test>","timestamp":1793491200},
                        {"event":"bounce","sg_event_id":"b","type":"blocked","sg_message_id":"id.filter1"},
                        {"event":"spamreport","sg_event_id":"c"}]"#;
        let now = DateTime::from_timestamp(1_793_491_300, 0).unwrap();
        let at = |secs: i64, body: &[u8]| {
            let signed = [secs.to_string().as_bytes(), body].concat();
            STANDARD.encode(key.sign(&SystemRandom::new(), &signed).unwrap())
        };
        let verified = |secs: i64, signature: &str, body: &[u8]| {
            let secs = secs.to_string();
            let header = |name: &str| match name {
                "x-twilio-email-event-webhook-timestamp" => Some(secs.as_str()),
                "x-twilio-email-event-webhook-signature" => Some(signature),
                _ => None,
            };
            verify(Delivery { body, header: &header, now }, &public)
        };
        let good = at(1_793_491_200, body);
        let events = verified(1_793_491_200, &good, body).unwrap().events;
        let told: Vec<_> = events.iter().map(|event| (event.id.as_str(), event.happened)).collect();
        assert_eq!(
            told,
            [("a", Happened::HardBounce), ("b", Happened::Rejected), ("c", Happened::Complained)]
        );
        assert_eq!(events[0].message_id.as_deref(), Some("<m@x.test>"));
        assert_eq!(events[1].provider_message_id.as_deref(), Some("id"));
        assert_eq!(verified(1_793_491_200, &good, b"[]"), Err(Unverified));
        assert_eq!(verified(1_793_491_201, &good, body), Err(Unverified));
        let old = 1_793_491_300 - SKEW.num_seconds() - super::SKEW.num_seconds();
        assert_eq!(verified(old, &at(old, body), body), Err(Unverified));
    }
}
