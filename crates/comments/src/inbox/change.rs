//! What people do with comments: how they stand, tags, who sees to them, notes, and what was misread.

use greenroom_language::{Category, Sentiment};
use greenroom_model::{CommentId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{FiltersError, Status};
use crate::{CommentsError, Confidences};

/// More tags on one comment are none.
const MOST_TAGS: usize = 20;
const LONGEST_TAG: usize = 50;
const LONGEST_NOTES: usize = 10_000;

/// What is to change; what is not named stays.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Change {
    /// How it stands.
    pub status: Option<Status>,
    /// All its tags.
    pub tags: Option<Vec<String>>,
    /// Tags to put on it.
    pub add_tags: Vec<String>,
    /// Tags to take off.
    pub remove_tags: Vec<String>,
    /// Who is to see to it; null is nobody.
    #[serde(deserialize_with = "named")]
    pub assigned_to_user_id: Option<Option<UserId>>,
    /// What is noted; null is nothing.
    #[serde(deserialize_with = "named")]
    pub internal_notes: Option<Option<String>>,
    /// What its sentiment really is.
    pub sentiment: Option<Sentiment>,
    /// What its author really wants.
    pub categories: Option<Vec<Category>>,
}

/// Tells null from not named.
#[expect(clippy::option_option, reason = "null and not named are two things")]
fn named<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl Change {
    /// Refuses what cannot be meant.
    pub fn validate(&self) -> Result<(), FiltersError> {
        let error = |key, rule: String| Err(FiltersError { key, rule });
        let tags = || self.tags.iter().flatten().chain(&self.add_tags);
        if tags().any(|tag| tag.trim().is_empty() || tag.chars().count() > LONGEST_TAG) {
            return error("tags", format!("use 1 to {LONGEST_TAG} characters each"));
        }
        if tags().count() > MOST_TAGS {
            return error("tags", format!("use at most {MOST_TAGS}"));
        }
        if self.tags.is_some() && !(self.add_tags.is_empty() && self.remove_tags.is_empty()) {
            return error("tags", "name all of them, or what to add and remove".to_owned());
        }
        let long = |notes: &String| notes.chars().count() > LONGEST_NOTES;
        if self.internal_notes.iter().flatten().any(long) {
            return error("internal_notes", format!("use at most {LONGEST_NOTES} characters"));
        }
        Ok(())
    }

    /// Returns whether it corrects what was read.
    pub fn corrects(&self) -> bool {
        self.sentiment.is_some() || self.categories.is_some()
    }
}

/// What became of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Comments that were changed.
    pub changed: u64,
    /// Corrections that were kept for their author's own use.
    pub kept: u64,
}

/// Changes comments, in the caller's transaction.
///
/// What a person corrects is nobody's to read again while the text stays as it is, and the comment is ranked again. Where
/// the corrector has consented, the correction is kept beside: what it said, never the comment's text.
pub async fn change(
    conn: &mut PgConnection,
    ids: &[CommentId],
    change: &Change,
    by: Option<UserId>,
) -> Result<Changed, CommentsError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let tags = change.tags.as_ref().map(|tags| trimmed(tags));
    let (add, remove) = (trimmed(&change.add_tags), trimmed(&change.remove_tags));
    let done = sqlx::query_scalar!(
        r#"with new (tags, add, remove, status, assigns, assignee, notes_given, notes) as (
               select $2::text[], $3::text[], $4::text[], $5::text, $6::boolean, $7::uuid, $8::boolean, $9::text
           ), youtube as (
               update youtube_comments t
                  set status = coalesce(new.status, t.status),
                      tags = greenroom.changed_tags(coalesce(new.tags, t.tags), new.add, new.remove),
                      assigned_to_user_id = case when new.assigns then new.assignee else t.assigned_to_user_id end,
                      internal_notes = case when new.notes_given then new.notes else t.internal_notes end,
                      updated_at = greenroom.now()
                 from new where t.id = any($1)
               returning 1
           ), instagram as (
               update instagram_comments t
                  set status = coalesce(new.status, t.status),
                      tags = greenroom.changed_tags(coalesce(new.tags, t.tags), new.add, new.remove),
                      assigned_to_user_id = case when new.assigns then new.assignee else t.assigned_to_user_id end,
                      internal_notes = case when new.notes_given then new.notes else t.internal_notes end,
                      updated_at = greenroom.now()
                 from new where t.id = any($1)
               returning 1
           )
           select (select count(*) from youtube) + (select count(*) from instagram) as "n!""#,
        &ids,
        tags.as_deref(),
        &add,
        &remove,
        change.status.map(Status::as_str),
        change.assigned_to_user_id.is_some(),
        change.assigned_to_user_id.flatten().map(|id| id.0),
        change.internal_notes.is_some(),
        change.internal_notes.clone().flatten(),
    )
    .fetch_one(&mut *conn)
    .await?;
    let mut changed = Changed { changed: done.unsigned_abs(), kept: 0 };
    if change.corrects() {
        for id in &ids {
            changed.kept += correct(conn, *id, change, by).await?;
        }
    }
    Ok(changed)
}

fn trimmed(tags: &[String]) -> Vec<String> {
    tags.iter().map(|tag| tag.trim().to_owned()).collect()
}

/// Writes what a person says of a comment over what was read; returns how many corrections were kept.
async fn correct(
    conn: &mut PgConnection,
    id: Uuid,
    change: &Change,
    by: Option<UserId>,
) -> Result<u64, CommentsError> {
    let before = sqlx::query!(
        r#"select platform as "platform!", sentiment, categories, confidences from greenroom.comments where id = $1"#,
        id
    )
    .fetch_one(&mut *conn)
    .await?;
    let was: Confidences =
        before.confidences.and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default();
    let sentiment =
        change.sentiment.map(Sentiment::as_str).or(before.sentiment.as_deref()).unwrap_or("neutral");
    let categories: Vec<&str> = match &change.categories {
        Some(categories) => categories.iter().map(|one| one.as_str()).collect(),
        None => before.categories.iter().flatten().map(String::as_str).collect(),
    };
    let sure = |category: Category| f32::from(u8::from(categories.contains(&category.as_str())));
    let confidences = match &change.categories {
        // What a person says is sure, and so is what they leave out.
        Some(_) => Confidences {
            categories: std::collections::BTreeMap::new(),
            spam: sure(Category::Spam),
            toxic: sure(Category::Toxic),
            ..was
        },
        None => was,
    };
    let confidences = serde_json::to_value(&confidences).map_err(CommentsError::Written)?;
    sqlx::query!(
        "with new (sentiment, categories, confidences) as (select $2::text, $3::text[], $4::jsonb),
              youtube as (
                  update youtube_comments t
                     set sentiment = new.sentiment, categories = new.categories, confidences = new.confidences,
                         language = coalesce(t.language, 'und'), detected_keywords = coalesce(t.detected_keywords, '{}'),
                         enrich_provider = 'person', enrich_version = coalesce(t.enrich_version, 0),
                         priority_breakdown = null, updated_at = greenroom.now()
                    from new where t.id = $1)
         update instagram_comments t
            set sentiment = new.sentiment, categories = new.categories, confidences = new.confidences,
                language = coalesce(t.language, 'und'), detected_keywords = coalesce(t.detected_keywords, '{}'),
                enrich_provider = 'person', enrich_version = coalesce(t.enrich_version, 0),
                priority_breakdown = null, updated_at = greenroom.now()
           from new where t.id = $1",
        id,
        sentiment,
        &categories as &[&str],
        confidences,
    )
    .execute(&mut *conn)
    .await?;
    let Some(by) = by else { return Ok(0) };
    let now = json!({"sentiment": sentiment, "categories": categories});
    let details = json!({
        "platform": before.platform,
        "comment": id,
        "was": {"sentiment": before.sentiment, "categories": before.categories},
    });
    let kept = sqlx::query!(
        "insert into ai_training_data (user_id, data_type, content, metadata)
         select $1, 'comment_label_correction', $2, $3
          where exists (select from greenroom.consents where user_id = $1 and purpose = 'training')",
        by.0,
        now.to_string(),
        details,
    )
    .execute(conn)
    .await?;
    Ok(kept.rows_affected())
}
