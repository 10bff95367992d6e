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

/// Returns where all streams stand whose names begin with `prefix`, by the rest of their names.
pub async fn under<T: DeserializeOwned>(
    conn: &mut PgConnection,
    connection: ConnectionId,
    prefix: &str,
) -> Result<Vec<(String, T)>, SyncError> {
    let rows = sqlx::query!(
        "select stream, position from greenroom.sync_cursors
          where connection_id = $1 and starts_with(stream, $2)",
        connection.0,
        prefix,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let name = row.stream.get(prefix.len()..)?.to_owned();
            serde_json::from_value(row.position).ok().map(|position| (name, position))
        })
        .collect())
}

/// Forgets where every stream of a connection stands.
pub async fn clear_all(conn: &mut PgConnection, connection: ConnectionId) -> Result<(), SyncError> {
    sqlx::query!("delete from greenroom.sync_cursors where connection_id = $1", connection.0)
        .execute(conn)
        .await?;
    Ok(())
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
    async fn streams_are_found_by_the_beginning_of_their_names() {
        let db = Database::new().await;
        let mut conn = db.pool().acquire().await.unwrap();
        let (one, other) = (ConnectionId::new(), ConnectionId::new());
        for (connection, stream) in
            [(one, "comments:v1"), (one, "comments:v_"), (one, "uploads"), (other, "comments:v1")]
        {
            put(&mut conn, connection, stream, &stream).await.unwrap();
        }
        let mut found: Vec<(String, String)> = under(&mut conn, one, "comments:").await.unwrap();
        found.sort();
        let named = |name: &str| (name.to_owned(), format!("comments:{name}"));
        assert_eq!(found, [named("v1"), named("v_")]);
        assert_eq!(under::<Page>(&mut conn, one, "comments:").await.unwrap(), []);
        clear_all(&mut conn, one).await.unwrap();
        assert_eq!(under::<String>(&mut conn, one, "").await.unwrap(), []);
        assert_eq!(under::<String>(&mut conn, other, "").await.unwrap().len(), 1);
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
