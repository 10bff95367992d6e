//! The API: a thin door for programs.
//!
//! A request is authenticated by its service token, validated, and answered from the rows it wrote: work is
//! enqueued in the same transaction as its reason and answered with 202 and the job. The API never waits for
//! a worker, and calls nobody but a provider whose consent comes back.
//!
//! ```text
//!   POST /v1/youtube/connections/{id}/sync    connection.sync   202 and the job, the open one if there is one
//!   POST /v1/oauth/{platform}/authorize       connection.connect     where a person gives a consent
//!   POST /v1/oauth/{platform}/complete        connection.connect     for front ends to which consents come back
//!   GET  /oauth/{platform}/start, /callback   (a browser; no token)
//!   GET  /v1/connections                      connection.read        in pages
//!   GET  /v1/connections/{id}                 connection.read
//!   DELETE /v1/connections/{id}               connection.disconnect
//!   GET  /v1/users/{id}/credits, …/events     credits.read           what an account has, and what it spent it on
//!   GET  /v1/credits/prices                   credits.read
//!   POST /v1/users/{id}/credits/grants        credits.grant          operators; named by Idempotency-Key
//!   POST /v1/credits/events/{id}/refund       credits.grant          operators; once an event
//!   GET  /v1/interactions                     interaction.read       the inbox, in pages; filters, view or view_id
//!   GET  /v1/interactions/{id}                interaction.read       a comment with its thread
//!   PATCH /v1/interactions/{id}, POST …/bulk  interaction.write      how it stands, tags, who, notes, corrections
//!   GET, POST /v1/interactions/views          interaction.read, .write    saved selections
//!   PUT, DELETE /v1/interactions/views/{id}   interaction.write
//!   GET    /v1/interactions/vips              interaction.read             whose comments come first
//!   PUT, DELETE /v1/interactions/vips/{platform}/{author}   interaction.write
//!   GET, PUT, DELETE /v1/users/{id}/consents/training   consent.write    whether corrections are kept
//!   GET  /v1/users/{id}/standing              standing.read     waiting list, trial, subscription, news
//!   PUT  /v1/users/{id}/waitlist, /early-access, /marketing, /subscription    standing.write
//!   DELETE /v1/users/{id}/marketing, /subscription                          standing.write
//!   POST, PATCH, DELETE /v1/users/{id}/trial  standing.write    begins it ({days}), moves its end ({ends_at}), ends it
//!   POST /webhooks/email/{provider}           (signed by the provider)
//!   GET, POST /u/{token}, POST …/resubscribe  (a browser or a mail program; the token says who)
//!   GET  /v1/jobs                             job.read          newest first, in pages
//!   GET  /v1/jobs/{id}                        job.read
//!   POST /v1/jobs/{id}/cancel                 job.cancel        200 when it is over, 202 when it was asked to end
//!   POST /v1/jobs/{id}/retry                  connection.sync   202
//!   GET  /healthz  /livez  /readyz  /metrics  (no token)
//! ```
//!
//! Jobs that are no user's are the house's own: only operators see them, and cancel or retry them with
//! `job.operate`. What is not the caller's tenant's answers 404. Every refusal is a problem document
//! (RFC 9457) with a `code` for programs and a `detail` that says what to do.

mod caller;
mod error;
mod input;
mod problem;
mod process;
mod routes;
mod server;
mod settings;
mod tenant;
mod watch;

#[cfg(test)]
mod tests;

use greenroom_boot::SecretString;
use greenroom_boot::probes::Probes;
use greenroom_campaigns::UnsubscribeKeys;
use greenroom_connections::Consents;
use greenroom_credits::ModelPrices;
use greenroom_mail::events::{Provider, Sns};
use greenroom_queue::Queue;

pub use error::StartError;
pub use process::{exit, run, sns, webhooks};
pub use routes::router;
pub use server::serve;
pub use settings::Settings;

/// What the API works with.
#[derive(Clone, Debug)]
pub struct Api {
    /// Where jobs are enqueued, and the pool of everything else.
    pub queue: Queue,
    /// Asks for consents.
    pub consents: Consents,
    /// What models cost.
    pub model_prices: ModelPrices,
    /// What signs the links by which people leave lists.
    pub unsubscribe: Option<UnsubscribeKeys>,
    /// Providers of mail whose events are taken, and what verifies them.
    pub webhooks: Vec<(Provider, SecretString)>,
    /// What verifies the events of SES.
    pub sns: Option<Sns>,
    /// What it answers to those who watch it.
    pub probes: Probes,
    /// Its limits.
    pub settings: Settings,
}
