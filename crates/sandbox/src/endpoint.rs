//! The endpoints that are stood in for.

use serde::{Deserialize, Serialize};

/// An endpoint of the outside world, named as its vendor names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Endpoint {
    /// `POST /token`
    #[serde(rename = "token")]
    Token,
    /// `POST /revoke`
    #[serde(rename = "revoke")]
    Revoke,
    /// `GET /youtube/v3/channels`
    #[serde(rename = "channels")]
    Channels,
    /// `GET /youtube/v3/playlistItems`
    #[serde(rename = "playlistItems")]
    PlaylistItems,
    /// `GET /youtube/v3/videos`
    #[serde(rename = "videos")]
    Videos,
    /// `GET /youtube/v3/videos:batchGetStats`
    #[serde(rename = "videos:batchGetStats")]
    BatchGetStats,
    /// `GET /youtube/v3/commentThreads`
    #[serde(rename = "commentThreads")]
    CommentThreads,
    /// `GET /youtube/v3/comments`
    #[serde(rename = "comments")]
    Comments,
}
