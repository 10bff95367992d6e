//! Comments of every platform, in one store with one set of rules.
//!
//! A platform's crate hands over what it has read as [`IncomingComment`]s; [`upsert_many`] stores them in
//! the table of that platform:
//!
//! - a row that says what is stored already is neither rewritten nor locked;
//! - what people and workflows did with a comment is never touched, nor what was read in it, except that
//!   an edited text is to be read again;
//! - a comment becomes `answered` when a reply of the account's owner is first seen, whichever of both
//!   arrives first;
//! - what belongs to another connection stays as it is.
//!
//! [`Priority`] says how urgent a comment is, term by term.
//!
//! Not here yet: the jobs of enrichment, the inbox, workflows.

mod error;
mod incoming;
mod priority;
mod store;

#[cfg(test)]
mod tests;

pub use error::CommentsError;
pub use incoming::{IncomingComment, Upserted};
pub use priority::{FORMULA_VERSION, Facts, Limit, Priority};
pub use store::upsert_many;
