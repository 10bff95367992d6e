//! Comments that are to be read or ranked: those without a `priority_breakdown`.

use chrono::{DateTime, Utc};
use greenroom_language::{Category, Sentiment};
use greenroom_model::{CommentId, ConnectionId, Platform, UserId};
use serde_json::Value;
use sqlx::PgConnection;
use unicode_normalization::UnicodeNormalization as _;
use uuid::Uuid;

use crate::{Confidences, Facts, Labels};

/// A comment that is to be read or ranked.
#[derive(Clone, Debug)]
pub(crate) struct Unranked {
    pub(crate) id: CommentId,
    /// The platform's id of it.
    pub(crate) comment_id: String,
    pub(crate) text: String,
    pub(crate) published_at: DateTime<Utc>,
    /// When its row was last written; who writes what was made of it makes sure that this still holds.
    pub(crate) updated_at: DateTime<Utc>,
    /// What was read in it before, if that still counts.
    pub(crate) labels: Option<Labels>,
    pub(crate) facts: Facts,
}

/// Returns the next comments of a connection of this person that are to be read or ranked, the newest first.
pub(crate) async fn next(
    conn: &mut PgConnection,
    platform: Platform,
    connection: ConnectionId,
    owner: UserId,
    after: Option<(DateTime<Utc>, CommentId)>,
    limit: i64,
) -> Result<Vec<Unranked>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"with page as materialized (
               select id, comment_id, text, published_at, updated_at, like_count, reply_count, parent_comment_id, author_id, author_name,
                      hearted, replied_at, is_hidden, sentiment, categories, language, detected_keywords,
                      confidences, enrich_version
                 from greenroom.comments
                where platform = $1 and connection_id = $2
                  and priority_breakdown is null and not by_owner and deleted_at is null
                  and (published_at, id) < (coalesce($3::timestamptz, 'infinity'), $4)
                order by published_at desc, id desc
                limit $5
           )
           select id as "id!: CommentId", comment_id as "comment_id!", text as "text!", published_at as "published_at!",
                  updated_at as "updated_at!", like_count as "likes!", reply_count as "replies!",
                  parent_comment_id is not null as "is_reply!", hearted as "hearted!",
                  replied_at is not null as "replied!", is_hidden as "is_hidden!",
                  coalesce((select p.by_owner from greenroom.comments p
                             where p.platform = $1 and p.comment_id = page.parent_comment_id), false)
                      as "answers_owner!",
                  (select count(*) from (
                      select from greenroom.comments o
                       where o.platform = $1 and o.connection_id = $2 and o.author_id = page.author_id
                         and o.published_at > page.published_at - interval '90 days'
                         and o.published_at <= page.published_at
                       limit 3) theirs) = 3 as "is_returning!",
                  exists (select from greenroom.vip_authors v
                           where v.user_id = $6 and v.platform = $1 and v.author_id = page.author_id) as "is_vip!",
                  author_name, (select channel_name from youtube_connections where id = $2 and $1 = 'youtube') as account_name,
                  sentiment, categories as "categories: Vec<String>", language,
                  detected_keywords as "keywords: Vec<String>", confidences, enrich_version
             from page
            order by published_at desc, id desc"#,
        platform.as_str(),
        connection.0,
        after.map(|(instant, _)| instant),
        after.map_or(Uuid::max(), |(_, id)| id.0),
        limit,
        owner.0,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Unranked {
            id: row.id,
            comment_id: row.comment_id,
            text: row.text,
            published_at: row.published_at,
            updated_at: row.updated_at,
            labels: row.enrich_version.and_then(|_| {
                stored(&row.sentiment?, row.categories, row.language, row.keywords, row.confidences)
            }),
            facts: Facts {
                likes: row.likes.unsigned_abs(),
                replies: row.replies.unsigned_abs(),
                is_reply: row.is_reply,
                answers_owner: row.answers_owner,
                // Neither platform tells of the author of a comment.
                author_followers: None,
                is_vip: row.is_vip,
                is_returning: row.is_returning,
                owner_replied: row.replied,
                owner_hearted: row.hearted,
                is_owners: false,
                is_hidden: row.is_hidden,
                is_imitation: row
                    .author_name
                    .is_some_and(|name| is_the_same(&name, row.account_name.as_deref())),
            },
        })
        .collect())
}

/// The letters of a shorter name are anybody's.
const SHORTEST_NAME: usize = 5;

/// Returns whether two names look alike: the same letters and digits, whatever lies between, their case and their form.
///
/// Names of Instagram are never given twice, so there nobody can bear the account's.
fn is_the_same(author: &str, account: Option<&str>) -> bool {
    let letters = |name: &str| -> String {
        name.nfkc().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let account = account.map(letters).unwrap_or_default();
    account.chars().count() >= SHORTEST_NAME && letters(author.trim_start_matches('@')) == account
}

/// Returns labels as they are stored, or nothing where this build does not know them: then it reads again.
fn stored(
    sentiment: &str,
    categories: Option<Vec<String>>,
    language: Option<String>,
    keywords: Option<Vec<String>>,
    confidences: Option<Value>,
) -> Option<Labels> {
    Some(Labels {
        sentiment: Sentiment::named(sentiment)?,
        categories: categories?.iter().map(|name| Category::named(name)).collect::<Option<_>>()?,
        language: language?,
        keywords: keywords?,
        confidences: match confidences {
            Some(value) => serde_json::from_value(value).ok()?,
            None => Confidences::default(),
        },
    })
}

/// A connection with comments that are to be read or ranked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Behind {
    pub(crate) connection: ConnectionId,
    pub(crate) user: UserId,
    /// Whether its owner has ended it; then nothing more is read, or paid for.
    pub(crate) ended: bool,
}

/// Returns connections with something to read or rank, in the order of their ids, after one of them.
pub(crate) async fn behind(
    conn: &mut PgConnection,
    platform: Platform,
    after: Option<ConnectionId>,
    limit: i64,
) -> Result<Vec<Behind>, sqlx::Error> {
    let after = after.map_or(Uuid::nil(), |id| id.0);
    // From one connection to the next by the index, however many comments lie between.
    macro_rules! walk {
        ($comments:literal, $by_owner:literal, $connections:literal) => {
            sqlx::query_as!(
                Behind,
                r#"with recursive walk as (
                       (select c.connection_id as id from "# + $comments + r#" c
                         where c.priority_breakdown is null and c.deleted_at is null and not c."# + $by_owner + r#"
                           and c.connection_id > $1
                         order by c.connection_id limit 1)
                       union all
                       select (select c.connection_id from "# + $comments + r#" c
                                where c.priority_breakdown is null and c.deleted_at is null and not c."# + $by_owner + r#"
                                  and c.connection_id > walk.id
                                order by c.connection_id limit 1)
                         from walk where walk.id is not null
                   )
                   select walk.id as "connection!: ConnectionId", o.user_id as "user!: UserId",
                          o.connection_status = 'disconnected' as "ended!"
                     from (select id from walk where id is not null limit $2) walk
                     join "# + $connections + r#" o on o.id = walk.id
                    order by walk.id"#,
                after,
                limit,
            )
            .fetch_all(conn)
            .await
        };
    }
    match platform {
        Platform::Youtube => walk!("youtube_comments", "is_channel_owner_comment", "youtube_connections"),
        _ => walk!("instagram_comments", "is_owner_comment", "instagram_connections"),
    }
}

/// Returns whose a connection is, unless it is gone.
pub(crate) async fn owner(
    conn: &mut PgConnection,
    platform: Platform,
    connection: ConnectionId,
) -> Result<Option<UserId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select user_id as "user!: UserId" from youtube_connections where id = $1 and $2 = 'youtube'
           union all
           select user_id from instagram_connections where id = $1 and $2 = 'instagram'"#,
        connection.0,
        platform.as_str(),
    )
    .fetch_optional(conn)
    .await
}

/// Returns the next connection whose comments are stored here, in the order of ids; or the one that is named.
pub(crate) async fn connection_at(
    conn: &mut PgConnection,
    only: Option<ConnectionId>,
    after: Option<ConnectionId>,
) -> Result<Option<(Platform, ConnectionId)>, sqlx::Error> {
    let row = sqlx::query!(
        r#"(select 'youtube' as "platform!", id as "id!: ConnectionId" from youtube_connections
             where id > $1 and id = coalesce($2::uuid, id)
             order by id limit 1)
           union all
           (select 'instagram', id from instagram_connections
             where id > $1 and id = coalesce($2::uuid, id)
             order by id limit 1)
           order by 2 limit 1"#,
        after.map_or(Uuid::nil(), |id| id.0),
        only.map(|id| id.0),
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| {
        let platform = if row.platform == "youtube" { Platform::Youtube } else { Platform::Instagram };
        (platform, row.id)
    }))
}
