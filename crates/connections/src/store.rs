//! The tables of connections.

pub mod youtube;
