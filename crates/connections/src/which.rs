//! Which connection: the table it is in, and its id there.

use std::fmt;

use greenroom_model::ConnectionId;
use greenroom_vault::Place;
use serde::{Deserialize, Serialize};

/// Which table a connection is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A row of `youtube_connections`.
    #[default]
    Youtube,
    /// A row of `instagram_connections`.
    Instagram,
    /// A row of `platform_connections` whose platform has no table of its own.
    Platform,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Youtube, Self::Instagram, Self::Platform];

    /// Returns its name, as in payloads.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Youtube => "youtube",
            Self::Instagram => "instagram",
            Self::Platform => "platform",
        }
    }

    /// Returns its table.
    pub const fn table(self) -> &'static str {
        match self {
            Self::Youtube => "youtube_connections",
            Self::Instagram => "instagram_connections",
            Self::Platform => "platform_connections",
        }
    }
}

/// A connection of any kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Which {
    /// Its table.
    pub kind: Kind,
    /// Its id there.
    pub id: ConnectionId,
}

impl Which {
    /// Names a row of `youtube_connections`.
    pub const fn youtube(id: ConnectionId) -> Self {
        Self { kind: Kind::Youtube, id }
    }

    /// Returns where one of its tokens belongs.
    pub(crate) fn place(self, column: Column) -> Place {
        Place::new(self.kind.table(), self.id, column.as_str())
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.id)
    }
}

/// A column that holds a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Column {
    Access,
    Refresh,
}

impl Column {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access_token",
            Self::Refresh => "refresh_token",
        }
    }
}
