//! `videos.list`: what is known of up to fifty videos.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use greenroom_http::Endpoint;
use serde::Deserialize;

use super::Client;
use super::wire::{Page, counter};
use crate::error::Error;

const LIST: Endpoint = Endpoint { platform: "youtube", name: "videos.list" };

/// The most videos one call may ask for.
pub(crate) const BATCH: usize = 50;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Video {
    pub id: String,
    pub snippet: Snippet,
    #[serde(default)]
    pub content_details: ContentDetails,
    #[serde(default)]
    pub statistics: Statistics,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Snippet {
    pub title: String,
    #[serde(default)]
    pub description: String,
    pub published_at: Option<DateTime<Utc>>,
    #[serde(default)]
    pub thumbnails: BTreeMap<String, Thumbnail>,
    pub category_id: Option<String>,
    #[serde(default)]
    pub tags: Vec<String>,
    pub default_language: Option<String>,
    pub default_audio_language: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Thumbnail {
    pub url: String,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct ContentDetails {
    /// ISO 8601, as it came.
    pub duration: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "YouTube's own names")]
pub(crate) struct Statistics {
    #[serde(default, deserialize_with = "counter")]
    pub view_count: Option<i64>,
    /// Absent when ratings are hidden.
    #[serde(default, deserialize_with = "counter")]
    pub like_count: Option<i64>,
    /// Absent when comments are disabled.
    #[serde(default, deserialize_with = "counter")]
    pub comment_count: Option<i64>,
}

impl Client {
    /// Returns those of the videos that exist: the answer is shorter where one is gone or hidden.
    pub(crate) async fn videos(&self, ids: &[String]) -> Result<Page<Video>, Error> {
        let ids = ids.join(",");
        let fields = "items(id,snippet(title,description,publishedAt,thumbnails,categoryId,tags,defaultLanguage,\
                      defaultAudioLanguage),contentDetails/duration,statistics)";
        let query =
            [("part", "id,snippet,contentDetails,statistics"), ("id", ids.as_str()), ("fields", fields)];
        self.get(LIST, "youtube/v3/videos", &query).await
    }
}
