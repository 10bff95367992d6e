//! People, their organisations, and the service tokens by which programs act for them.
//!
//! Whoever calls is a [`Principal`]: an operator, or one organisation's program. What a principal may
//! see is asked here ([`access::may_see_user`]), so that the rule of tenancy stands in one place.
//!
//! It knows no HTTP: a door takes the bearer, asks [`access::authenticate`], and decides what to answer.

pub mod access;
mod error;
mod store;
mod token;

pub use access::{NewToken, Principal, Refused, ServiceToken};
pub use error::AccountsError;
pub use store::{audit, consents, memberships, organizations, users};
