//! Amazon SES, which tells by SNS: a signature of the topic's region over the parts of a notice, made with a key whose
//! certificate the notice names.
//!
//! Which certificates are believed is decided by where they come from, over TLS: Amazon's hosts and no others. Topics are
//! listed in the settings, so that nobody else's topic is believed either.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::signature::{
    RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, RsaParameters,
    UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use greenroom_http::{Client, Endpoint, Request, Url, Verdict as HttpVerdict};
use rustls_pki_types::CertificateDer;
use serde::Deserialize;
use webpki::EndEntityCert;

use super::{Event, Happened, Unverified, Verified};

const CERTIFICATE: Endpoint = Endpoint { platform: "sns", name: "certificate" };
const SUBSCRIBE: Endpoint = Endpoint { platform: "sns", name: "ConfirmSubscription" };
/// Certificates that are kept. There is one a region, renewed once a year.
const KEPT: usize = 32;

/// Asks Amazon for something.
type Fetch = dyn Fn(Endpoint, Url) -> BoxFuture<'static, Option<Vec<u8>>> + Send + Sync;

/// Takes what SES tells over a list of topics; clones share the certificates.
#[derive(Clone)]
pub struct Sns {
    topics: Vec<String>,
    fetch: Arc<Fetch>,
    certificates: Arc<Mutex<HashMap<Url, Vec<u8>>>>,
}

impl fmt::Debug for Sns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sns({:?})", self.topics)
    }
}

/// Why a notice was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not signed by whom it says.
    #[error(transparent)]
    Unverified(#[from] Unverified),
    /// Amazon cannot be asked just now: the notice comes again.
    #[error("the certificate or the subscription could not be fetched")]
    Unreached,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Notice {
    #[serde(rename = "Type")]
    kind: String,
    message_id: String,
    topic_arn: String,
    subject: Option<String>,
    message: String,
    timestamp: String,
    signature_version: String,
    signature: String,
    #[serde(rename = "SigningCertURL")]
    signing_cert_url: Url,
    #[serde(rename = "SubscribeURL")]
    subscribe_url: Option<Url>,
    token: Option<String>,
}

impl Sns {
    /// Believes these topics.
    pub fn new(topics: Vec<String>, http: Client) -> Self {
        let fetch = move |endpoint, url| {
            let http = http.clone();
            let fetched = async move {
                let answer = http.send(Request::get(endpoint, url), HttpVerdict::by_status).await.ok()?;
                Some(answer.into_body()?.bytes().to_vec())
            };
            fetched.boxed()
        };
        Self { topics, fetch: Arc::new(fetch), certificates: Arc::default() }
    }

    fn keep(&self, url: &Url, certificate: Vec<u8>) {
        let mut kept = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(url.clone(), certificate);
    }

    /// Verifies what came, and reads it; a topic that asks whether we want it is told so.
    pub async fn verify(&self, body: &[u8]) -> Result<Verified, Refusal> {
        let notice: Notice = serde_json::from_slice(body).map_err(|_| Unverified)?;
        // Before anything is fetched: a stranger does not have us ask anybody.
        if !self.topics.contains(&notice.topic_arn) || !is_amazons(&notice.signing_cert_url) {
            return Err(Unverified.into());
        }
        let url = &notice.signing_cert_url;
        let known = self.certificates.lock().unwrap_or_else(PoisonError::into_inner).get(url).cloned();
        let certificate = match known {
            Some(certificate) => certificate,
            None => (self.fetch)(CERTIFICATE, url.clone()).await.ok_or(Refusal::Unreached)?,
        };
        notice.verify(&certificate)?;
        self.keep(url, certificate);
        match (notice.kind.as_str(), notice.subscribe_url) {
            ("SubscriptionConfirmation", Some(url)) if is_amazons(&url) => {
                (self.fetch)(SUBSCRIBE, url).await.ok_or(Refusal::Unreached)?;
                tracing::info!(topic = notice.topic_arn, "A topic of SNS was subscribed to");
                Ok(Verified::of(Vec::new()))
            }
            ("SubscriptionConfirmation", _) => Err(Unverified.into()),
            ("Notification", _) => Ok(Verified::of(events(&notice.message_id, &notice.message))),
            // That somebody has ended a subscription changes nothing here.
            _ => Ok(Verified::of(Vec::new())),
        }
    }
}

/// Tells whether an address is one of SNS.
fn is_amazons(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let region = host.strip_prefix("sns.").and_then(|rest| {
        rest.strip_suffix(".amazonaws.com").or_else(|| rest.strip_suffix(".amazonaws.com.cn"))
    });
    let is_region = |region: &str| {
        region.len() >= 3
            && region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    url.scheme() == "https"
        && url.port().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && region.is_some_and(is_region)
}

impl Notice {
    /// Returns what is signed: names and values of these parts, each on its line.
    fn signed(&self) -> Result<String, Unverified> {
        let subscribe_url = self.subscribe_url.as_ref().map(Url::as_str);
        let parts: &[(&str, Option<&str>)] = match self.kind.as_str() {
            "Notification" => &[
                ("Message", Some(&self.message)),
                ("MessageId", Some(&self.message_id)),
                ("Subject", self.subject.as_deref()),
                ("Timestamp", Some(&self.timestamp)),
                ("TopicArn", Some(&self.topic_arn)),
                ("Type", Some(&self.kind)),
            ],
            "SubscriptionConfirmation" | "UnsubscribeConfirmation" => &[
                ("Message", Some(&self.message)),
                ("MessageId", Some(&self.message_id)),
                ("SubscribeURL", subscribe_url),
                ("Timestamp", Some(&self.timestamp)),
                ("Token", self.token.as_deref()),
                ("TopicArn", Some(&self.topic_arn)),
                ("Type", Some(&self.kind)),
            ],
            _ => return Err(Unverified),
        };
        let lines = parts.iter().filter_map(|(name, value)| value.map(|value| format!("{name}\n{value}\n")));
        Ok(lines.collect())
    }

    fn verify(&self, certificate: &[u8]) -> Result<(), Unverified> {
        let algorithm: &RsaParameters = match self.signature_version.as_str() {
            "1" => &RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
            "2" => &RSA_PKCS1_2048_8192_SHA256,
            _ => return Err(Unverified),
        };
        let pem = std::str::from_utf8(certificate).map_err(|_| Unverified)?;
        let body = pem.split_once("-----BEGIN CERTIFICATE-----").ok_or(Unverified)?.1;
        let body = body.split_once("-----END").ok_or(Unverified)?.0;
        let der = STANDARD.decode(body.split_whitespace().collect::<String>()).map_err(|_| Unverified)?;
        let der = CertificateDer::from(der);
        let key = EndEntityCert::try_from(&der).map_err(|_| Unverified)?.subject_public_key_info();
        let signature = STANDARD.decode(&self.signature).map_err(|_| Unverified)?;
        UnparsedPublicKey::new(algorithm, key.as_ref())
            .verify(self.signed()?.as_bytes(), &signature)
            .map_err(|_| Unverified)
    }
}

/// What SES says: a notification of an identity, or an event of a configuration set; they differ in one name.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    #[serde(alias = "eventType")]
    notification_type: String,
    mail: Mail,
    bounce: Option<Bounce>,
    complaint: Option<Complaint>,
    delivery: Option<At>,
    open: Option<At>,
    click: Option<At>,
    subscription: Option<Subscription>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mail {
    message_id: String,
    timestamp: Option<DateTime<Utc>>,
    common_headers: Option<CommonHeaders>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CommonHeaders {
    message_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bounce {
    #[serde(rename = "bounceType")]
    kind: String,
    #[serde(rename = "bounceSubType")]
    sub_kind: Option<String>,
    timestamp: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Complaint {
    #[serde(rename = "complaintFeedbackType")]
    kind: Option<String>,
    timestamp: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct At {
    timestamp: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Subscription {
    new_topic_preferences: Option<Preferences>,
    timestamp: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Preferences {
    unsubscribe_all: Option<bool>,
}

/// Reads the event of a notice; what is no event, such as the greeting of a new subscription, is none.
fn events(id: &str, message: &str) -> Vec<Event> {
    let Ok(told) = serde_json::from_str::<Told>(message) else { return Vec::new() };
    let at = |at: &Option<At>| at.as_ref().and_then(|at| at.timestamp);
    let (happened, at) = match told.notification_type.as_str() {
        "Bounce" => {
            let bounce = told.bounce.as_ref();
            let sub = bounce.and_then(|bounce| bounce.sub_kind.as_deref()).unwrap_or_default();
            let happened = match (bounce.map(|bounce| bounce.kind.as_str()), sub) {
                (_, "ContentRejected" | "AttachmentRejected" | "MessageTooLarge") => Happened::Rejected,
                (Some("Permanent"), _) => Happened::HardBounce,
                _ => Happened::SoftBounce,
            };
            (happened, bounce.and_then(|bounce| bounce.timestamp))
        }
        "Complaint" => {
            let complaint = told.complaint.as_ref();
            let kind = complaint.and_then(|complaint| complaint.kind.as_deref());
            let happened = if kind == Some("not-spam") { Happened::Other } else { Happened::Complained };
            (happened, complaint.and_then(|complaint| complaint.timestamp))
        }
        "Delivery" => (Happened::Delivered, at(&told.delivery)),
        "DeliveryDelay" => (Happened::Deferred, None),
        "Open" => (Happened::Opened, at(&told.open)),
        "Click" => (Happened::Clicked, at(&told.click)),
        "Reject" | "Rendering Failure" => (Happened::Rejected, None),
        "Subscription" => {
            let subscription = told.subscription.as_ref();
            let all = subscription.and_then(|told| told.new_topic_preferences.as_ref()?.unsubscribe_all);
            let happened = if all == Some(true) { Happened::Unsubscribed } else { Happened::Other };
            (happened, subscription.and_then(|told| told.timestamp))
        }
        _ => (Happened::Other, None),
    };
    vec![Event {
        id: id.to_owned(),
        happened,
        at: at.or(told.mail.timestamp),
        provider_message_id: Some(told.mail.message_id),
        message_id: told.mail.common_headers.and_then(|headers| headers.message_id),
        message: None,
    }]
}

#[cfg(test)]
mod tests;
