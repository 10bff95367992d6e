//! The token endpoints of the platforms.

pub(crate) mod google;
