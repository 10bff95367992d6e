//! The nouns of the house: typed ids, platforms, time and money as values.
//!
//! Everything here is a value that several crates must name the same way. There is no I/O: a
//! `Clock` only reads the machine's time, and the `sqlx` derives only say how a value is written.

mod clock;
mod ids;
mod money;
mod platform;

pub use clock::Clock;
pub use ids::{
    CommentId, ConnectionId, JobId, LocationId, OrganizationId, ReservationId, SyncRunId, UsageEventId,
    UserId, VideoId,
};
pub use money::{Dollars, MicroCredits, NotAnAmount};
pub use platform::{Platform, UnknownPlatform};
