//! What went wrong, and what to do about it, decided once.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::HeaderMap;

use crate::request::Endpoint;
use crate::scrub::scrub;

/// What to do about a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It is passing: try again.
    Retry,
    /// It passes at a known instant: try again then, and count nothing until then.
    RetryAt(DateTime<Utc>),
    /// The token is not accepted: get a fresh one, and ask the owner if that does not help.
    Reauthorise,
    /// It stays so: asking again gives the same answer.
    Reject,
}

/// A call that failed; safe to show, store and log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    endpoint: Endpoint,
    class: Class,
    status: Option<u16>,
    code: Option<Box<str>>,
    message: Box<str>,
    /// How long the service asked to be left alone, when that is short enough to wait for.
    pub(crate) pause: Option<Duration>,
}

impl Failure {
    /// How much of a platform's own words is kept.
    const MAX_CHARS: usize = 200;

    /// Describes a failure; code and message are scrubbed and cut.
    pub fn new(
        endpoint: Endpoint,
        class: Class,
        status: Option<u16>,
        code: Option<&str>,
        message: &str,
    ) -> Self {
        let clean = |text: &str| -> Box<str> { scrub(text).chars().take(Self::MAX_CHARS).collect() };
        Self { endpoint, class, status, code: code.map(clean), message: clean(message), pause: None }
    }

    /// Returns what to do about it.
    pub fn class(&self) -> Class {
        self.class
    }

    /// Returns the HTTP status, if there was an answer at all.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// Returns the platform's own name for it, such as `commentsDisabled`.
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// Returns the platform's own words for it.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.endpoint)?;
        if let Some(status) = self.status {
            write!(f, "{status} ")?;
        }
        if let Some(code) = &self.code {
            write!(f, "{code}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// An answer that is not a success, as a platform's [`Classify`] function sees it.
pub struct Refused<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The headers, for platforms that tell limits there.
    pub headers: &'a HeaderMap,
    /// The body, cut at 64 KiB.
    pub body: &'a [u8],
    /// The instant at which it came.
    pub now: DateTime<Utc>,
}

/// What a platform's [`Classify`] function makes of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What to do. Where it is [`Class::Retry`], a `Retry-After` header is honoured by the client.
    pub class: Class,
    /// The platform's own name for it.
    pub code: Option<String>,
    /// The platform's own words for it.
    pub message: Option<String>,
}

/// Reads a platform's error answer; the only place where its errors are understood.
pub type Classify = fn(&Refused<'_>) -> Verdict;

impl Verdict {
    /// Judges by the HTTP status alone, for services that say no more.
    pub fn by_status(refused: &Refused<'_>) -> Self {
        let class = match refused.status {
            401 => Class::Reauthorise,
            408 | 425 | 429 | 500..=599 => Class::Retry,
            _ => Class::Reject,
        };
        Self { class, code: None, message: None }
    }
}
