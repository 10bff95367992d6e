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
//! Not here: the monthly reset, the audit and prices of models by token.

mod action;
mod charge;
mod cost;
mod error;
mod event;
mod jobs;
mod key;
mod reservation;
mod store;

#[cfg(test)]
mod tests;

pub use action::ActionType;
pub use charge::{Charged, charge};
pub use cost::{Cost, Price};
pub use error::{CreditsError, InsufficientCredits};
pub use event::{Details, Free, Resource, record_free};
pub use jobs::jobs;
pub use key::Key;
pub use reservation::{Hold, Reservation, Reserved, Settled, expire, release, reserve, settle};
pub use store::{balances, prices};
