//! Credits: an append-only ledger of usage, one of grants, and a cached balance between them.
//!
//! Work with a price known beforehand is [`charge()`]d, or [`reserve`]d before its first outside call and
//! [`settle`]d in the transaction that stores its results, so that finished work never fails for want
//! of credits. Work that costs its user nothing still leaves an event of 0 credits ([`record_free`]).
//! Every event carries a [`Key`] that names the work and not the attempt: what is done twice is charged
//! once.
//!
//! The first invariants of a balance are CHECKs in the database, so no other program can break them
//! either. Locks are taken in one order everywhere: reservation, event, balance; the balance last.
//!
//! Every month what is left of an allowance expires and the next one comes ([`reset`]); every night all accounts are
//! held against their ledgers ([`audit`]).
//!
//! What a language model costs by its tokens is in files ([`ModelPrices`]), and comes on top of an action's own price.

mod action;
mod audit;
mod charge;
mod cost;
mod error;
mod event;
mod grant;
mod jobs;
mod key;
mod model_price;
mod notices;
mod rate;
mod refund;
mod reservation;
mod reset;
mod settings;
mod store;

#[cfg(test)]
mod tests;

pub use action::ActionType;
pub use audit::{AuditWalk, Discrepancy, Invariant};
pub use charge::{Charged, charge};
pub use cost::{Cost, Price};
pub use error::{CreditsError, InsufficientCredits};
pub use event::{Details, Free, Resource, record_free};
pub use grant::{Given, Grant, GrantKind, grant};
pub use jobs::{Credits, jobs};
pub use key::Key;
pub use model_price::{ModelPrice, ModelPrices, PricesError, Tokens};
pub use refund::{Refunded, refund};
pub use reservation::{Hold, Reservation, Reserved, Settled, expire, release, reserve, settle};
pub use reset::{Reset, reset_batch, restart};
pub use settings::{Leftover, ResetMode, Settings};
pub use store::{balances, prices, usage};
