//! The tables of YouTube: its videos, and the columns that connections lend it.

pub(crate) mod channels;
pub(crate) mod videos;
