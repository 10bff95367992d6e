//! What takes messages, and what came of it: the one place that decides whether a message was taken.

mod file;
mod resend;
mod smtp;

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use greenroom_http::Client;

use crate::settings::TransportKind;
use crate::verdict::Enhanced;
use crate::{Composed, MailError, Secrets, Settings, Verdict};

/// How long those that know messages again do so.
const KNOWN_FOR: TimeDelta = TimeDelta::hours(24);

/// What a server said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Its basic code.
    pub code: u16,
    /// Its enhanced code.
    pub enhanced: Option<Enhanced>,
    /// Its words, at most 500 characters.
    pub text: String,
    /// Its own name of the message, by which it tells later what became of it.
    pub provider_id: Option<String>,
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken.
    Accepted(Reply),
    /// It was not, and never will be, for this reason.
    Refused(Reply, Verdict),
    /// Not now: the server said so, or was lost before the message was begun.
    Deferred(Reply),
    /// No server was there, or none that lets us in: says nothing about the message.
    Unreached(String),
    /// The message was begun, and what became of it cannot be known.
    Unknown(String),
}

/// What takes messages; clones share connections.
#[derive(Clone, Debug)]
pub struct Transport(Arc<Kind>);

enum Kind {
    File(file::Folder),
    Smtp(smtp::Smtp),
    Resend(resend::Resend),
    Null,
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File(_) => "File",
            Self::Smtp(_) => "Smtp",
            Self::Resend(_) => "Resend",
            Self::Null => "Null",
        })
    }
}

impl Transport {
    /// Makes the transport of the settings; nothing is connected yet.
    pub fn new(settings: &Settings, secrets: &Secrets, http: Client) -> Result<Self, MailError> {
        Ok(Self(Arc::new(match settings.transport {
            TransportKind::File => Kind::File(file::Folder::new(&settings.folder)),
            TransportKind::Smtp => Kind::Smtp(smtp::Smtp::new(settings, secrets)?),
            TransportKind::Resend => Kind::Resend(resend::Resend::new(settings, secrets, http)?),
            TransportKind::Null => Kind::Null,
        })))
    }

    /// Tells whether a message that was first handed over then and is again now arrives once.
    pub fn knows_again(&self, first: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        match &*self.0 {
            Kind::File(_) | Kind::Null => true,
            Kind::Resend(_) => now < first + KNOWN_FOR,
            Kind::Smtp(smtp) => smtp.is_idempotent() && now < first + KNOWN_FOR,
        }
    }

    /// Greets the server and logs in, sends nothing, and says how it went.
    pub async fn greet(&self) -> Result<String, String> {
        match &*self.0 {
            Kind::File(_) | Kind::Null => Ok("there is no server".to_owned()),
            Kind::Smtp(smtp) => smtp.greet().await,
            Kind::Resend(resend) => resend.greet().await,
        }
    }

    /// Hands a message over. Ends by itself, whatever the other side does.
    pub async fn send(&self, message: &Composed) -> Outcome {
        match &*self.0 {
            Kind::File(folder) => folder.send(message).await,
            Kind::Smtp(smtp) => smtp.send(message).await,
            Kind::Resend(resend) => resend.send(message).await,
            Kind::Null => Outcome::Accepted(Reply::default()),
        }
    }
}

/// Takes addresses out of what goes into a log or an error of a job.
fn without_addresses(text: &str) -> String {
    let words = text.split_whitespace().map(|word| if word.contains('@') { "[address]" } else { word });
    short(&words.collect::<Vec<_>>().join(" "))
}

/// Keeps what a server said short and on one line.
fn short(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_logged_names_nobody() {
        let said = "550 5.7.1 <hello@house.test>:\n sender refused";
        assert_eq!(without_addresses(said), "550 5.7.1 [address] sender refused");
    }
}
