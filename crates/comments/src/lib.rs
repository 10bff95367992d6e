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
//! [`Priority`] says how urgent a comment is, term by term, by its [`Labels`] and [`Facts`]. The [`jobs`] read and rank what
//! asks for it: a comment without a sentiment is to be read, one without a breakdown of its priority to be ranked. A sync
//! takes the breakdown away when likes, replies or the text change.
//!
//! People see all of it in the [`inbox`].
//!
//! Not here yet: workflows.

mod enrichment;
mod error;
pub mod inbox;
mod incoming;
mod jobs;
mod labels;
mod model;
mod priority;
mod settings;
mod store;

#[cfg(test)]
mod tests;

pub use enrichment::Enrichment;
pub use error::CommentsError;
pub use incoming::{IncomingComment, Upserted};
pub use jobs::jobs;
pub use labels::{Confidences, Labels, Reason};
pub use priority::{FORMULA_VERSION, Facts, IMPORTANT, LOW, Limit, Priority, URGENT};
pub use settings::Settings;
pub use store::upsert_many;
