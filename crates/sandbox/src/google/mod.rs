//! Google's side: the OAuth token endpoint, the project's quota, and YouTube's Data API.

pub(crate) mod oauth;
mod quota;
pub(crate) mod refusal;
pub(crate) mod youtube;

pub(crate) use oauth::{Caller, Grants};
pub use quota::Bucket;
pub(crate) use quota::Meter;
