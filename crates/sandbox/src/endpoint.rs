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
    /// `GET` and `POST /o/oauth2/v2/auth`, `/oauth/authorize`, `/i/oauth2/authorize`
    #[serde(rename = "consent")]
    Consent,
    /// `POST /oauth/access_token`
    #[serde(rename = "instagram.token")]
    InstagramToken,
    /// `GET /access_token`
    #[serde(rename = "instagram.exchange")]
    InstagramExchange,
    /// `GET /refresh_access_token`
    #[serde(rename = "instagram.refresh")]
    InstagramRefresh,
    /// `GET /v26.0/me`
    #[serde(rename = "instagram.me")]
    InstagramMe,
    /// `POST /2/oauth2/token`
    #[serde(rename = "twitter.token")]
    TwitterToken,
    /// `POST /2/oauth2/revoke`
    #[serde(rename = "twitter.revoke")]
    TwitterRevoke,
    /// `GET /2/users/me`
    #[serde(rename = "twitter.me")]
    TwitterMe,
    /// `POST /v1/chat/completions`, as OpenAI's
    #[serde(rename = "chat.completions")]
    ChatCompletions,
    /// `POST /v1/messages`, as Anthropic's
    #[serde(rename = "messages")]
    Messages,
    /// A message to the mail server, from its `MAIL FROM` on
    #[serde(rename = "smtp")]
    Smtp,
    /// `POST /emails`, as Resend's
    #[serde(rename = "resend")]
    Resend,
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
