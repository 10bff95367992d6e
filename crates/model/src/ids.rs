//! Typed ids: a user's id cannot be handed where a connection's is wanted.

use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, sqlx::Type)]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// Makes a new id that sorts by the time it was made (UUIDv7).
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    )*};
}

ids! {
    /// A comment's row, of whatever platform.
    CommentId,
    /// A connected account: a row of `youtube_connections` or `instagram_connections`.
    ConnectionId,
    /// A row of `background_jobs`.
    JobId,
    /// A row of `locations`.
    LocationId,
    /// A row of `organizations`.
    OrganizationId,
    /// A row of `greenroom.credit_reservations`.
    ReservationId,
    /// A row of `sync_logs`.
    SyncRunId,
    /// A row of `credit_usage_events`.
    UsageEventId,
    /// A row of `users`.
    UserId,
    /// A row of `youtube_videos`.
    VideoId,
}
