//! What was read in comments and how they rank, written beside what the platform told.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use greenroom_language::Category;
use greenroom_model::{CommentId, ConnectionId, Platform};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{CommentsError, Labels, Priority};

/// A comment as it ranks now.
#[derive(Clone, Debug)]
pub(crate) struct Ranked {
    pub(crate) id: CommentId,
    /// The platform's id of it.
    pub(crate) comment_id: String,
    /// When its row was last written, before this.
    pub(crate) updated_at: DateTime<Utc>,
    /// What was read anew, if anything was, and by whom.
    pub(crate) read: Option<(Labels, By)>,
    pub(crate) priority: Priority,
}

/// Who reads, and which version of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct By {
    pub(crate) provider: Arc<str>,
    pub(crate) version: i32,
}

/// Between the elements of a list that is sent as one text; no keyword and no category has it.
const UNIT: &str = "\u{1f}";

/// Stores how comments rank, but for those that were written meanwhile: these ask again. Returns how many were stored.
pub(crate) async fn store(
    conn: &mut PgConnection,
    platform: Platform,
    ranked: &[Ranked],
) -> Result<u64, CommentsError> {
    // Rows are taken in the order in which a sync takes them, so that the two do not wait in a circle; where a plan does
    // otherwise, one of them is tried again.
    let mut ranked: Vec<&Ranked> = ranked.iter().collect();
    ranked.sort_unstable_by(|a, b| a.comment_id.cmp(&b.comment_id));
    let ids: Vec<Uuid> = ranked.iter().map(|one| one.id.0).collect();
    let updated: Vec<DateTime<Utc>> = ranked.iter().map(|one| one.updated_at).collect();
    let scores: Vec<i32> = ranked.iter().map(|one| one.priority.score.into()).collect();
    let breakdowns = ranked
        .iter()
        .map(|one| serde_json::to_value(&one.priority))
        .collect::<Result<Vec<Value>, _>>()
        .map_err(CommentsError::Written)?;
    let labels = || ranked.iter().map(|one| one.read.as_ref().map(|(labels, _)| labels));
    let providers: Vec<Option<&str>> =
        ranked.iter().map(|one| one.read.as_ref().map(|(_, by)| &*by.provider)).collect();
    let versions: Vec<Option<i32>> =
        ranked.iter().map(|one| one.read.as_ref().map(|(_, by)| by.version)).collect();
    let sentiments: Vec<Option<&str>> = labels().map(|some| some.map(|l| l.sentiment.as_str())).collect();
    let categories: Vec<Option<String>> = labels().map(|some| some.map(|l| names(&l.categories))).collect();
    let keywords: Vec<Option<String>> = labels().map(|some| some.map(|l| l.keywords.join(UNIT))).collect();
    let languages: Vec<Option<&str>> = labels().map(|some| some.map(|l| l.language.as_str())).collect();
    let confidences = labels()
        .map(|some| some.map(|l| serde_json::to_value(&l.confidences)).transpose())
        .collect::<Result<Vec<Option<Value>>, _>>()
        .map_err(CommentsError::Written)?;
    macro_rules! update {
        ($table:literal) => {
            sqlx::query!(
                "update " + $table + " t
                    set sentiment = coalesce(r.sentiment, t.sentiment),
                        categories = coalesce(string_to_array(r.categories, $11), t.categories),
                        detected_keywords = coalesce(string_to_array(r.keywords, $11), t.detected_keywords),
                        language = coalesce(r.language, t.language),
                        confidences = coalesce(r.confidences, t.confidences),
                        enrich_provider = coalesce(r.provider, t.enrich_provider),
                        enrich_version = coalesce(r.version, t.enrich_version),
                        enriched_at = case when r.sentiment is null then t.enriched_at else greenroom.now() end,
                        priority_score = r.score,
                        priority_breakdown = r.breakdown,
                        updated_at = greenroom.now()
                   from unnest($1::uuid[], $2::timestamptz[], $3::integer[], $4::jsonb[], $5::text[], $6::text[],
                               $7::text[], $8::text[], $9::text[], $10::integer[], $12::jsonb[])
                     as r (id, updated_at, score, breakdown, sentiment, categories, keywords, language, provider,
                           version, confidences)
                  where t.id = r.id and t.updated_at = r.updated_at",
                &ids,
                &updated,
                &scores,
                &breakdowns,
                &sentiments as &[Option<&str>],
                &categories as &[Option<String>],
                &keywords as &[Option<String>],
                &languages as &[Option<&str>],
                &providers as &[Option<&str>],
                &versions as &[Option<i32>],
                UNIT,
                &confidences as &[Option<Value>],
            )
            .execute(conn)
            .await?
        };
    }
    let done = match platform {
        Platform::Youtube => update!("youtube_comments"),
        _ => update!("instagram_comments"),
    };
    Ok(done.rows_affected())
}

fn names(categories: &[Category]) -> String {
    let names: Vec<&str> = categories.iter().map(|one| one.as_str()).collect();
    names.join(UNIT)
}

/// Which comments are to be read again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) since: Option<DateTime<Utc>>,
    pub(crate) until: Option<DateTime<Utc>>,
}

/// Asks for another reading of a batch of a connection's comments that this reader has not read, but never of those that a
/// person has corrected; what was read in them stands until then. Returns how many, and the last of them.
pub(crate) async fn ask_again(
    conn: &mut PgConnection,
    platform: Platform,
    connection: ConnectionId,
    by: &By,
    range: Range,
    after: Option<(DateTime<Utc>, CommentId)>,
    limit: i64,
) -> Result<(u64, Option<(DateTime<Utc>, CommentId)>), sqlx::Error> {
    let page = sqlx::query!(
        r#"select id as "id!: CommentId", published_at as "published_at!",
                  sentiment is not null and priority_breakdown is not null
                  and enrich_provider is distinct from 'person'
                  and (enrich_provider, enrich_version) is distinct from ($6, $7) as "asks!"
             from greenroom.comments
            where platform = $1 and connection_id = $2 and published_at >= coalesce($3::timestamptz, '-infinity')
              and (published_at, id) < (coalesce($4::timestamptz, 'infinity'), $5)
            order by published_at desc, id desc
            limit $8"#,
        platform.as_str(),
        connection.0,
        range.since,
        after.map(|(instant, _)| instant).or(range.until),
        after.map_or(Uuid::max(), |(_, id)| id.0),
        &*by.provider,
        by.version,
        limit,
    )
    .fetch_all(&mut *conn)
    .await?;
    let ids: Vec<Uuid> = page.iter().filter(|row| row.asks).map(|row| row.id.0).collect();
    let last = page.last().map(|row| (row.published_at, row.id));
    if ids.is_empty() {
        return Ok((0, last));
    }
    macro_rules! ask {
        ($table:literal) => {
            sqlx::query!(
                "update "
                    + $table
                    + "
                    set enrich_version = null, priority_breakdown = null, updated_at = greenroom.now()
                  where id = any($1) and enrich_provider is distinct from 'person'",
                &ids,
            )
            .execute(conn)
            .await?
        };
    }
    let done = match platform {
        Platform::Youtube => ask!("youtube_comments"),
        _ => ask!("instagram_comments"),
    };
    Ok((done.rows_affected(), last))
}
