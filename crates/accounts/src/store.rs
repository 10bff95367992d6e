//! The tables of people.

pub mod audit;
pub mod consents;
pub mod memberships;
pub mod organizations;
pub(crate) mod service_tokens;
pub mod users;
