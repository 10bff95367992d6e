//! `vip_authors`: whose comments come first to a person.

use chrono::{DateTime, Utc};
use greenroom_model::{Platform, UserId};
use serde::Serialize;
use sqlx::{Connection as _, PgConnection};

/// Whoever calls more than these important means nobody.
const MOST: i64 = 1_000;
const LONGEST_ID: usize = 100;

/// An author whose comments come first.
#[derive(Clone, Debug, Serialize)]
pub struct Vip {
    /// To whom they do.
    pub user_id: UserId,
    /// Where the author writes.
    pub platform: String,
    /// Who that is, by the platform's id.
    pub author_id: String,
    /// What they call themselves, by the latest of their comments.
    pub author_name: Option<String>,
    /// Since when they come first.
    pub created_at: DateTime<Utc>,
}

/// Why an author does not come first.
#[derive(Debug, thiserror::Error)]
pub enum VipError {
    /// There are no comments of this platform.
    #[error("no comments of {0} are kept: use youtube or instagram")]
    Platform(Platform),
    /// The author is none.
    #[error("author_id: use the platform's id, of 1 to {LONGEST_ID} characters")]
    Author,
    /// There are too many.
    #[error("this person has {MOST} authors who come first: take one off first")]
    TooMany,
    /// The database refused or was not there.
    #[error("the authors who come first could not be read or written: {0}")]
    Database(#[from] sqlx::Error),
}

/// Lists the authors who come first to a person, the latest first.
pub async fn list(conn: &mut PgConnection, user: UserId) -> Result<Vec<Vip>, VipError> {
    Ok(sqlx::query_as!(
        Vip,
        r#"select v.user_id as "user_id: UserId", v.platform, v.author_id, v.created_at,
                  (select c.author_name
                     from (select id from youtube_connections where user_id = $1
                           union all select id from instagram_connections where user_id = $1) o
                     join greenroom.comments c on c.connection_id = o.id
                    where c.platform = v.platform and c.author_id = v.author_id
                    order by c.published_at desc limit 1) as author_name
             from greenroom.vip_authors v
            where v.user_id = $1
            order by v.created_at desc, v.platform, v.author_id"#,
        user.0,
    )
    .fetch_all(conn)
    .await?)
}

/// Lets an author come first; returns whether that is new. Their comments are ranked again.
pub async fn add(
    conn: &mut PgConnection,
    user: UserId,
    platform: Platform,
    author: &str,
) -> Result<bool, VipError> {
    if !matches!(platform, Platform::Youtube | Platform::Instagram) {
        return Err(VipError::Platform(platform));
    }
    if author.trim().is_empty() || author.chars().count() > LONGEST_ID {
        return Err(VipError::Author);
    }
    let mut tx = conn.begin().await?;
    let done = sqlx::query!(
        "insert into greenroom.vip_authors (user_id, platform, author_id)
         select $1, $2, $3 where (select count(*) from greenroom.vip_authors where user_id = $1) < $4
         on conflict do nothing",
        user.0,
        platform.as_str(),
        author,
        MOST,
    )
    .execute(&mut *tx)
    .await?;
    let is_new = done.rows_affected() == 1;
    if is_new {
        rank_again(&mut tx, user, platform, author).await?;
    } else if !is_vip(&mut tx, user, platform, author).await? {
        return Err(VipError::TooMany);
    }
    tx.commit().await?;
    Ok(is_new)
}

/// Lets an author no longer come first; returns whether they did. Their comments are ranked again.
pub async fn remove(
    conn: &mut PgConnection,
    user: UserId,
    platform: Platform,
    author: &str,
) -> Result<bool, VipError> {
    let mut tx = conn.begin().await?;
    let done = sqlx::query!(
        "delete from greenroom.vip_authors where user_id = $1 and platform = $2 and author_id = $3",
        user.0,
        platform.as_str(),
        author,
    )
    .execute(&mut *tx)
    .await?;
    let was_one = done.rows_affected() == 1;
    if was_one {
        rank_again(&mut tx, user, platform, author).await?;
    }
    tx.commit().await?;
    Ok(was_one)
}

async fn is_vip(
    conn: &mut PgConnection,
    user: UserId,
    platform: Platform,
    author: &str,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from greenroom.vip_authors
                           where user_id = $1 and platform = $2 and author_id = $3) as "is_one!""#,
        user.0,
        platform.as_str(),
        author,
    )
    .fetch_one(conn)
    .await
}

/// Asks for another ranking of what somebody has written to a person.
async fn rank_again(
    conn: &mut PgConnection,
    user: UserId,
    platform: Platform,
    author: &str,
) -> Result<(), sqlx::Error> {
    // Also what is not ranked yet: whoever is at it knows the list as it was, and sees by `updated_at` that it has changed.
    // In the order of ids, as syncs lock them.
    sqlx::query!(
        "with theirs as (
             select c.id from youtube_comments c
               join youtube_connections o on o.id = c.connection_id and o.user_id = $1
              where $2 = 'youtube' and c.author_channel_id = $3
              order by c.comment_id for update of c
         )
         update youtube_comments t set priority_breakdown = null, updated_at = greenroom.now()
           from theirs where t.id = theirs.id",
        user.0,
        platform.as_str(),
        author,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "with theirs as (
             select c.id from instagram_comments c
               join instagram_connections o on o.id = c.connection_id and o.user_id = $1
              where $2 = 'instagram' and c.user_id = $3
              order by c.comment_id for update of c
         )
         update instagram_comments t set priority_breakdown = null, updated_at = greenroom.now()
           from theirs where t.id = theirs.id",
        user.0,
        platform.as_str(),
        author,
    )
    .execute(conn)
    .await?;
    Ok(())
}
