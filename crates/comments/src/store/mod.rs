//! One file a table; the same rules in both.

pub(crate) mod cache;
mod instagram_comments;
pub(crate) mod ranked;
pub(crate) mod unranked;
mod youtube_comments;

use greenroom_model::{ConnectionId, Platform};
use sqlx::{Connection as _, PgConnection};

use crate::incoming::touched_threads;
use crate::{CommentsError, IncomingComment, Upserted};

/// Stores comments as a platform tells them, in one transaction or as a part of the caller's.
///
/// A comment handed over twice counts as it stands last.
pub async fn upsert_many(
    conn: &mut PgConnection,
    platform: Platform,
    connection: ConnectionId,
    comments: &[IncomingComment],
) -> Result<Upserted, CommentsError> {
    let mut tx = conn.begin().await?;
    // The plan of a prepared statement outlives the moment it was made in. Made while a table is nearly
    // empty it reads the whole of it, and goes on to until the next analyze: a first sync of 100,000
    // comments took 21 s instead of 12, most of it in that one minute.
    sqlx::query!("set local enable_seqscan = off").execute(&mut *tx).await?;
    let threads = touched_threads(comments);
    let owners: Vec<String> =
        comments.iter().filter(|one| one.by_owner).map(|one| one.comment_id.clone()).collect();
    // Several statements: the later ones must see what the first has stored.
    let upserted = match platform {
        Platform::Youtube => {
            let upserted = youtube_comments::upsert_many(&mut tx, connection, comments).await?;
            youtube_comments::note_answers(&mut tx, connection, &threads).await?;
            youtube_comments::note_owners(&mut tx, connection, &owners).await?;
            upserted
        }
        Platform::Instagram => {
            let upserted = instagram_comments::upsert_many(&mut tx, connection, comments).await?;
            instagram_comments::note_answers(&mut tx, connection, &threads).await?;
            instagram_comments::note_owners(&mut tx, connection, &owners).await?;
            upserted
        }
        other => return Err(CommentsError::UnsupportedPlatform(other)),
    };
    // Within a caller's transaction the setting would outlast this.
    sqlx::query!("set local enable_seqscan to default").execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(upserted)
}

/// How the counts of a statement come back.
struct Counts {
    inserted: i64,
    updated: i64,
    unchanged: i64,
    owned_elsewhere: i64,
}

impl From<Counts> for Upserted {
    fn from(counts: Counts) -> Self {
        Self {
            inserted: counts.inserted.unsigned_abs(),
            updated: counts.updated.unsigned_abs(),
            unchanged: counts.unchanged.unsigned_abs(),
            owned_elsewhere: counts.owned_elsewhere.unsigned_abs(),
        }
    }
}
