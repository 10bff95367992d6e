//! `youtube_videos`: what is known of a channel's videos.

use greenroom_model::{ConnectionId, VideoId};
use sqlx::PgConnection;

use crate::client::videos::{Thumbnail, Video};
use crate::error::Error;

/// What storing some videos came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Upserted {
    pub inserted: u64,
    pub updated: u64,
    pub unchanged: u64,
}

/// Stores videos in one statement; a row that says what is stored already is not rewritten.
pub(crate) async fn upsert_many(
    conn: &mut PgConnection,
    connection: ConnectionId,
    videos: &[Video],
) -> Result<Upserted, Error> {
    // The same id twice in one statement is an error; a page that shifted may bring one twice.
    let mut videos: Vec<&Video> = videos.iter().collect();
    videos.sort_by(|a, b| a.id.cmp(&b.id));
    videos.dedup_by(|a, b| a.id == b.id);
    let clean = |text: &str| text.replace('\0', "");
    let rows = sqlx::query_scalar!(
        r#"
        insert into youtube_videos as v (channel_id, video_id, title, description, thumbnail_url, published_at,
               view_count, like_count, comment_count, duration, tags, category_id, video_tags,
               default_language, default_audio_language, engagement_rate, last_fetched_at)
        select $1, g.video_id, g.title, g.description, g.thumbnail_url, g.published_at,
               g.view_count, g.like_count, g.comment_count, g.duration,
               array['youtube', case when g.is_short then 'shorts' else 'long form' end],
               g.category_id, array(select jsonb_array_elements_text(g.video_tags)),
               g.default_language, g.default_audio_language,
               round(100.0 * (coalesce(g.like_count, 0) + coalesce(g.comment_count, 0)) / nullif(g.view_count, 0), 4),
               greenroom.now()
          from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::bigint[], $8::bigint[],
                      $9::bigint[], $10::text[], $11::bool[], $12::text[], $13::jsonb[], $14::text[], $15::text[])
               as g (video_id, title, description, thumbnail_url, published_at, view_count, like_count,
                     comment_count, duration, is_short, category_id, video_tags, default_language, default_audio_language)
        on conflict (video_id) do update
           set title = excluded.title, description = excluded.description, thumbnail_url = excluded.thumbnail_url,
               published_at = excluded.published_at, view_count = excluded.view_count, like_count = excluded.like_count,
               comment_count = excluded.comment_count, duration = excluded.duration, tags = excluded.tags,
               category_id = excluded.category_id, video_tags = excluded.video_tags,
               default_language = excluded.default_language, default_audio_language = excluded.default_audio_language,
               engagement_rate = round(100.0 * (coalesce(excluded.like_count, 0) + coalesce(excluded.comment_count, 0)
                                       + coalesce(v.shares_count, 0)) / nullif(excluded.view_count, 0), 4),
               deleted_at = null, last_fetched_at = excluded.last_fetched_at, updated_at = greenroom.now()
         where v.channel_id = excluded.channel_id   -- what another connection brought stays its own
           and (v.title, v.description, v.thumbnail_url, v.published_at, v.view_count, v.like_count, v.comment_count,
                v.duration, v.tags, v.category_id, v.video_tags, v.default_language, v.default_audio_language)
               is distinct from
               (excluded.title, excluded.description, excluded.thumbnail_url, excluded.published_at, excluded.view_count,
                excluded.like_count, excluded.comment_count, excluded.duration, excluded.tags, excluded.category_id,
                excluded.video_tags, excluded.default_language, excluded.default_audio_language)
            or v.channel_id = excluded.channel_id and v.deleted_at is not null
        returning (xmax = 0) as "inserted!"
        "#,
        connection.0,
        &videos.iter().map(|v| v.id.clone()).collect::<Vec<_>>(),
        &videos.iter().map(|v| clean(&v.snippet.title)).collect::<Vec<_>>(),
        &videos.iter().map(|v| clean(&v.snippet.description)).collect::<Vec<_>>(),
        &videos.iter().map(|v| best_thumbnail(v)).collect::<Vec<_>>() as &[Option<String>],
        &videos.iter().map(|v| v.snippet.published_at).collect::<Vec<_>>() as &[Option<chrono::DateTime<chrono::Utc>>],
        &videos.iter().map(|v| v.statistics.view_count).collect::<Vec<_>>() as &[Option<i64>],
        &videos.iter().map(|v| v.statistics.like_count).collect::<Vec<_>>() as &[Option<i64>],
        &videos.iter().map(|v| v.statistics.comment_count).collect::<Vec<_>>() as &[Option<i64>],
        &videos.iter().map(|v| v.content_details.duration.clone()).collect::<Vec<_>>() as &[Option<String>],
        &videos.iter().map(|v| is_short(v.content_details.duration.as_deref())).collect::<Vec<_>>(),
        &videos.iter().map(|v| v.snippet.category_id.clone()).collect::<Vec<_>>() as &[Option<String>],
        &videos.iter().map(|v| serde_json::json!(v.snippet.tags.iter().map(|t| clean(t)).collect::<Vec<_>>())).collect::<Vec<_>>(),
        &videos.iter().map(|v| v.snippet.default_language.clone()).collect::<Vec<_>>() as &[Option<String>],
        &videos.iter().map(|v| v.snippet.default_audio_language.clone()).collect::<Vec<_>>() as &[Option<String>],
    )
    .fetch_all(conn)
    .await?;
    let inserted = rows.iter().filter(|inserted| **inserted).count() as u64;
    let changed = rows.len() as u64;
    Ok(Upserted { inserted, updated: changed - inserted, unchanged: videos.len() as u64 - changed })
}

/// A video whose comments are to be read.
#[derive(Clone, Debug)]
pub(crate) struct ToRead {
    pub id: VideoId,
    pub video_id: String,
}

/// Returns a channel's videos that may have comments, newest first: those with a count, and those that
/// hide it. A few dozen bytes a video, of which YouTube lists 20,000 at most.
pub(crate) async fn with_comments(
    conn: &mut PgConnection,
    connection: ConnectionId,
) -> Result<Vec<ToRead>, Error> {
    Ok(sqlx::query_as!(
        ToRead,
        r#"
        select id as "id: VideoId", video_id from youtube_videos
         where channel_id = $1 and deleted_at is null and comment_count is distinct from 0
         order by published_at desc nulls last, id
        "#,
        connection.0
    )
    .fetch_all(conn)
    .await?)
}

/// Returns the address of the best thumbnail there is.
fn best_thumbnail(video: &Video) -> Option<String> {
    const BEST_FIRST: [&str; 8] = ["uhd", "qhd", "fhd", "maxres", "standard", "high", "medium", "default"];
    let thumbnails = &video.snippet.thumbnails;
    BEST_FIRST.iter().find_map(|name| thumbnails.get(*name)).map(|Thumbnail { url }| url.clone())
}

/// Takes a video of at most a minute for a Short. No field says it; Analytics will, and may overrule.
fn is_short(duration: Option<&str>) -> bool {
    duration.and_then(seconds).is_some_and(|seconds| (1..=60).contains(&seconds))
}

/// Reads an ISO 8601 duration as YouTube writes it (`PT1H2M3S`, `P1DT2H`, `P0D`), in seconds.
fn seconds(duration: &str) -> Option<u64> {
    let mut rest = duration.strip_prefix('P')?;
    let mut total = 0;
    let mut of_time = false;
    while !rest.is_empty() {
        if let Some(time) = rest.strip_prefix('T') {
            of_time = true;
            rest = time;
            continue;
        }
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let count: u64 = rest[..end].parse().ok()?;
        let unit = match (rest.as_bytes()[end], of_time) {
            (b'W', false) => 604_800,
            (b'D', false) => 86_400,
            (b'H', true) => 3_600,
            (b'M', true) => 60,
            (b'S', true) => 1,
            _ => return None,
        };
        total += count * unit;
        rest = &rest[end + 1..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, expected) in [
            ("PT1H2M3S", Some(3_723)),
            ("P1DT2H", Some(93_600)),
            ("P0D", Some(0)),
            ("PT45S", Some(45)),
            ("12:30", None),
            ("P", Some(0)),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
        assert!(
            is_short(Some("PT1M")) && !is_short(Some("PT61S")) && !is_short(Some("P0D")) && !is_short(None)
        );
    }
}
