//! `greenroom connections`: connected accounts, how they stand, and what is the matter with one.

use chrono::{DateTime, Utc};
use clap::Subcommand;
use greenroom_accounts::audit::{self, Action, Entry};
use greenroom_boot::ExposeSecret as _;
use greenroom_connections::{
    Diagnosis, Settings, Summary, Wanted, diagnose, disconnect, find, list, request_refresh,
};
use greenroom_model::ConnectionId;
use greenroom_queue::Queue;
use greenroom_vault::Vault;
use serde_json::json;
use sqlx::Connection as _;

use super::follow::follow;
use crate::{CliError, Terminal};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists connections of every platform.
    List {
        /// Only those that stand so: active or connected, error, disconnected.
        #[arg(long)]
        status: Option<String>,
        /// The last id of the page before.
        #[arg(long, value_name = "ID")]
        after: Option<ConnectionId>,
        /// How many at most.
        #[arg(long, default_value_t = 50)]
        limit: u16,
    },
    /// Says all there is to say of one without showing a token: what is stored and under which key, when it ends, who
    /// is refreshing it, and what went wrong.
    Doctor {
        /// The connection.
        id: ConnectionId,
    },
    /// Enqueues a refresh of a connection's tokens.
    Refresh {
        /// The connection.
        id: ConnectionId,
        /// Follows the refresh to its end; exits 1 if it fails.
        #[arg(long)]
        wait: bool,
    },
    /// Shows how a connection stands.
    Show {
        /// The connection.
        id: ConnectionId,
    },
    /// Ends a connection: its tokens are forgotten here and taken back by the provider, and what was synced through it
    /// goes some days later. Its owner can connect again.
    Disconnect {
        /// The connection.
        id: ConnectionId,
    },
}

pub(super) async fn run(command: Command, terminal: &mut Terminal) -> Result<(), CliError> {
    let pool = terminal.database().await?;
    let mut conn = pool.acquire().await?;
    match command {
        Command::List { status, after, limit } => {
            let wanted = Wanted { status: status.as_deref(), ..Wanted::default() };
            let page = list(&mut conn, &wanted, after, limit).await?;
            let rows: Vec<_> = page.iter().map(row).collect();
            let head = ["id", "platform", "name", "status", "error", "token ends", "failures"];
            terminal.answer_table(&json!({"connections": page}), head, &rows)
        }
        Command::Doctor { id } => {
            let settings: Settings = terminal.config()?.section("tokens")?;
            let vault =
                Vault::from_keys(terminal.secret("ENCRYPTION_KEY")?.expose_secret())?.binding(settings.bind);
            let found = diagnose(&mut conn, &vault, id).await?.ok_or_else(|| unknown(id))?;
            terminal.answer(&found, || told(&found))
        }
        Command::Show { id } => {
            let found = find(&mut conn, id).await?.ok_or_else(|| unknown(id))?;
            let head = ["id", "platform", "name", "status", "error", "token ends", "failures"];
            terminal.answer_table(&json!(found), head, &[row(&found)])
        }
        Command::Disconnect { id } => {
            let mut tx = conn.begin().await?;
            let found = find(&mut tx, id).await?.ok_or_else(|| unknown(id))?;
            let ended = disconnect(&mut tx, found.which(), found.known_platform()).await;
            let revocation = ended.map_err(|error| CliError::Failed(error.to_string()))?;
            if revocation.is_some() {
                let entry = Entry {
                    action: Action::ConnectionDisconnected,
                    user: found.user_id,
                    organization: None,
                    resource_type: found.which().kind.table(),
                    resource_id: id.to_string(),
                    changes: json!({"by": "an operator", "platform": found.platform}),
                };
                audit::record(&mut tx, &entry).await?;
            }
            tx.commit().await?;
            let was_connected = revocation.is_some();
            let queue = Queue::new(pool.clone());
            queue.wake(&revocation.unwrap_or_default());
            queue.flush().await;
            let document = json!({"id": id, "disconnected": was_connected});
            terminal.answer(&document, || {
                if was_connected {
                    "disconnected".to_owned()
                } else {
                    "it was disconnected already".to_owned()
                }
            })
        }
        Command::Refresh { id, wait } => {
            let connection = find(&mut conn, id).await?.ok_or_else(|| unknown(id))?;
            let enqueued = request_refresh(&mut conn, &connection).await?;
            drop(conn);
            Queue::new(pool.clone()).wake(std::slice::from_ref(&enqueued));
            if wait {
                return follow(&pool, enqueued.id, terminal).await;
            }
            let document = json!({"id": enqueued.id, "connection_id": id, "created": enqueued.created()});
            terminal.answer(&document, || enqueued.id.to_string())
        }
    }
}

fn unknown(id: ConnectionId) -> CliError {
    CliError::NotFound(format!("there is no connection {id}"))
}

fn row(of: &Summary) -> [String; 7] {
    [
        of.id.to_string(),
        of.platform.clone(),
        of.name.clone().unwrap_or_default(),
        of.status.clone(),
        of.error.clone().unwrap_or_default(),
        minute(of.token_expires_at),
        of.refresh_failures.to_string(),
    ]
}

fn minute(instant: Option<DateTime<Utc>>) -> String {
    instant.map_or_else(|| "-".to_owned(), |instant| instant.format("%Y-%m-%d %H:%M").to_string())
}

fn told(of: &Diagnosis) -> String {
    let summary = &of.summary;
    let mut lines = vec![
        format!("{} {} ({})", summary.platform, summary.name.as_deref().unwrap_or("-"), summary.id),
        format!(
            "status           {}{}",
            summary.status,
            summary.error.as_ref().map_or(String::new(), |why| format!(": {why}"))
        ),
    ];
    for token in &of.tokens {
        let key = token.key_id.as_ref().map_or(String::new(), |id| format!(" under key {id}"));
        let problem = token.problem.as_ref().map_or(String::new(), |why| format!(": {why}"));
        lines.push(format!("{:<16} {}{key}{problem}", token.column, token.stored));
    }
    lines.extend([
        format!("token ends       {}", minute(summary.token_expires_at)),
        format!("last refreshed   {}, version {}", minute(summary.last_token_refresh_at), of.token_version),
        format!("next refresh     {}", minute(of.next_token_refresh_at)),
        format!("lease until      {}", minute(of.refresh_lease_until)),
    ]);
    if let Some(kind) = &of.refresh_error_kind {
        let (times, at) = (summary.refresh_failures, minute(of.refresh_failed_at));
        lines.push(format!("failed           {times} times in a row, last {at}: {kind}"));
    }
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use greenroom_testkit::Database;
    use serde_json::json;

    use crate::testing::{Call, Said};

    const KEY: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
    const ID: &str = "01920000-0000-7000-8000-00000000000a";

    async fn house() -> Database {
        let db = Database::new().await;
        let sealed = Call::new(&["tokens", "encrypt"])
            .secret("ENCRYPTION_KEY", KEY)
            .input("1//canary")
            .run()
            .await
            .out;
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
            "insert into users (id, email) values ('01920000-0000-7000-8000-000000000001', 'a@example.com');
             insert into youtube_connections (id, user_id, channel_id, access_token, refresh_token, connection_status,
                                              connection_error, refresh_failures, refresh_error_kind, refresh_failed_at)
             values ('{ID}', '01920000-0000-7000-8000-000000000001', 'UC1', 'gAAAAAcut', '{}', 'error',
                     'reauth_required', 2, 'invalid_grant', greenroom.now());
             insert into instagram_connections (user_id, instagram_user_id, username)
             values ('01920000-0000-7000-8000-000000000001', '178', 'ada')",
            sealed.trim()
        )))
        .execute(db.pool())
        .await
        .unwrap();
        db
    }

    async fn connections(db: &Database, args: &[&str]) -> Said {
        let args: Vec<&str> = ["connections"].iter().chain(args).copied().collect();
        Call::new(&args).secret("DATABASE_URL", &db.url()).secret("ENCRYPTION_KEY", KEY).run().await
    }

    #[tokio::test]
    async fn those_that_need_somebody_are_listed() {
        let db = house().await;
        let all = connections(&db, &["list", "--json"]).await.document();
        assert_eq!(all["connections"].as_array().unwrap().len(), 2, "{all}");
        let said = connections(&db, &["list", "--status", "error"]).await;
        assert_eq!(said.out, format!("{ID}\tyoutube\tUC1\terror\treauth_required\t-\t2\n"));
    }

    #[tokio::test]
    async fn a_diagnosis_tells_all_but_the_tokens() {
        let db = house().await;
        let said = connections(&db, &["doctor", ID]).await;
        for part in [
            "error: reauth_required",
            "access_token     undecryptable",
            "refresh_token    encrypted under key ac2e04bc",
            "2 times in a row",
        ] {
            assert!(said.out.contains(part), "{part} is not in\n{}", said.out);
        }
        assert!(!said.out.contains("canary"));
        let found = connections(&db, &["doctor", ID, "--json"]).await.document();
        assert_eq!((&found["tokens"][1]["stored"], &found["status"]), (&json!("encrypted"), &json!("error")));
        assert_eq!(connections(&db, &["doctor", "01920000-0000-7000-8000-0000000000ff"]).await.code(), 3);
    }

    #[tokio::test]
    async fn a_refresh_is_a_job_and_one_at_a_time() {
        let db = house().await;
        greenroom_worker::jobs(None).register(db.pool()).await.unwrap();
        let first = connections(&db, &["refresh", ID, "--json"]).await.document();
        let second = connections(&db, &["refresh", ID, "--json"]).await.document();
        assert_eq!((&first["created"], &second["created"]), (&json!(true), &json!(false)));
        assert_eq!(first["id"], second["id"]);
    }
}
