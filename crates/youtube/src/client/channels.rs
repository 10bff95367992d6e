//! `channels.list`: the channel's name, numbers and uploads playlist.

use greenroom_http::Endpoint;
use serde::Deserialize;

use super::Client;
use super::wire::{Page, counter};
use crate::error::Error;

const LIST: Endpoint = Endpoint { platform: "youtube", name: "channels.list" };

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Channel {
    pub id: String,
    pub snippet: Snippet,
    pub statistics: Statistics,
    pub content_details: ContentDetails,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Snippet {
    pub title: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "YouTube's own names")]
pub(crate) struct Statistics {
    #[serde(default, deserialize_with = "counter")]
    pub view_count: Option<i64>,
    /// Rounded to three figures, also for the owner; absent or 0 when hidden.
    #[serde(default, deserialize_with = "counter")]
    pub subscriber_count: Option<i64>,
    #[serde(default)]
    pub hidden_subscriber_count: bool,
    /// Public videos only.
    #[serde(default, deserialize_with = "counter")]
    pub video_count: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContentDetails {
    pub related_playlists: RelatedPlaylists,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RelatedPlaylists {
    pub uploads: String,
}

impl Client {
    /// Returns the channel, or nothing when it is gone.
    pub(crate) async fn channel(&self, id: &str) -> Result<Option<Channel>, Error> {
        let query = [("part", "id,snippet,statistics,contentDetails"), ("id", id)];
        let page: Page<Channel> = self.get(LIST, "youtube/v3/channels", &query).await?;
        Ok(page.items.into_iter().find(|channel| channel.id == id))
    }
}
