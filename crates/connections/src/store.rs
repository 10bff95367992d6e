//! The tables of connections.

pub(crate) mod orphans;
pub mod youtube;
