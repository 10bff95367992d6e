//! `comments.list`: the replies of one thread.

use chrono::{DateTime, Utc};
use greenroom_http::Endpoint;
use serde::Deserialize;

use super::Client;
use super::wire::Page;
use crate::error::Error;

const LIST: Endpoint = Endpoint { platform: "youtube", name: "comments.list" };

#[derive(Debug, Deserialize)]
pub(crate) struct Comment {
    pub id: String,
    pub snippet: Snippet,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Snippet {
    #[serde(default)]
    pub author_display_name: Option<String>,
    pub author_channel_id: Option<AuthorChannelId>,
    #[serde(default)]
    pub text_display: String,
    pub parent_id: Option<String>,
    pub viewer_rating: Option<String>,
    #[serde(default)]
    pub like_count: i64,
    pub moderation_status: Option<String>,
    pub published_at: DateTime<Utc>,
    pub updated_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct AuthorChannelId {
    pub value: Option<String>,
}

/// The fields of a comment that are stored.
pub(super) const FIELDS: &str = "id,snippet(authorDisplayName,authorChannelId/value,textDisplay,parentId,viewerRating,\
                                 likeCount,moderationStatus,publishedAt,updatedAt)";

impl Client {
    /// Returns a page of at most 100 replies.
    pub(crate) async fn replies(&self, thread: &str, page: Option<&str>) -> Result<Page<Comment>, Error> {
        let fields = format!("nextPageToken,items({FIELDS})");
        let mut query = vec![
            ("part", "id,snippet"),
            ("parentId", thread),
            ("maxResults", "100"),
            ("textFormat", "plainText"),
            ("fields", fields.as_str()),
        ];
        query.extend(page.map(|token| ("pageToken", token)));
        self.get(LIST, "youtube/v3/comments", &query).await
    }
}
