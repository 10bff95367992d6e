//! Every rule, on both tables.

/// A statement about the table of a platform.
macro_rules! on {
    ($platform:expr, $before:literal, $($after:tt)+) => {
        match $platform {
            Platform::Youtube => concat!($before, "youtube_comments", $($after)+),
            _ => concat!($before, "instagram_comments", $($after)+),
        }
    };
}

/// Sets columns of one comment, as people and readers do.
macro_rules! set {
    ($world:expr, $id:expr, $columns:literal) => {{
        let sql = on!($world.platform, "update ", concat!(" set ", $columns, " where comment_id = $1"));
        $world.run(sql, $id).await;
    }};
}

mod enrichment;
mod inbox;
mod model;
mod rules;

use chrono::{DateTime, TimeDelta, Utc};
use greenroom_model::{ConnectionId, Platform};
use greenroom_testkit::Database;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{IncomingComment, Upserted, upsert_many};

const BOTH: [Platform; 2] = [Platform::Youtube, Platform::Instagram];

/// A connected account with one video or post.
struct World {
    db: Database,
    platform: Platform,
    connection: ConnectionId,
    piece: Uuid,
}

/// What the tests look at of a stored comment.
#[derive(Debug, FromRow, PartialEq)]
struct Stored {
    text: String,
    author_name: Option<String>,
    like_count: i32,
    status: String,
    sentiment: Option<String>,
    internal_notes: Option<String>,
    replied_at: Option<DateTime<Utc>>,
    response_text: Option<String>,
    deleted_at: Option<DateTime<Utc>>,
}

impl World {
    async fn new(platform: Platform) -> Self {
        let db = Database::new().await;
        let (connection, piece) = account(&db, platform, "1").await;
        Self { db, platform, connection, piece }
    }

    async fn upsert(&self, comments: &[IncomingComment]) -> Upserted {
        let mut conn = self.db.pool().acquire().await.unwrap();
        upsert_many(&mut conn, self.platform, self.connection, comments).await.unwrap()
    }

    /// A comment at the top.
    fn comment(&self, id: &str) -> IncomingComment {
        IncomingComment {
            comment_id: id.to_owned(),
            piece: self.piece,
            parent_comment_id: None,
            author_name: Some("A viewer".to_owned()),
            author_id: Some("viewer".to_owned()),
            by_owner: false,
            text: format!("Comment {id}"),
            published_at: "2026-01-01T10:00:00Z".parse().unwrap(),
            platform_updated_at: None,
            like_count: Some(3),
            reply_count: None,
            liked_by_owner: None,
            moderation_status: None,
            is_hidden: None,
        }
    }

    /// A reply by the owner, so many minutes after the comment.
    fn answer(&self, id: &str, parent: &str, minutes: i64) -> IncomingComment {
        let comment = self.comment(id);
        IncomingComment {
            parent_comment_id: Some(parent.to_owned()),
            by_owner: true,
            text: format!("Answer {id}"),
            published_at: comment.published_at + TimeDelta::minutes(minutes),
            ..comment
        }
    }

    async fn stored(&self, id: &str) -> Stored {
        let sql = match self.platform {
            Platform::Youtube => {
                "select content as text, author_name, like_count, status, sentiment, internal_notes, replied_at,
                        response_text, deleted_at from youtube_comments where comment_id = $1"
            }
            _ => {
                "select text, username as author_name, like_count, status, sentiment, internal_notes, replied_at,
                        response_text, deleted_at from instagram_comments where comment_id = $1"
            }
        };
        sqlx::query_as(sql).bind(id).fetch_one(self.db.pool()).await.unwrap()
    }

    /// Runs a statement about one comment.
    async fn run(&self, sql: &'static str, id: &str) {
        sqlx::query(sql).bind(id).execute(self.db.pool()).await.unwrap();
    }

    /// Where each row's version lies, who wrote it and who locked it.
    async fn versions(&self) -> Vec<(String, String, String, String)> {
        let sql = on!(
            self.platform,
            "select comment_id, ctid::text, xmin::text, xmax::text from ",
            " order by comment_id"
        );
        sqlx::query_as(sql).fetch_all(self.db.pool()).await.unwrap()
    }
}

async fn account(db: &Database, platform: Platform, name: &str) -> (ConnectionId, Uuid) {
    let sql = match platform {
        Platform::Youtube => {
            "with u as (insert into users (email) values ($1 || '@example.com') returning id),
                  c as (insert into youtube_connections (user_id, channel_id) select id, 'UC' || $1 from u
                        returning id),
                  v as (insert into youtube_videos (channel_id, video_id) select id, 'v' || $1 from c returning id)
             select c.id, v.id from c, v"
        }
        _ => {
            "with u as (insert into users (email) values ($1 || '@example.com') returning id),
                  c as (insert into instagram_connections (user_id, instagram_user_id) select id, $1 from u
                        returning id),
                  m as (insert into instagram_media (connection_id, media_id, media_type)
                        select id, 'm' || $1, 'IMAGE' from c returning id)
             select c.id, m.id from c, m"
        }
    };
    let (connection, piece) = sqlx::query_as(sql).bind(name).fetch_one(db.pool()).await.unwrap();
    (ConnectionId(connection), piece)
}
