//! `commentThreads.list`: a video's top-level comments, each with at most five of its replies.

use greenroom_http::Endpoint;
use serde::Deserialize;

use super::Client;
use super::comments::{Comment, FIELDS};
use super::wire::Page;
use crate::error::Error;

const LIST: Endpoint = Endpoint { platform: "youtube", name: "commentThreads.list" };

#[derive(Debug, Deserialize)]
pub(crate) struct Thread {
    pub snippet: Snippet,
    pub replies: Option<Replies>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Snippet {
    pub top_level_comment: Comment,
    #[serde(default)]
    pub total_reply_count: i64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Replies {
    #[serde(default)]
    pub comments: Vec<Comment>,
}

impl Thread {
    /// Tells whether replies are missing here and have to be asked for.
    pub(crate) fn is_cut(&self) -> bool {
        let inline = self.replies.as_ref().map_or(0, |replies| replies.comments.len());
        usize::try_from(self.snippet.total_reply_count).is_ok_and(|total| total > inline)
    }
}

impl Client {
    /// Returns a page of at most 100 threads, newest first.
    pub(crate) async fn threads(&self, video: &str, page: Option<&str>) -> Result<Page<Thread>, Error> {
        let fields = format!(
            "nextPageToken,items(id,snippet(totalReplyCount,topLevelComment({FIELDS})),replies/comments({FIELDS}))"
        );
        let mut query = vec![
            ("part", "id,snippet,replies"),
            ("videoId", video),
            ("maxResults", "100"),
            ("order", "time"),
            ("textFormat", "plainText"),
            ("fields", fields.as_str()),
        ];
        query.extend(page.map(|token| ("pageToken", token)));
        self.get(LIST, "youtube/v3/commentThreads", &query).await
    }
}
