//! Local stand-ins of the outside worlds that the vendors' own clients accept.
//!
//! A [`Sandbox`] serves YouTube's Data API, and the consent pages and token endpoints of Google, Instagram
//! and X, Resend's API, and language models of OpenAI's and Anthropic's protocols, under the vendors' own paths, on one address: a
//! client only replaces the scheme and host. Beside it a mail server takes what is sent to it. Behind it lies a
//! deterministic world of any size, drawn from a seed; what a test wants to go wrong is scripted by [`Rule`]s, what it
//! wants to happen by [`Change`]s, from within the process or over `/_sandbox`:
//!
//! | path | what it does |
//! |---|---|
//! | `POST /_sandbox/faults` | takes one [`Rule`] or a list of them |
//! | `DELETE /_sandbox/faults` | forgets all rules |
//! | `POST /_sandbox/changes` | lets a [`Change`] happen, answers the ids |
//! | `GET /_sandbox/stats` | [`Stats`]: calls and units so far |
//! | `GET /_sandbox/mails` | [`Received`]: what the mail server has taken |
//! | `GET /_sandbox/totals` | [`Totals`]: what a complete walk must find |
//!
//! It knows nothing of Greenroom, and guards nothing: its credentials are made from the seed and must
//! be refused in production.

mod consent;
mod endpoint;
mod faults;
mod fields;
mod google;
mod http;
mod instagram;
mod json;
mod llm;
mod sandbox;
mod settings;
mod smtp;
mod stats;
#[cfg(test)]
mod tests;
mod twitter;
mod world;

pub use endpoint::Endpoint;
pub use faults::{Fault, Misbehaviour, Rule};
pub use google::{
    Bucket,
    oauth::{Account, Google},
};
pub use http::resend::Resend;
pub use instagram::oauth::Instagram;
pub use llm::Llm;
pub use sandbox::{Ready, Running, Sandbox};
pub use settings::{Quota, Settings};
pub use smtp::{Mishap, Point, Received};
pub use stats::Stats;
pub use twitter::oauth::Twitter;
pub use world::{Change, Changed, Totals, UnknownId};
