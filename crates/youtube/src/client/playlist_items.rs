//! `playlistItems.list`: the ids of a channel's uploads, newest first.

use greenroom_http::Endpoint;
use serde::Deserialize;

use super::Client;
use super::wire::Page;
use crate::error::Error;

const LIST: Endpoint = Endpoint { platform: "youtube", name: "playlistItems.list" };

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PlaylistItem {
    pub content_details: ContentDetails,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContentDetails {
    pub video_id: String,
}

impl Client {
    /// Returns a page of at most 50 uploads.
    pub(crate) async fn uploads(
        &self,
        playlist: &str,
        page: Option<&str>,
    ) -> Result<Page<PlaylistItem>, Error> {
        let mut query = vec![
            ("part", "contentDetails"),
            ("playlistId", playlist),
            ("maxResults", "50"),
            ("fields", "nextPageToken,items/contentDetails/videoId"),
        ];
        query.extend(page.map(|token| ("pageToken", token)));
        self.get(LIST, "youtube/v3/playlistItems", &query).await
    }
}
