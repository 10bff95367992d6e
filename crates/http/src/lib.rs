//! The one way out: every call to an outside service goes through [`Client`].
//!
//! It owns what all of them need and none should repeat: timeouts, a connection pool, gzip, a size cap,
//! trying again what is passing, and redaction. What an answer *means* is the platform's to say, once, by
//! a [`Classify`] function; from there on a call is an [`Answer`] or a [`Failure`] whose [`Class`] a job
//! turns into its outcome without looking again:
//!
//! | here | the job |
//! |---|---|
//! | `Ok(Answer)` | goes on, and is done |
//! | [`Class::Retry`] | fails this attempt and is tried again |
//! | [`Class::RetryAt`] | snoozes until then, and no attempt is consumed |
//! | [`Class::Reauthorise`] | asks for a fresh token once, then cancels |
//! | [`Class::Reject`] | cancels, or notes the unit as skipped |
//!
//! Nothing here prints a URL, a header or a body: a failure carries a status, the platform's own code and
//! a message that went through [`scrub()`]. Quotas and breakers are the queue's, tokens the connections'.
//!
//! TLS is rustls over aws-lc-rs. Both `reqwest` and `sqlx` name their provider themselves, so none has to
//! be installed for the process.

mod answer;
mod client;
mod failure;
mod proxy;
mod request;
mod retry_after;
mod scrub;
mod settings;

pub use answer::{Answer, Body};
pub use client::{Client, ClientError};
pub use failure::{Class, Classify, Failure, Refused, Verdict};
pub use request::{Endpoint, Request};
pub use reqwest::{Method, header::HeaderMap};
pub use scrub::scrub;
pub use settings::Settings;
pub use url::Url;
