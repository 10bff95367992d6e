//! The tables of connections.

pub(crate) mod orphans;
pub(crate) mod states;
pub mod youtube;
