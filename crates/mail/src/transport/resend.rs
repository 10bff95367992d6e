//! Resend's API. It knows a message again by its id for a day, so that asking twice sends once.

use std::time::Duration;

use greenroom_http::{Class, Client, Endpoint, Failure, Refused, Request, Url, Verdict as HttpVerdict};
use greenroom_vault::Secret;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::{Outcome, Reply, short, without_addresses};
use crate::{Composed, MailError, Secrets, Settings, Verdict};

const SEND: Endpoint = Endpoint { platform: "resend", name: "emails.send" };
const DOMAINS: Endpoint = Endpoint { platform: "resend", name: "domains.list" };

pub(super) struct Resend {
    http: Client,
    url: Url,
    key: Secret,
    limit: Duration,
}

#[derive(Deserialize)]
struct Taken {
    id: String,
}

#[derive(Deserialize)]
struct Error {
    name: String,
    message: String,
}

impl Resend {
    pub(super) fn new(settings: &Settings, secrets: &Secrets, http: Client) -> Result<Self, MailError> {
        let key = secrets.resend_key.clone().ok_or_else(|| MailError::Setting {
            setting: "transport",
            rule: "resend needs RESEND_API_KEY".to_owned(),
        })?;
        let url = settings
            .resend_url
            .join("emails")
            .map_err(|error| MailError::Setting { setting: "resend_url", rule: error.to_string() })?;
        let limit = Duration::from_secs(settings.timeout_secs.get().into());
        Ok(Self { http, url, key: key.into(), limit })
    }

    /// Asks for the domains of the account; a key that may only send is told from a wrong one.
    pub(super) async fn greet(&self) -> Result<String, String> {
        let url = self.url.join("domains").map_err(|error| error.to_string())?;
        let request = Request::get(DOMAINS, url).bearer(&self.key);
        match timeout(self.limit, self.http.send(request, classify)).await {
            Err(_) => Err("the provider did not answer in time".to_owned()),
            Ok(Err(failure)) if failure.code() == Some("restricted_api_key") => {
                Ok("the provider knows the key, which may only send".to_owned())
            }
            Ok(Err(failure)) => Err(format!("the provider says: {}", without_addresses(failure.message()))),
            Ok(Ok(answer)) => {
                let domains = answer.into_body().and_then(|body| body.json::<Domains>().ok());
                let domains = domains.map(|domains| domains.data).unwrap_or_default();
                let domains: Vec<_> =
                    domains.iter().map(|domain| format!("{} ({})", domain.name, domain.status)).collect();
                Ok(format!("the provider knows the key; its domains: {}", domains.join(", ")))
            }
        }
    }

    pub(super) async fn send(&self, message: &Composed) -> Outcome {
        let document = document(message);
        let id = message.id.to_string();
        let request = Request::post(SEND, self.url.clone())
            .bearer(&self.key)
            .header("Idempotency-Key", &id)
            .json(&document);
        match timeout(self.limit, self.http.send(request, classify)).await {
            Err(_) => Outcome::Unknown("the provider did not answer in time".to_owned()),
            Ok(Err(failure)) => judged(&failure),
            Ok(Ok(answer)) => match answer.into_body().and_then(|body| body.json::<Taken>().ok()) {
                Some(taken) => {
                    let reply = Reply { code: 200, ..Reply::default() };
                    Outcome::Accepted(Reply { provider_id: Some(short(&taken.id)), ..reply })
                }
                None => Outcome::Unknown("the provider's answer was cut off".to_owned()),
            },
        }
    }
}

/// What a listing of domains says of each.
#[derive(Deserialize)]
struct Domains {
    data: Vec<Domain>,
}

#[derive(Deserialize)]
struct Domain {
    name: String,
    status: String,
}

/// Writes a message in the provider's words. Its Message-ID is the provider's to give.
fn document(message: &Composed) -> Value {
    let headers: Map<_, _> =
        message.headers.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    let mut document = json!({
        "from": message.sender.to_string(),
        "to": [message.recipient.to_string()],
        "subject": message.subject,
        "text": message.txt,
        "html": message.html,
        "headers": headers,
    });
    if let Some(reply_to) = &message.reply_to {
        document["reply_to"] = reply_to.to_string().into();
    }
    document
}

fn classify(refused: &Refused<'_>) -> HttpVerdict {
    let error = serde_json::from_slice::<Error>(refused.body).ok();
    let (code, message) = error.map(|error| (error.name, error.message)).unzip();
    // Nothing is tried again inside a call: the job does that, and counts it.
    HttpVerdict { class: Class::Reject, code, message }
}

/// Says what a failure means for the message.
fn judged(failure: &Failure) -> Outcome {
    let said = without_addresses(failure.message());
    let reply =
        |text: &str| Reply { code: failure.status().unwrap_or(0), text: short(text), ..Reply::default() };
    let is_about_us = matches!(
        failure.code(),
        Some("daily_quota_exceeded" | "monthly_quota_exceeded" | "invalid_from_address" | "missing_api_key")
    );
    match failure.status() {
        None if matches!(failure.code(), Some("connect" | "request")) => Outcome::Unreached(said),
        // Not about the message: the key, the domain, what the account may send.
        Some(401 | 403) => Outcome::Unreached(said),
        Some(_) if is_about_us => Outcome::Unreached(said),
        Some(429) => Outcome::Deferred(reply(&said)),
        // The same is being sent, or was sent before the words were changed.
        None | Some(409 | 500..=599) => Outcome::Unknown(said),
        Some(_) => Outcome::Refused(reply(&said), Verdict::Fault),
    }
}
