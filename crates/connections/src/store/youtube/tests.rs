use std::collections::HashSet;

use chrono::TimeDelta;
use greenroom_testkit::Database;
use sqlx::PgPool;

use super::*;
use crate::store::tokens::{Stored, read};

const KEY: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";

fn vault() -> Vault {
    Vault::from_keys(KEY).unwrap()
}

async fn user(pool: &PgPool) -> UserId {
    let id = UserId::new();
    let email = format!("{id}@example.test");
    sqlx::query!("insert into users (id, email) values ($1, $2)", id.0, email).execute(pool).await.unwrap();
    id
}

fn consent(user: UserId, channel: &str) -> NewConnection {
    NewConnection {
        user,
        channel_id: channel.to_owned(),
        channel_name: Some("A channel".to_owned()),
        access_token: "ya29.access".into(),
        refresh_token: Some("1//refresh".into()),
        expires_at: None,
    }
}

async fn connected(pool: &PgPool, new: NewConnection) -> Result<ConnectionId, ConnectError> {
    connect(&mut pool.acquire().await.unwrap(), &vault(), new).await
}

async fn disconnect(pool: &PgPool, id: ConnectionId) {
    sqlx::query!(
        "update youtube_connections
            set connection_status = 'disconnected', access_token = null, refresh_token = null where id = $1",
        id.0
    )
    .execute(pool)
    .await
    .unwrap();
}

async fn stored(pool: &PgPool, id: ConnectionId) -> Stored {
    read(&mut pool.acquire().await.unwrap(), Which::youtube(id)).await.unwrap().unwrap()
}

fn opened(token: Option<&Secret>) -> String {
    vault().open(token.unwrap().expose()).unwrap().expose().to_owned()
}

#[tokio::test]
async fn a_new_connection_is_active_and_sealed() {
    let db = Database::new().await;
    let owner = user(db.pool()).await;
    let id = connected(db.pool(), consent(owner, "UC1")).await.unwrap();

    let found = find(&mut db.pool().acquire().await.unwrap(), id).await.unwrap().unwrap();
    assert_eq!((found.user_id, found.channel_id.as_str(), found.status), (owner, "UC1", Status::Active));
    assert_eq!((found.channel_name.as_deref(), found.error), (Some("A channel"), None));
    let row = stored(db.pool(), id).await;
    assert!(row.access_token.as_ref().unwrap().expose().starts_with("gAAAAA"));
    assert_eq!(opened(row.access_token.as_ref()), "ya29.access");
    assert_eq!(opened(row.refresh_token.as_ref()), "1//refresh");
    assert!(find(&mut db.pool().acquire().await.unwrap(), ConnectionId::new()).await.unwrap().is_none());
}

#[tokio::test]
async fn the_same_owner_s_consent_heals_the_row() {
    let db = Database::new().await;
    let owner = user(db.pool()).await;
    let id = connected(db.pool(), consent(owner, "UC1")).await.unwrap();
    sqlx::query!(
        "update youtube_connections set connection_status = 'error', connection_error = 'reauth_required'"
    )
    .execute(db.pool())
    .await
    .unwrap();
    let again =
        NewConnection { refresh_token: None, access_token: "ya29.second".into(), ..consent(owner, "UC1") };
    assert_eq!(connected(db.pool(), again).await.unwrap(), id);
    let row = stored(db.pool(), id).await;
    assert_eq!((row.status, row.error, row.version), (Status::Active, None, 1));
    assert_eq!(opened(row.access_token.as_ref()), "ya29.second");
    assert_eq!(opened(row.refresh_token.as_ref()), "1//refresh", "a repeated consent may leave it out");

    disconnect(db.pool(), id).await;
    assert_eq!(connected(db.pool(), consent(owner, "UC1")).await.unwrap(), id);
    assert_eq!(stored(db.pool(), id).await.status, Status::Active);
}

#[tokio::test]
async fn without_a_refresh_token_there_is_nothing_to_keep_alive() {
    let db = Database::new().await;
    let owner = user(db.pool()).await;
    let bare = || NewConnection { refresh_token: None, ..consent(owner, "UC1") };
    assert!(matches!(connected(db.pool(), bare()).await, Err(ConnectError::NoRefreshToken)));
    let id = connected(db.pool(), consent(owner, "UC1")).await.unwrap();
    disconnect(db.pool(), id).await;
    assert!(matches!(connected(db.pool(), bare()).await, Err(ConnectError::NoRefreshToken)));
}

#[tokio::test]
async fn a_channel_is_connected_once() {
    let db = Database::new().await;
    let (first, second) = (user(db.pool()).await, user(db.pool()).await);
    let id = connected(db.pool(), consent(first, "UC1")).await.unwrap();

    let mut tx = db.pool().begin().await.unwrap();
    let refused = connect(&mut tx, &vault(), consent(second, "UC1")).await.unwrap_err();
    assert!(matches!(refused, ConnectError::AlreadyConnected));
    assert!(!refused.to_string().contains(&first.to_string()));
    // The caller's transaction goes on.
    connect(&mut tx, &vault(), consent(second, "UC2")).await.unwrap();
    tx.commit().await.unwrap();

    // Who left makes room, and finds it taken when they come back.
    disconnect(db.pool(), id).await;
    connected(db.pool(), consent(second, "UC1")).await.unwrap();
    assert!(matches!(connected(db.pool(), consent(first, "UC1")).await, Err(ConnectError::AlreadyConnected)));
}

#[tokio::test]
async fn of_many_who_connect_at_once_one_wins() {
    let db = Database::new().await;
    let mut attempts = Vec::new();
    for _ in 0..8 {
        let (pool, owner) = (db.pool().clone(), user(db.pool()).await);
        attempts.push(tokio::spawn(async move { connected(&pool, consent(owner, "UC1")).await }));
    }
    let mut won = 0;
    for attempt in attempts {
        match attempt.await.unwrap() {
            Ok(_) => won += 1,
            Err(error) => assert!(matches!(error, ConnectError::AlreadyConnected), "{error}"),
        }
    }
    assert_eq!(won, 1);
}

#[tokio::test]
async fn the_longest_unsynced_come_first_and_every_page_goes_on() {
    let db = Database::new().await;
    let (owner, now) = (user(db.pool()).await, db.clock().now());
    let mut expected = HashSet::new();
    for (n, age) in [None, None, None, Some(9), Some(9), Some(5), Some(3), Some(1)].into_iter().enumerate() {
        let id = connected(db.pool(), consent(owner, &format!("UC{n}"))).await.unwrap();
        let synced = age.map(|hours| now - TimeDelta::hours(hours));
        sqlx::query!("update youtube_connections set last_synced_at = $2 where id = $1", id.0, synced)
            .execute(db.pool())
            .await
            .unwrap();
        if age.is_none_or(|hours| hours > 2) {
            expected.insert(id);
        }
    }
    let gone = connected(db.pool(), consent(owner, "UC-gone")).await.unwrap();
    disconnect(db.pool(), gone).await;

    let mut conn = db.pool().acquire().await.unwrap();
    let (mut pages, mut seen, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        let page = due_for_sync(&mut conn, now - TimeDelta::hours(2), after, 2).await.unwrap();
        pages.push(page.len());
        let Some(last) = page.last() else { break };
        after = Some(*last);
        seen.extend(page);
    }
    assert_eq!(pages, [2, 2, 2, 1, 0]);
    assert!(seen.is_sorted_by_key(|due| due.last_synced_at), "{seen:?}");
    assert_eq!(seen.iter().map(|due| due.id).collect::<HashSet<_>>(), expected);
}
