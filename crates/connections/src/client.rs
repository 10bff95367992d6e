//! The outside: a provider a file.

pub(crate) mod google;
pub(crate) mod instagram;
pub(crate) mod twitter;
