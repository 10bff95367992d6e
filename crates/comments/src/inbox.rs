//! The inbox: comments of every platform in one list, and what people do with them.
//!
//! A [`Filters`] says which, a [`Sort`] in which order, [`list`] gives a page. [`change`] writes what people decide; a sync
//! never touches that. What a person corrects in a reading stands until the text changes.

mod change;
mod filters;
mod list;
pub mod views;
pub mod vips;

pub use change::{Change, Changed, change};
pub use filters::{AssignedTo, Filters, FiltersError, List, Status};
pub use list::{
    Interaction, Page, Position, Scope, Sort, UnreadablePosition, find, list, of_organization, thread,
};
