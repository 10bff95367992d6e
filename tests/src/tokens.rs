//! Tokens in the whole house: who dies while he refreshes one, and who could ever read one.

use std::collections::BTreeSet;
use std::time::Duration;

use greenroom_connections::{Kind, Which, find, request_refresh};
use greenroom_queue::Queue;
use greenroom_sandbox::{Endpoint, Fault, Rule};
use greenroom_vault::Vault;
use sqlx::AssertSqlSafe;

use crate::process::WorkerProcess;
use crate::world::{Creator, World};

const QUEUES: &str = "tokens,housekeeping";

impl World {
    /// Enqueues a refresh, as an operator would.
    async fn refresh(&self, creator: &Creator) {
        let mut conn = self.pool().acquire().await.unwrap();
        let connection = find(&mut conn, creator.connection).await.unwrap().unwrap();
        assert_eq!(connection.which(), Which { kind: Kind::Youtube, id: creator.connection });
        let job = request_refresh(&mut conn, &connection).await.unwrap();
        Queue::new(self.pool().clone()).wake(std::slice::from_ref(&job));
    }

    async fn until_called(&self, endpoint: Endpoint, calls: u64) {
        while self.sandbox.stats().calls(endpoint) < calls {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn sql(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(self.pool()).await.unwrap();
    }
}

/// The refresh is done by whoever comes after the lease, and nothing of the dead one's is left.
async fn is_recovered(world: &World, mut heir: WorkerProcess) {
    // Nobody may ask before the lease of the dead has run out.
    world.db.advance(Duration::from_secs(121)).await;
    world.until("select token_version = 1 and refresh_lease_until is null from youtube_connections").await;
    world.until_idle().await;
    let row = "select connection_status || coalesce(connection_error, '') || refresh_failures from youtube_connections";
    assert_eq!(world.list(row).await, ["active0"]);
    assert!(heir.stop().await.0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_killed_while_he_asks_is_followed_by_another() {
    let world = World::new(3, 10).await;
    let creator = world.creator().await;
    world.sandbox.inject(Rule::next(Endpoint::Token, Fault::Delay { millis: 60_000 }));
    world.refresh(&creator).await;
    let killed = WorkerProcess::start(&world, QUEUES);
    world.until_called(Endpoint::Token, 1).await;
    killed.kill();
    assert_eq!(
        world.list("select (refresh_lease_until is not null)::text from youtube_connections").await,
        ["true"]
    );
    is_recovered(&world, WorkerProcess::start(&world, QUEUES)).await;
    assert_eq!(world.sandbox.stats().answers(Endpoint::Token, 200), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_killed_with_the_answer_in_hand_is_followed_by_another() {
    let world = World::new(3, 10).await;
    let creator = world.creator().await;
    // Until it is taken back, nobody can store a token.
    world.sandbox.inject(Rule::next(Endpoint::Token, Fault::Delay { millis: 300 }));
    world.refresh(&creator).await;
    let killed = WorkerProcess::start(&world, QUEUES);
    world.until_called(Endpoint::Token, 1).await;
    let mut holder = world.pool().begin().await.unwrap();
    sqlx::raw_sql("select from youtube_connections for update").execute(&mut *holder).await.unwrap();
    while world.sandbox.stats().answers(Endpoint::Token, 200) < 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world
        .until("select exists (select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database())")
        .await;
    killed.kill();
    holder.rollback().await.unwrap();
    let version = "select token_version from youtube_connections";
    // What the dead one had sent may still be carried out by the server, or not.
    tokio::time::sleep(Duration::from_millis(200)).await;
    if world.number(version).await == 0 {
        is_recovered(&world, WorkerProcess::start(&world, QUEUES)).await;
    } else {
        let mut heir = WorkerProcess::start(&world, QUEUES);
        world.until_idle().await;
        assert_eq!(world.list("select connection_status from youtube_connections").await, ["active"]);
        assert!(heir.stop().await.0.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_killed_once_the_token_is_stored_costs_no_second_one() {
    let world = World::new(3, 10).await;
    let creator = world.creator().await;
    // The token is stored at once, and the run cannot end.
    world.sandbox.inject(Rule::next(Endpoint::Token, Fault::Delay { millis: 300 }));
    world.refresh(&creator).await;
    let killed = WorkerProcess::start(&world, QUEUES);
    world.until_called(Endpoint::Token, 1).await;
    let mut holder = world.pool().begin().await.unwrap();
    let run = "select from sync_logs where status = 'pending' for update";
    assert_eq!(sqlx::raw_sql(run).execute(&mut *holder).await.unwrap().rows_affected(), 1);
    world.until("select token_version = 1 from youtube_connections").await;
    killed.kill();
    holder.rollback().await.unwrap();
    is_recovered(&world, WorkerProcess::start(&world, QUEUES)).await;
    assert_eq!(world.sandbox.stats().calls(Endpoint::Token), 1);
    assert_eq!(world.list("select distinct status from sync_logs").await, ["success"]);
}

/// What must not be read anywhere: pieces of every secret of the world.
fn pieces(secrets: &[String]) -> BTreeSet<String> {
    let mut pieces = BTreeSet::new();
    for secret in secrets {
        let letters: Vec<char> = secret.chars().collect();
        pieces.extend(letters.windows(12).map(|piece| piece.iter().collect::<String>()));
    }
    pieces
}

/// Names the first place where a piece of a secret stands.
fn tells(text: &str, pieces: &BTreeSet<String>) -> Option<String> {
    let letters: Vec<char> = text.chars().collect();
    let at = letters.windows(12).position(|piece| pieces.contains(&piece.iter().collect::<String>()))?;
    Some(letters[at.saturating_sub(80)..(at + 40).min(letters.len())].iter().collect())
}

#[test]
fn a_piece_of_a_secret_is_found() {
    let pieces = pieces(&["1//0abcdefghijklmnop".to_owned()]);
    assert!(tells("… bcdefghijklm …", &pieces).is_some());
    assert!(tells("… bcdefghijkl …", &pieces).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_tells_a_token_whatever_happens_at_the_finest_level() {
    let world = World::new(5, 40).await;
    let creator = world.creator().await;
    let google = world.sandbox.google();
    let env = [
        ("GREENROOM__LOG__FILTER", "trace"),
        ("GREENROOM__HTTP__TIMEOUT_SECS", "1"),
        ("GREENROOM__HTTP__MAX_TRIES", "1"),
    ];
    let mut worker = WorkerProcess::start_in(&world, "youtube,tokens,housekeeping", &env);

    // It goes well, also where the platform refuses an access token in the middle.
    world.sandbox.inject(Rule::next(Endpoint::Videos, Fault::ExpireTokens));
    world.request(&creator).await;
    world.until_idle().await;
    assert!(world.number("select count(*) from youtube_comments").await > 0);

    // It goes wrong in every way that there is, and the provider says what it should not.
    let echo = format!("the token {} and Bearer {} are wrong", google.refresh_token, google.client_secret);
    let error =
        |status, reason: &str| Fault::Error { status, reason: reason.to_owned(), retry_after_secs: None };
    let raw = |status, body: String| Fault::Raw { status, content_type: "application/json".to_owned(), body };
    let oauth = |code: &str| serde_json::json!({"error": code, "error_description": echo}).to_string();
    for fault in [
        error(400, "invalid_grant"),
        error(401, "invalid_client"),
        error(500, "backend_error"),
        raw(400, oauth("invalid_request")),
        raw(400, oauth("invalid_grant")),
        raw(200, format!("not JSON: {}", google.refresh_token)),
        raw(200, format!(r#"{{"access_token": 7, "refresh_token": "{}"}}"#, google.refresh_token)),
        Fault::Delay { millis: 1_500 },
        Fault::Reset,
    ] {
        let calls = world.sandbox.stats().calls(Endpoint::Token);
        world.sandbox.inject(Rule::next(Endpoint::Token, fault));
        world.refresh(&creator).await;
        world.until_called(Endpoint::Token, calls + 1).await;
        world.until("select not exists (select from background_jobs where status = 'running')").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        // As if nothing had been: the next fault is the first.
        world
            .sql(
                "delete from background_jobs;
                 update greenroom.pools set open_until = null, failures = 0, trips = 0, open_reason = null;
                 update youtube_connections set refresh_failures = 0, refresh_failed_at = null, refresh_error_kind = null,
                     connection_status = 'active', connection_error = null",
            )
            .await;
    }
    assert!(worker.stop().await.0.success());

    let vault = Vault::from_keys(world.key.expose()).unwrap();
    let stored = world.list("select access_token from youtube_connections").await;
    let access = vault.open(&stored[0]).unwrap().expose().to_owned();
    let secrets =
        [google.refresh_token.clone(), google.client_secret.clone(), access, world.key.expose().to_owned()];
    // What a platform was asked: a bearer opens it, and nothing else of ours is in it.
    let others = pieces(&[google.refresh_token, google.client_secret, world.key.expose().to_owned()]);
    let asked = world.sandbox.transcript();
    assert!(asked.iter().any(|(path, _)| path == "/token") && asked.len() > 10);
    for (path, request) in asked.iter().filter(|(path, _)| path != "/token") {
        assert_eq!(tells(request, &others), None, "{path} was told");
        assert!(!request.contains("access_token="), "{path} was told in its address");
    }
    let pieces = pieces(&secrets);
    let log = worker.log();
    assert!(log.contains("TRACE"), "it was to tell everything");
    assert_eq!(tells(&log, &pieces), None, "the log tells");
    let tables = world
        .list(
            "select table_schema || '.' || table_name from information_schema.tables
                where table_schema in ('public', 'greenroom') and table_type = 'BASE TABLE'",
        )
        .await;
    assert!(tables.len() > 48);
    for table in tables {
        let rows = world.list(&format!("select to_jsonb(t)::text from {table} t")).await;
        assert_eq!(tells(&rows.join("\n"), &pieces), None, "{table} tells");
    }
}
