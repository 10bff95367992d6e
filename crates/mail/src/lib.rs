//! Mail: what people are to be told, as rows that are written in the transaction of what happened.
//!
//! A message that is in the outbox is an intention that cannot be lost with a process, nor exist without its reason:
//! whoever inserts it commits both or neither. Its key says which occurrence it is about, so that the same is never
//! told twice.
//!
//! Not here: sending. The outbox keeps what is to be sent until something sends it, or it is too old to matter.

mod outbox;

pub use outbox::{Notice, notify};
