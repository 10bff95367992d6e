//! What providers tell afterwards: verified on the raw body before anything of it is read, stored once, worked off by a
//! job.
//!
//! Each provider signs in its own way and has its own words. All of them become an [`Event`]; what is stored is that,
//! and neither the body nor an address.

mod mailgun;
mod postmark;
mod resend;
mod sendgrid;
mod ses;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::MailError;

pub use ses::{Refusal, Sns};

/// The name under which what comes back as mail is stored.
pub const DSN: &str = "dsn";
/// The name of what SES tells, which is verified by [`Sns`].
pub const SES: &str = "ses";

/// How far a signature's time may be off.
const SKEW: TimeDelta = TimeDelta::minutes(5);

/// What happened to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happened {
    /// It arrived.
    Delivered,
    /// The address does not exist.
    HardBounce,
    /// It came back for a reason that may pass.
    SoftBounce,
    /// It was refused for what it is, or for who we are: says nothing of the address.
    Rejected,
    /// It is tried again by the provider.
    Deferred,
    /// Its recipient said that it is spam.
    Complained,
    /// Its recipient wants no more.
    Unsubscribed,
    /// It was opened, as far as such a thing can be known.
    Opened,
    /// A link in it was followed.
    Clicked,
    /// Something that changes nothing.
    Other,
}

impl Happened {
    /// Returns the word that is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::HardBounce => "hard_bounce",
            Self::SoftBounce => "soft_bounce",
            Self::Rejected => "rejected",
            Self::Deferred => "deferred",
            Self::Complained => "complained",
            Self::Unsubscribed => "unsubscribed",
            Self::Opened => "opened",
            Self::Clicked => "clicked",
            Self::Other => "other",
        }
    }
}

/// Something that a provider tells of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The provider's name of the event: the same is told more than once.
    pub id: String,
    /// What happened.
    pub happened: Happened,
    /// When, as far as the provider says.
    pub at: Option<DateTime<Utc>>,
    /// The provider's name of the message.
    pub provider_message_id: Option<String>,
    /// Our own, with its angle brackets.
    pub message_id: Option<String>,
    /// The message itself, where a return path says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Uuid>,
}

/// A provider whose events a secret verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Resend, by Svix.
    Resend,
    /// Twilio `SendGrid`.
    Sendgrid,
    /// Mailgun.
    Mailgun,
    /// Postmark.
    Postmark,
}

impl Provider {
    /// Every provider.
    pub const ALL: [Self; 4] = [Self::Resend, Self::Sendgrid, Self::Mailgun, Self::Postmark];

    /// Returns its name in the path.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resend => "resend",
            Self::Sendgrid => "sendgrid",
            Self::Mailgun => "mailgun",
            Self::Postmark => "postmark",
        }
    }

    /// Returns the name of the environment variable that has what verifies its events.
    pub const fn secret_name(self) -> &'static str {
        match self {
            Self::Resend => "RESEND_WEBHOOK_SECRET",
            Self::Sendgrid => "SENDGRID_WEBHOOK_KEY",
            Self::Mailgun => "MAILGUN_WEBHOOK_KEY",
            Self::Postmark => "POSTMARK_WEBHOOK_LOGIN",
        }
    }
}

/// A body that its provider has not signed, or not just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature is not valid")]
pub struct Unverified;

/// What came: its body as it came, and its headers by their names in small letters.
#[derive(Clone, Copy)]
pub struct Delivery<'a> {
    /// The body.
    pub body: &'a [u8],
    /// Finds a header.
    pub header: &'a dyn Fn(&str) -> Option<&'a str>,
    /// When it came.
    pub now: DateTime<Utc>,
}

impl Delivery<'_> {
    fn named(&self, name: &str) -> Result<&str, Unverified> {
        (self.header)(name).ok_or(Unverified)
    }

    /// Takes an instant in seconds that may not be far off.
    fn recent(&self, secs: &str, skew: TimeDelta) -> Result<(), Unverified> {
        let at = secs.parse().ok().and_then(|secs| DateTime::from_timestamp(secs, 0)).ok_or(Unverified)?;
        if (self.now - at).abs() <= skew { Ok(()) } else { Err(Unverified) }
    }
}

/// Events whose provider has signed them, and what must not come twice beside them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What it tells.
    pub events: Vec<Event>,
    /// A token that a signature was made for, where the signature does not cover the body.
    pub(crate) token: Option<String>,
}

/// Verifies what came, and reads it.
pub fn verify(
    provider: Provider,
    delivery: Delivery<'_>,
    secret: &SecretString,
) -> Result<Verified, Unverified> {
    match provider {
        Provider::Resend => resend::verify(delivery, secret),
        Provider::Sendgrid => sendgrid::verify(delivery, secret),
        Provider::Mailgun => mailgun::verify(delivery, secret),
        Provider::Postmark => postmark::verify(delivery, secret),
    }
}

/// Stores what a provider tells, those events only that are new; returns how many those are. A token that came with other events before is
/// refused.
pub async fn store(
    conn: &mut PgConnection,
    provider: &str,
    verified: &Verified,
) -> Result<Result<u64, Unverified>, MailError> {
    if let Some(token) = &verified.token {
        let first = verified.events.first().map_or("", |event| &event.id);
        let known = sqlx::query_scalar!(
            r#"insert into greenroom.email_events as e (provider, provider_event_id, event, payload, processed_at)
               values ($1 || ' token', $2, 'token', to_jsonb($3::text), greenroom.now())
               on conflict (provider, provider_event_id) do update set payload = e.payload
               returning payload = to_jsonb($3::text) as "same!""#,
            provider,
            token,
            first,
        );
        if !known.fetch_one(&mut *conn).await? {
            return Ok(Err(Unverified));
        }
    }
    let events = &verified.events;
    let payloads: Vec<_> = events.iter().map(|event| serde_json::json!(event)).collect();
    let stored = sqlx::query!(
        r#"insert into greenroom.email_events (provider, provider_event_id, event, occurred_at, payload)
           select $1, * from unnest($2::text[], $3::text[], $4::timestamptz[], $5::jsonb[])
           on conflict do nothing"#,
        provider,
        &events.iter().map(|event| event.id.clone()).collect::<Vec<_>>(),
        &events.iter().map(|event| event.happened.as_str().to_owned()).collect::<Vec<_>>(),
        &events.iter().map(|event| event.at).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &payloads,
    );
    Ok(Ok(stored.execute(conn).await?.rows_affected()))
}

impl Verified {
    /// Makes events of which it is known otherwise that they are true.
    pub fn of(events: Vec<Event>) -> Self {
        Self { events, token: None }
    }
}
