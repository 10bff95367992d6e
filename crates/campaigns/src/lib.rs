//! Campaigns: who gets which mail when, and who does not, with the reason.
//!
//! Two series of steps ([`TRIAL`], [`WAITLIST`]) and the notices of other parts. The planner is a pure function of an
//! instant, the settings and what is known of a person ([`plan`]); a job asks it for everybody who may be due and
//! writes what it decides, in pages. What it decides not to send is written as well.
//!
//! ```text
//!   users ──every 5 minutes──▶ plan ──▶ outbox ──▶ mail.send: asks again ([`CampaignRules`]) ──▶ sent ──▶ users
//!     └── a trial that is over ends here, whatever becomes of the mail
//! ```
//!
//! What changes a person ([`standing`]) withdraws what waits for them in the same transaction, by triggers.
//!
//! Not here: sending (`greenroom-mail`).

mod catalogue;
mod error;
mod jobs;
mod launch;
pub mod plan;
mod rules;
mod settings;
pub mod standing;
mod store;
mod unsubscribe;
mod window;

#[cfg(test)]
mod tests;

pub use catalogue::{EXPIRED, NOTICES, Step, TRIAL, WAITLIST, find as find_step, sample, sample_of, sources};
pub use error::CampaignsError;
pub use jobs::{Campaigns, Counted, jobs, preview};
pub use launch::reset_step;
pub use rules::CampaignRules;
pub use settings::{Settings, WaitlistSettings};
pub use unsubscribe::{BadToken, UnsubscribeKeys};
