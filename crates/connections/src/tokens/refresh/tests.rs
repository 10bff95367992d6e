//! Refreshes against providers that rotate, are slow, refuse and are away.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use futures::future::join_all;
use greenroom_model::{ConnectionId, UserId};
use greenroom_testkit::Database;
use greenroom_vault::Vault;
use serde_json::json;
use tokio::net::TcpListener;

use super::super::tests::{KEY, World, granted, invalid_grant, open, shown, tokens};
use super::*;
use crate::Tokens;
use crate::store::youtube::{self, NewConnection, Status};

/// A provider whose refresh tokens serve once: whoever shows an old one loses all that came of it.
#[derive(Clone, Default)]
struct Rotating(Arc<Mutex<Families>>);

#[derive(Default)]
struct Families {
    /// The token that serves, by its family; nothing once one was used twice.
    serving: HashMap<String, Option<String>>,
    issued: u64,
    reused: u64,
    slowest: u64,
}

impl Rotating {
    async fn serve(slowest_ms: u64) -> (Self, String) {
        let provider = Self::default();
        provider.0.lock().unwrap().slowest = slowest_ms;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let router = Router::new().route("/token", post(Self::token)).with_state(provider.clone());
        tokio::spawn(async { axum::serve(listener, router).await });
        (provider, url)
    }

    async fn token(State(provider): State<Self>, form: String) -> (StatusCode, String) {
        let shown =
            form.split('&').find_map(|field| field.strip_prefix("refresh_token=")).unwrap().to_owned();
        let shown = &shown;
        let family = shown.split('.').next().unwrap().to_owned();
        let answer = {
            let mut families = provider.0.lock().unwrap();
            families.issued += 1;
            let next = format!("{family}.{}", families.issued);
            let serving = families.serving.entry(family).or_insert_with(|| Some(shown.clone()));
            let fits = serving.as_deref() == Some(shown);
            *serving = fits.then(|| next.clone());
            families.reused += u64::from(!fits);
            fits.then_some(next)
        };
        // It has rotated already when its answer is on the way.
        let slowest = provider.0.lock().unwrap().slowest;
        let late = rand::random_range(0..=slowest);
        tokio::time::sleep(Duration::from_millis(late)).await;
        match answer {
            Some(next) => {
                let body =
                    json!({"access_token": format!("at-{next}"), "refresh_token": next, "expires_in": 3_600});
                (StatusCode::OK, body.to_string())
            }
            None => (StatusCode::BAD_REQUEST, json!({"error": "invalid_grant"}).to_string()),
        }
    }

    fn reused(&self) -> u64 {
        self.0.lock().unwrap().reused
    }
}

async fn connect(db: &Database, n: usize) -> Vec<ConnectionId> {
    let user = UserId::new();
    sqlx::query!("insert into users (id, email) values ($1, 'many@example.test')", user.0)
        .execute(db.pool())
        .await
        .unwrap();
    let vault = Vault::from_keys(KEY).unwrap();
    let mut ids = Vec::new();
    for n in 0..n {
        let new = NewConnection {
            user,
            channel_id: format!("UC-{n}"),
            channel_name: None,
            access_token: "at-first".into(),
            refresh_token: Some(format!("family{n}.0").as_str().into()),
            expires_at: Some(db.clock().now()),
        };
        ids.push(youtube::connect(&mut db.pool().acquire().await.unwrap(), &vault, new).await.unwrap());
    }
    ids
}

/// Every worker wants a token of every connection, again and again as they end.
async fn contend(workers: usize, connections: usize, ends: usize, slowest_ms: u64) {
    let db = Database::new().await;
    let (provider, url) = Rotating::serve(slowest_ms).await;
    let ids = connect(&db, connections).await;
    // As many processes: each has flights of its own.
    let processes: Vec<Tokens> = (0..workers).map(|_| tokens(&db, &url, KEY, true)).collect();
    for _ in 0..ends {
        let wants =
            processes.iter().flat_map(|tokens| ids.iter().map(move |id| tokens.fresh(Which::youtube(*id))));
        for outcome in join_all(wants).await {
            outcome.unwrap();
        }
        db.advance(Duration::from_hours(2)).await;
    }
    assert_eq!(provider.reused(), 0, "a refresh token was used twice");
    let well = sqlx::query_scalar!(
        r#"select count(*) as "n!" from youtube_connections
            where connection_status = 'active' and refresh_lease_owner is null and token_version = $1"#,
        i64::try_from(ends).unwrap()
    );
    assert_eq!(well.fetch_one(db.pool()).await.unwrap(), i64::try_from(connections).unwrap());
    println!("{workers} workers, {connections} connections, {ends} expiries: no token was used twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_rotate_are_used_once_however_many_want_one() {
    contend(4, 10, 3, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long, 5 minutes"]
async fn long_tokens_that_rotate_are_used_once_however_many_want_one() {
    contend(20, 100, 50, 1_000).await;
}

impl World {
    async fn kind(&self) -> Option<String> {
        sqlx::query_scalar!("select refresh_error_kind from youtube_connections")
            .fetch_one(self.db.pool())
            .await
            .unwrap()
    }

    async fn version(&self) -> i64 {
        self.row().await.version
    }
}

#[tokio::test]
async fn a_revoked_token_is_believed_the_second_time_a_minute_later() {
    let world = World::new(-1).await;
    for _ in 0..2 {
        world.endpoint.reply(400, invalid_grant());
    }
    assert!(matches!(world.fresh().await, Err(TokenError::Suspected(_))));
    assert_eq!(world.kind().await.as_deref(), Some("invalid_grant"));
    assert_eq!(world.row().await.status, Status::Active);
    assert!(matches!(world.fresh().await, Err(TokenError::Suspected(_))), "not before a minute");
    assert_eq!(world.endpoint.calls(), 1);
    world.db.advance(Duration::from_secs(61)).await;
    assert_eq!(world.fresh().await.unwrap_err().class(), Class::Reauthorise);
    let row = world.row().await;
    assert_eq!((row.status, row.error.as_deref()), (Status::Error, Some("reauth_required")));
    assert_eq!(open(row.refresh_token.as_ref()), "1//refresh", "kept until its owner connects again");
    assert!(world.fresh().await.is_err());
    assert_eq!(world.endpoint.calls(), 2, "and nobody asks any more");
    assert_eq!(world.notices().await, ["connection_error"]);
}

impl World {
    async fn notices(&self) -> Vec<String> {
        let sql = "select step from greenroom.email_outbox";
        sqlx::query_scalar(sql).fetch_all(self.db.pool()).await.unwrap()
    }
}

#[tokio::test]
async fn a_suspicion_that_does_not_hold_is_forgotten() {
    let world = World::new(-1).await;
    world.endpoint.reply(400, invalid_grant());
    world.endpoint.reply(200, granted("ya29.second"));
    assert!(world.fresh().await.is_err());
    world.db.advance(Duration::from_secs(61)).await;
    assert_eq!(world.fresh().await.unwrap().0, "ya29.second");
    assert_eq!(world.kind().await, None);
}

#[tokio::test]
async fn who_answers_after_the_lease_has_run_out_writes_nothing() {
    let world = World::new(-1).await;
    world.endpoint.shut();
    let mut rotated = granted("ya29.late");
    rotated["refresh_token"] = json!("1//late");
    world.endpoint.reply(200, rotated);
    let (slow, id) = (world.tokens.clone(), world.id);
    let late = tokio::spawn(async move { slow.fresh(Which::youtube(id)).await.map(shown) });
    world.endpoint.called().await;
    // Two minutes later another process takes the lease and is served at once.
    world.db.advance(Duration::from_secs(121)).await;
    let (_, url) = Rotating::serve(0).await;
    let other = tokens(&world.db, &url, KEY, true);
    let theirs = other.fresh(Which::youtube(world.id)).await.map(shown).unwrap();
    world.endpoint.open();
    assert_eq!(late.await.unwrap().unwrap(), theirs);
    assert_eq!(world.version().await, 1);
    // What was rotated to the late one is kept, and serves when the stored one does not.
    world.endpoint.reply(400, invalid_grant());
    world.endpoint.reply(200, granted("ya29.third"));
    world.db.advance(Duration::from_hours(2)).await;
    assert_eq!(world.fresh().await.unwrap().0, "ya29.third");
    let forms = world.endpoint.forms();
    assert!(forms.last().unwrap().contains("1%2F%2Flate"), "{forms:?}");
    assert_eq!(open(world.row().await.refresh_token.as_ref()), "1//late");
    let left = sqlx::query_scalar!(r#"select count(*) as "n!" from greenroom.token_orphans"#);
    assert_eq!(left.fetch_one(world.db.pool()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_lease_that_nobody_gives_back_runs_out() {
    let world = World::new(-1).await;
    // As a process leaves it that was killed between the answer and the row.
    sqlx::query!(
        "update youtube_connections
            set refresh_lease_owner = gen_random_uuid(), refresh_lease_until = greenroom.now() + interval '2 min'"
    )
    .execute(world.db.pool())
    .await
    .unwrap();
    let (tokens, id) = (world.tokens.clone(), world.id);
    let waits = tokio::spawn(async move { tokens.fresh(Which::youtube(id)).await.map(shown) });
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(world.endpoint.calls(), 0, "another's lease is respected");
    world.endpoint.reply(200, granted("ya29.second"));
    world.db.advance(Duration::from_mins(2)).await;
    assert_eq!(waits.await.unwrap().unwrap().0, "ya29.second");
}

#[tokio::test]
async fn while_many_are_refused_at_once_nobody_is_asked_to_connect_again() {
    let world = World::new(-1).await;
    let others = connect(&world.db, 24).await;
    sqlx::query!(
        "update youtube_connections set refresh_error_kind = 'invalid_grant', refresh_failures = 1,
                refresh_failed_at = greenroom.now() - interval '2 min'"
    )
    .execute(world.db.pool())
    .await
    .unwrap();
    for _ in 0..25 {
        world.endpoint.reply(400, invalid_grant());
    }
    for id in others.iter().chain([&world.id]) {
        assert!(matches!(world.tokens.fresh(Which::youtube(*id)).await, Err(TokenError::Storm(_))));
    }
    let marked = sqlx::query_scalar!(
        r#"select count(*) as "n!" from youtube_connections where connection_status <> 'active'"#
    );
    assert_eq!(marked.fetch_one(world.db.pool()).await.unwrap(), 0);
    assert!(world.notices().await.is_empty(), "nobody is told");
}

#[tokio::test]
async fn a_day_without_an_answer_is_shown_and_ends_by_itself() {
    let world = World::new(-1).await;
    world.db.advance(Duration::from_hours(25)).await;
    assert_eq!(world.fresh().await.unwrap_err().class(), Class::Retry);
    let row = world.row().await;
    assert_eq!((row.status, row.error.as_deref()), (Status::Error, Some("refresh_unavailable")));
    world.endpoint.reply(200, granted("ya29.second"));
    assert_eq!(world.fresh().await.unwrap().0, "ya29.second");
    assert_eq!(world.row().await.status, Status::Active);
}

#[test]
fn failures_are_spaced_out_to_an_hour() {
    for (failures, minutes) in [(0, 1.0), (1, 2.0), (3, 8.0), (6, 60.0), (40, 60.0)] {
        let wait = backoff(failures).as_seconds_f64() / 60.0;
        assert!((0.74 * minutes..=1.26 * minutes).contains(&wait), "{failures}: {wait}");
    }
}

#[test]
fn refreshes_are_spread() {
    for _ in 0..100 {
        assert!(jitter(TimeDelta::hours(1)) <= TimeDelta::minutes(6));
        assert!(jitter(TimeDelta::days(60)) <= TimeDelta::days(3));
    }
}

#[test]
fn a_few_are_no_storm() {
    let is = |refused, refreshed| is_storm(&Recent { refused, refreshed });
    assert!(!is(19, 0) && is(20, 0) && !is(20, 80) && is(21, 79));
}
