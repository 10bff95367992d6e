//! `greenroom sync`: a sync that an operator asks for, as the account's own request.

use clap::Subcommand;
use greenroom_connections::youtube::{self, Status};
use greenroom_model::{ConnectionId, JobId};
use greenroom_queue::Queue;
use greenroom_youtube::{Error as YoutubeError, request_sync};
use serde::Serialize;

use super::follow::follow;
use crate::{CliError, Terminal};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Enqueues a sync of a connected channel, at the price of a requested one.
    Run {
        /// The connection, an id of `youtube_connections`.
        connection: ConnectionId,
        /// Follows the sync to its end; exits 1 if it fails.
        #[arg(long)]
        wait: bool,
    },
}

#[derive(Serialize)]
struct Requested {
    /// The job that syncs.
    id: JobId,
    connection_id: ConnectionId,
    /// False where a sync of this connection was open already.
    created: bool,
}

pub(super) async fn run(command: Command, terminal: &mut Terminal) -> Result<(), CliError> {
    let Command::Run { connection, wait } = command;
    let pool = terminal.database().await?;
    let queue = Queue::new(pool.clone());
    let mut tx = pool.begin().await?;
    let found = youtube::find(&mut tx, connection).await?.ok_or(YoutubeError::NotFound(connection))?;
    // A run would find the same, but later and in a log that nobody reads now.
    match found.status {
        Status::Active => {}
        Status::Disconnected => return Err(YoutubeError::NotActive("disconnected".to_owned()).into()),
        Status::Error => {
            let why = found.error.unwrap_or_else(|| "in error".to_owned());
            return Err(YoutubeError::NotActive(why).into());
        }
    }
    let enqueued = request_sync(&mut tx, connection, found.user_id).await?;
    tx.commit().await?;
    queue.wake(std::slice::from_ref(&enqueued));
    let requested = Requested { id: enqueued.id, connection_id: connection, created: enqueued.created() };
    // A document says so itself, and an error after it stands alone on standard error.
    if !requested.created && !terminal.json {
        terminal.note(&format!("note: a sync of this connection is open already: job {}", requested.id));
    }
    if wait {
        return follow(&pool, requested.id, terminal).await;
    }
    terminal.answer(&requested, || requested.id.to_string())
}

#[cfg(test)]
mod tests {
    use greenroom_connections::youtube::{NewConnection, connect};
    use greenroom_model::UserId;
    use greenroom_testkit::Database;
    use greenroom_vault::{Vault, generate_key};

    use super::*;
    use crate::testing::Call;

    async fn connected(db: &Database) -> ConnectionId {
        let mut conn = db.pool().acquire().await.unwrap();
        let sql = "insert into users (email) values ('creator@example.test') returning id";
        let user: UserId = sqlx::query_scalar(sql).fetch_one(&mut *conn).await.unwrap();
        let vault = Vault::from_keys(generate_key().expose()).unwrap();
        let new = NewConnection {
            user,
            channel_id: "UC0123456789012345678901".to_owned(),
            channel_name: None,
            access_token: "access".into(),
            refresh_token: Some("refresh".into()),
            expires_at: None,
        };
        connect(&mut conn, &vault, new).await.unwrap()
    }

    #[tokio::test]
    async fn a_requested_sync_is_enqueued_once_for_the_connection_s_owner() {
        let db = Database::new().await;
        let connection = connected(&db).await.to_string();
        let args = ["sync", "run", &connection, "--json"];
        let first = Call::new(&args).database(&db).run().await.document();
        assert_eq!((&first["created"], &first["connection_id"]), (&true.into(), &connection.as_str().into()));
        let said = Call::new(&args).database(&db).run().await;
        let second = said.document();
        assert_eq!(said.err, "");
        assert_eq!((&second["created"], &second["id"]), (&false.into(), &first["id"]));
        let id = first["id"].as_str().unwrap();
        let job = Call::new(&["jobs", "show", id, "--json"]).database(&db).run().await.document();
        assert_eq!(
            (&job["kind"], &job["payload"]["trigger"]),
            (&"youtube.sync_channel".into(), &"requested".into())
        );
        assert!(job["user_id"].is_string());
    }

    #[tokio::test]
    async fn waiting_tells_the_end_and_fails_with_the_job() {
        let db = Database::new().await;
        let connection = connected(&db).await.to_string();
        let waiting = Call::new(&["sync", "run", &connection, "--wait", "--json"]).database(&db).run();
        let waiting = tokio::spawn(waiting);
        let sql = "update background_jobs set status = 'completed', completed_at = greenroom.now(),
                          result = '{\"pages\": 3}' returning id";
        while sqlx::query(sql).fetch_all(db.pool()).await.unwrap().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let job = waiting.await.unwrap().document();
        assert_eq!((&job["status"], &job["result"]["pages"]), (&"completed".into(), &3.into()));

        let again = Call::new(&["sync", "run", &connection]).database(&db).run().await.out;
        let waiting = Call::new(&["sync", "run", &connection, "--wait"]).database(&db);
        let err = waiting.err.clone();
        let waiting = tokio::spawn(waiting.run());
        // Cancelled any earlier, the job would not be open for it to join.
        while !err.text().contains("is open already") {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let cancelled = Call::new(&["jobs", "cancel", again.trim()]).database(&db).run().await;
        assert_eq!(cancelled.code(), 0, "{}", cancelled.err);
        let said = waiting.await.unwrap();
        assert_eq!(said.code(), 1, "{}", said.err);
        assert!(said.err.contains("failed (cancelled)"), "{}", said.err);
    }

    #[tokio::test]
    async fn a_connection_that_is_not_there_or_does_not_serve_is_refused() {
        let db = Database::new().await;
        let connection = connected(&db).await.to_string();
        let nobody = ConnectionId::new().to_string();
        assert_eq!(Call::new(&["sync", "run", &nobody]).database(&db).run().await.code(), 3);
        assert_eq!(Call::new(&["sync", "run", "UCxyz"]).database(&db).run().await.code(), 2);
        let sql = "update youtube_connections set connection_status = 'error', connection_error = 'revoked'";
        sqlx::query(sql).execute(db.pool()).await.unwrap();
        let said = Call::new(&["sync", "run", &connection]).database(&db).run().await;
        assert_eq!(said.code(), 4);
        assert!(said.err.contains("the connection is revoked"), "{}", said.err);
    }
}
