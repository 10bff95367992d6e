//! The tables of runs, one a file.

pub mod cursors;
pub mod quota;
pub mod runs;
