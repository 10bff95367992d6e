//! `greenroom.sync_cursors`: how far a stream of a connection is stored.

use greenroom_model::ConnectionId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::PgConnection;

use crate::SyncError;

/// Returns where a stream stands, or nothing when it stands at its beginning.
///
/// A position of another shape, as an older program wrote it, is nothing as well: what is read twice is
/// stored once, while a position that is misread would leave a hole.
pub async fn get<T: DeserializeOwned>(
    conn: &mut PgConnection,
    connection: ConnectionId,
    stream: &str,
) -> Result<Option<T>, SyncError> {
    let position: Option<Value> = sqlx::query_scalar!(
        "select position from greenroom.sync_cursors where connection_id = $1 and stream = $2",
        connection.0,
        stream,
    )
    .fetch_optional(conn)
    .await?;
    let Some(position) = position else { return Ok(None) };
    Ok(serde_json::from_value(position)
        .inspect_err(|error| {
            tracing::warn!(
                connection.id = %connection, stream, %error,
                "The position of stream `{stream}` has another shape; it is read from its beginning"
            );
        })
        .ok())
}

/// Stores where a stream stands, in the transaction of what was read up to there.
pub async fn put<T: Serialize>(
    conn: &mut PgConnection,
    connection: ConnectionId,
    stream: &str,
    position: &T,
) -> Result<(), SyncError> {
    let position = serde_json::to_value(position)
        .map_err(|source| SyncError::Position { stream: stream.to_owned(), source })?;
    sqlx::query!(
        "insert into greenroom.sync_cursors as c (connection_id, stream, position)
         values ($1, $2, $3)
         on conflict (connection_id, stream) do update
            set position = excluded.position, updated_at = greenroom.now()
          where c.position is distinct from excluded.position",
        connection.0,
        stream,
        position,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Sets a stream back to its beginning.
pub async fn clear(conn: &mut PgConnection, connection: ConnectionId, stream: &str) -> Result<(), SyncError> {
    sqlx::query!(
        "delete from greenroom.sync_cursors where connection_id = $1 and stream = $2",
        connection.0,
        stream,
    )
    .execute(conn)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use greenroom_testkit::Database;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Page {
        token: String,
        done: u32,
    }

    #[tokio::test]
    async fn a_stream_stands_where_it_was_put() {
        let db = Database::new().await;
        let mut conn = db.pool().acquire().await.unwrap();
        let (one, other) = (ConnectionId::new(), ConnectionId::new());
        assert_eq!(get::<Page>(&mut conn, one, "uploads").await.unwrap(), None);
        let page = Page { token: "CAUQAA".to_owned(), done: 50 };
        put(&mut conn, one, "uploads", &page).await.unwrap();
        put(&mut conn, one, "uploads", &Page { done: 100, ..page }).await.unwrap();
        assert_eq!(get::<Page>(&mut conn, one, "uploads").await.unwrap().unwrap().done, 100);
        assert_eq!(get::<Page>(&mut conn, other, "uploads").await.unwrap(), None);
        assert_eq!(get::<Page>(&mut conn, one, "comments").await.unwrap(), None);
        clear(&mut conn, one, "uploads").await.unwrap();
        assert_eq!(get::<Page>(&mut conn, one, "uploads").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_position_of_another_shape_begins_anew() {
        let db = Database::new().await;
        let mut conn = db.pool().acquire().await.unwrap();
        let connection = ConnectionId::new();
        put(&mut conn, connection, "uploads", &"an older shape").await.unwrap();
        assert_eq!(get::<Page>(&mut conn, connection, "uploads").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_position_commits_with_its_page() {
        let db = Database::new().await;
        let connection = ConnectionId::new();
        let mut tx = db.pool().begin().await.unwrap();
        put(&mut tx, connection, "uploads", &1).await.unwrap();
        tx.rollback().await.unwrap();
        let mut conn = db.pool().acquire().await.unwrap();
        assert_eq!(get::<u8>(&mut conn, connection, "uploads").await.unwrap(), None);
    }
}
