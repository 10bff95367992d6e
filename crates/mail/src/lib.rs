//! Mail: what people are to be told, as rows that are written in the transaction of what happened, and the jobs that
//! send them.
//!
//! A message that is in the outbox is an intention that cannot be lost with a process, nor exist without its reason:
//! whoever inserts it commits both or neither. Its key says which occurrence it is about, so that the same is never
//! told twice. A message that is not to be sent is a row as well, with the reason.
//!
//! ```text
//!   queued ──▶ sending ──▶ sent ──▶ delivered, bounced, complained
//!     │ ▲         ├─ refused ──▶ failed
//!     │ └─────────┼─ deferred, or no server reached
//!     │           └─ nobody knows ──▶ unknown: marketing stays there, service is sent once more
//!     └──▶ skipped, suppressed, cancelled, expired
//! ```
//!
//! `sending` is committed before a server is asked, so that a run that finds it knows that an earlier one was cut off
//! in between, and that nobody can know what came of it.
//!
//! Not here: who gets what and when. What is known of a person beyond the address is asked of [`Rules`].

mod backoff;
mod bounce;
mod compose;
mod dkim;
pub mod doctor;
mod error;
pub mod events;
mod jobs;
mod outbox;
mod rate;
mod rules;
mod secrets;
mod settings;
mod steps;
mod suppression;
mod template;
mod transport;
mod verdict;

pub use bounce::{Report, ReturnPaths};
pub use compose::Composed;
pub use error::MailError;
pub use jobs::{Mail, Preview, jobs, take_events};
pub use outbox::{
    Class, Message, NewMessage, Notice, Row, State, Then, Whom, cancel, insert, notify, resend, rows, show,
    tell_admins,
};
pub use rules::{Check, NoRules, Rules, Settled};
pub use secrets::Secrets;
pub use settings::{Security, Settings, TransportKind};
pub use steps::{StepRow, pause, resume, steps};
pub use suppression::{Recipient, suppressed};
pub use template::{Source, Templates};
pub use transport::{Outcome, Reply, Transport};
pub use verdict::{Enhanced, Verdict, verdict};
