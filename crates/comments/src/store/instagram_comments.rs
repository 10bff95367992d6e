//! `instagram_comments`.

use chrono::{DateTime, Utc};
use greenroom_model::ConnectionId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Counts;
use crate::incoming::{storable, whole};
use crate::{IncomingComment, Upserted};

/// Stores what Instagram tells, and what it does not tell leaves as it is known.
pub(super) async fn upsert_many(
    conn: &mut PgConnection,
    connection: ConnectionId,
    comments: &[IncomingComment],
) -> Result<Upserted, sqlx::Error> {
    let ids: Vec<String> = comments.iter().map(|c| c.comment_id.clone()).collect();
    let media: Vec<Uuid> = comments.iter().map(|c| c.piece).collect();
    let parents: Vec<Option<String>> = comments.iter().map(|c| c.parent_comment_id.clone()).collect();
    let names: Vec<Option<String>> =
        comments.iter().map(|c| c.author_name.as_deref().map(storable)).collect();
    let authors: Vec<Option<String>> = comments.iter().map(|c| c.author_id.clone()).collect();
    let by_owner: Vec<bool> = comments.iter().map(|c| c.by_owner).collect();
    let texts: Vec<String> = comments.iter().map(|c| storable(&c.text)).collect();
    let published: Vec<DateTime<Utc>> = comments.iter().map(|c| c.published_at).collect();
    let likes: Vec<Option<i32>> = comments.iter().map(|c| c.like_count.map(whole)).collect();
    let hidden: Vec<Option<bool>> = comments.iter().map(|c| c.is_hidden).collect();
    let counts = sqlx::query_as!(
        Counts,
        r#"with handed as (
               select *
                 from unnest($2::text[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::boolean[],
                             $8::text[], $9::timestamptz[], $10::integer[], $11::boolean[])
                      with ordinality
                   as h (comment_id, media_id, parent_comment_id, username, user_id, by_owner, text,
                         published_at, like_count, is_hidden, position)
           ), incoming as (
               -- The last of each, in the order of ids, so that two pages never wait in a circle.
               select distinct on (comment_id) * from handed order by comment_id, position desc
           ), merged as (
               -- What Instagram does not tell this time is what it told before.
               select i.comment_id, i.media_id, i.parent_comment_id, i.by_owner, i.text, i.published_at,
                      coalesce(i.username, t.username) as username,
                      coalesce(i.user_id, t.user_id) as user_id,
                      coalesce(i.like_count, t.like_count, 0) as like_count,
                      coalesce(i.is_hidden, t.is_hidden, false) as is_hidden,
                      t as stored
                 from incoming i
                 left join instagram_comments t on t.comment_id = i.comment_id
           ), judged as (
               select m.*,
                      (stored).id is null as is_new,
                      coalesce((stored).connection_id <> $1, false) as elsewhere,
                      ((stored).connection_id, (stored).parent_comment_id, (stored).username,
                       (stored).user_id, (stored).is_owner_comment, (stored).text, (stored).timestamp,
                       (stored).like_count, (stored).is_hidden, (stored).deleted_at)
                      is distinct from
                      ($1, parent_comment_id, username, user_id, by_owner, text, published_at,
                       like_count, is_hidden, null) as changed
                 from merged m
           ), written as (
               insert into instagram_comments as t (
                   connection_id, comment_id, media_id, parent_comment_id, username, user_id,
                   is_owner_comment, text, timestamp, like_count, is_hidden, status)
               select $1, comment_id, media_id, parent_comment_id, username, user_id,
                      by_owner, text, published_at, like_count, is_hidden,
                      case when by_owner then 'read' else 'unread' end
                 from judged
                -- What has not changed is not even handed to the conflict, which would lock its row.
                where is_new or (changed and not elsewhere)
                order by comment_id
               on conflict (comment_id) do update
                  set connection_id = excluded.connection_id,
                      parent_comment_id = excluded.parent_comment_id,
                      username = excluded.username,
                      user_id = excluded.user_id,
                      is_owner_comment = excluded.is_owner_comment,
                      text = excluded.text,
                      timestamp = excluded.timestamp,
                      like_count = excluded.like_count,
                      is_hidden = excluded.is_hidden,
                      -- It is there, so it is not deleted.
                      deleted_at = null,
                      -- Another text is to be read again.
                      sentiment = case when t.text = excluded.text then t.sentiment end,
                      priority_score = case when t.text = excluded.text then t.priority_score end,
                      categories = case when t.text = excluded.text then t.categories end,
                      detected_keywords = case when t.text = excluded.text then t.detected_keywords end,
                      language = case when t.text = excluded.text then t.language end,
                      confidences = case when t.text = excluded.text then t.confidences end,
                      enriched_at = case when t.text = excluded.text then t.enriched_at end,
                      enrich_provider = case when t.text = excluded.text then t.enrich_provider end,
                      enrich_version = case when t.text = excluded.text then t.enrich_version end,
                      -- And what its score stands on is to be weighed again.
                      priority_breakdown = case
                          when t.text = excluded.text
                           and (t.like_count, t.is_hidden, t.parent_comment_id)
                               is not distinct from
                               (excluded.like_count, excluded.is_hidden, excluded.parent_comment_id)
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
        &media,
        &parents as &[Option<String>],
        &names as &[Option<String>],
        &authors as &[Option<String>],
        &by_owner,
        &texts,
        &published,
        &likes as &[Option<i32>],
        &hidden as &[Option<bool>],
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
        "update instagram_comments t
            set replied_at = answer.timestamp,
                response_text = answer.text,
                priority_breakdown = null,
                -- Only when an answer is first seen: who reopens an answered comment has the last word.
                status = case when t.replied_at is null and t.status in ('unread', 'read')
                              then 'answered' else t.status end,
                updated_at = greenroom.now()
           from (select distinct on (parent_comment_id) parent_comment_id, timestamp, text
                   from instagram_comments
                  where parent_comment_id = any($2) and connection_id = $1
                    and is_owner_comment and deleted_at is null
                  order by parent_comment_id, timestamp, comment_id) answer
          where t.comment_id = answer.parent_comment_id and t.connection_id = $1
            and (t.replied_at, t.response_text) is distinct from (answer.timestamp, answer.text)",
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
             select t.id from instagram_comments o
               join instagram_comments t on t.parent_comment_id = o.comment_id and t.connection_id = $1
              where o.comment_id = any($2) and o.connection_id = $1 and o.is_owner_comment
                and t.updated_at < o.created_at
              order by t.comment_id for update of t
         )
         update instagram_comments t set priority_breakdown = null, updated_at = greenroom.now()
           from before where t.id = before.id",
        connection.0,
        owners,
    )
    .execute(conn)
    .await?;
    Ok(())
}
