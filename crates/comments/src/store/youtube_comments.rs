//! `youtube_comments`.

use chrono::{DateTime, Utc};
use greenroom_model::ConnectionId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Counts;
use crate::incoming::{storable, whole};
use crate::{IncomingComment, Upserted};

/// Stores what YouTube tells, and what it does not tell leaves as it is known.
pub(super) async fn upsert_many(
    conn: &mut PgConnection,
    connection: ConnectionId,
    comments: &[IncomingComment],
) -> Result<Upserted, sqlx::Error> {
    let ids: Vec<String> = comments.iter().map(|c| c.comment_id.clone()).collect();
    let videos: Vec<Uuid> = comments.iter().map(|c| c.piece).collect();
    let parents: Vec<Option<String>> = comments.iter().map(|c| c.parent_comment_id.clone()).collect();
    let names: Vec<Option<String>> =
        comments.iter().map(|c| c.author_name.as_deref().map(storable)).collect();
    let authors: Vec<Option<String>> = comments.iter().map(|c| c.author_id.clone()).collect();
    let by_owner: Vec<bool> = comments.iter().map(|c| c.by_owner).collect();
    let texts: Vec<String> = comments.iter().map(|c| storable(&c.text)).collect();
    let published: Vec<DateTime<Utc>> = comments.iter().map(|c| c.published_at).collect();
    let changed: Vec<Option<DateTime<Utc>>> = comments.iter().map(|c| c.platform_updated_at).collect();
    let likes: Vec<Option<i32>> = comments.iter().map(|c| c.like_count.map(whole)).collect();
    let replies: Vec<Option<i32>> = comments.iter().map(|c| c.reply_count.map(whole)).collect();
    let owner_likes: Vec<Option<bool>> = comments.iter().map(|c| c.liked_by_owner).collect();
    let moderation: Vec<Option<String>> = comments.iter().map(|c| c.moderation_status.clone()).collect();
    let counts = sqlx::query_as!(
        Counts,
        r#"with handed as (
               select *
                 from unnest($2::text[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::boolean[],
                             $8::text[], $9::timestamptz[], $10::timestamptz[], $11::integer[],
                             $12::integer[], $13::boolean[], $14::text[])
                      with ordinality
                   as h (comment_id, video_id, parent_comment_id, author_name, author_channel_id,
                         by_owner, content, published_at, platform_updated_at, like_count, reply_count,
                         liked_by_owner, moderation_status, position)
           ), incoming as (
               -- The last of each, in the order of ids, so that two pages never wait in a circle.
               select distinct on (comment_id) * from handed order by comment_id, position desc
           ), merged as (
               -- What YouTube does not tell this time is what it told before.
               select i.comment_id, i.video_id, i.parent_comment_id, i.by_owner, i.content, i.published_at,
                      coalesce(i.author_name, t.author_name) as author_name,
                      coalesce(i.author_channel_id, t.author_channel_id) as author_channel_id,
                      coalesce(i.platform_updated_at, t.platform_updated_at) as platform_updated_at,
                      coalesce(i.like_count, t.like_count, 0) as like_count,
                      coalesce(i.reply_count, t.reply_count, 0) as reply_count,
                      coalesce(i.liked_by_owner, t.liked_by_owner) as liked_by_owner,
                      coalesce(i.moderation_status, t.moderation_status) as moderation_status,
                      t as stored
                 from incoming i
                 left join youtube_comments t on t.comment_id = i.comment_id
           ), judged as (
               select m.*,
                      (stored).id is null as is_new,
                      coalesce((stored).connection_id <> $1, false) as elsewhere,
                      ((stored).connection_id, (stored).parent_comment_id, (stored).author_name,
                       (stored).author_channel_id, (stored).is_channel_owner_comment, (stored).content,
                       (stored).published_at, (stored).platform_updated_at, (stored).like_count,
                       (stored).reply_count, (stored).liked_by_owner, (stored).moderation_status,
                       (stored).deleted_at)
                      is distinct from
                      ($1, parent_comment_id, author_name, author_channel_id, by_owner, content,
                       published_at, platform_updated_at, like_count, reply_count, liked_by_owner,
                       moderation_status, null) as changed
                 from merged m
           ), written as (
               insert into youtube_comments as t (
                   connection_id, comment_id, video_id, parent_comment_id, author_name, author_channel_id,
                   is_channel_owner_comment, content, published_at, platform_updated_at, like_count,
                   reply_count, liked_by_owner, moderation_status, status)
               select $1, comment_id, video_id, parent_comment_id, author_name, author_channel_id,
                      by_owner, content, published_at, platform_updated_at, like_count,
                      reply_count, liked_by_owner, moderation_status,
                      case when by_owner then 'read' else 'unread' end
                 from judged
                -- What has not changed is not even handed to the conflict, which would lock its row.
                where is_new or (changed and not elsewhere)
                order by comment_id
               on conflict (comment_id) do update
                  set connection_id = excluded.connection_id,
                      parent_comment_id = excluded.parent_comment_id,
                      author_name = excluded.author_name,
                      author_channel_id = excluded.author_channel_id,
                      is_channel_owner_comment = excluded.is_channel_owner_comment,
                      content = excluded.content,
                      published_at = excluded.published_at,
                      platform_updated_at = excluded.platform_updated_at,
                      like_count = excluded.like_count,
                      reply_count = excluded.reply_count,
                      liked_by_owner = excluded.liked_by_owner,
                      moderation_status = excluded.moderation_status,
                      -- It is there, so it is not deleted.
                      deleted_at = null,
                      -- Another text is to be read again.
                      sentiment = case when t.content = excluded.content then t.sentiment end,
                      priority_score = case when t.content = excluded.content then t.priority_score end,
                      categories = case when t.content = excluded.content then t.categories end,
                      detected_keywords = case when t.content = excluded.content then t.detected_keywords end,
                      language = case when t.content = excluded.content then t.language end,
                      confidences = case when t.content = excluded.content then t.confidences end,
                      enriched_at = case when t.content = excluded.content then t.enriched_at end,
                      enrich_provider = case when t.content = excluded.content then t.enrich_provider end,
                      enrich_version = case when t.content = excluded.content then t.enrich_version end,
                      -- And what its score stands on is to be weighed again.
                      priority_breakdown = case
                          when t.content = excluded.content
                           and (t.like_count, t.reply_count, t.liked_by_owner, t.moderation_status, t.parent_comment_id)
                               is not distinct from
                               (excluded.like_count, excluded.reply_count, excluded.liked_by_owner, excluded.moderation_status, excluded.parent_comment_id)
                          then t.priority_breakdown end,
                      updated_at = greenroom.now()
                where t.connection_id is null or t.connection_id = excluded.connection_id
           )
           select count(*) filter (where is_new) as "inserted!",
                  count(*) filter (where changed and not elsewhere and not is_new) as "updated!",
                  count(*) filter (where not changed and not elsewhere and not is_new) as "unchanged!",
                  count(*) filter (where elsewhere) as "owned_elsewhere!"
             from judged"#,
        connection.0,
        &ids,
        &videos,
        &parents as &[Option<String>],
        &names as &[Option<String>],
        &authors as &[Option<String>],
        &by_owner,
        &texts,
        &published,
        &changed as &[Option<DateTime<Utc>>],
        &likes as &[Option<i32>],
        &replies as &[Option<i32>],
        &owner_likes as &[Option<bool>],
        &moderation as &[Option<String>],
    )
    .fetch_one(conn)
    .await?;
    Ok(counts.into())
}

/// Writes the owner's earliest reply to the comment that began the thread.
pub(super) async fn note_answers(
    conn: &mut PgConnection,
    connection: ConnectionId,
    threads: &[String],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update youtube_comments t
            set replied_at = answer.published_at,
                response_text = answer.content,
                priority_breakdown = null,
                -- Only when an answer is first seen: who reopens an answered comment has the last word.
                status = case when t.replied_at is null and t.status in ('unread', 'read')
                              then 'answered' else t.status end,
                updated_at = greenroom.now()
           from (select distinct on (parent_comment_id) parent_comment_id, published_at, content
                   from youtube_comments
                  where parent_comment_id = any($2) and connection_id = $1
                    and is_channel_owner_comment and deleted_at is null
                  order by parent_comment_id, published_at, comment_id) answer
          where t.comment_id = answer.parent_comment_id and t.connection_id = $1
            and (t.replied_at, t.response_text) is distinct from (answer.published_at, answer.content)",
        connection.0,
        threads,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Asks for another ranking of what answers the owner and was here before the owner's comment: such an answer comes first.
/// What is just being ranked is touched as well, so that whoever is at it sees that it has changed.
pub(super) async fn note_owners(
    conn: &mut PgConnection,
    connection: ConnectionId,
    owners: &[String],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with before as (
             select t.id from youtube_comments o
               join youtube_comments t on t.parent_comment_id = o.comment_id and t.connection_id = $1
              where o.comment_id = any($2) and o.connection_id = $1 and o.is_channel_owner_comment
                and t.updated_at < o.created_at
              order by t.comment_id for update of t
         )
         update youtube_comments t set priority_breakdown = null, updated_at = greenroom.now()
           from before where t.id = before.id",
        connection.0,
        owners,
    )
    .execute(conn)
    .await?;
    Ok(())
}
