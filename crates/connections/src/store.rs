//! The tables of connections.

pub(crate) mod columns;
pub mod instagram;
pub(crate) mod orphans;
pub(crate) mod platform;
pub(crate) mod revocations;
pub(crate) mod states;
pub(crate) mod tokens;
pub mod youtube;
