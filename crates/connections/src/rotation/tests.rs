//! Rotation over real rows.

use greenroom_model::{ConnectionId, UserId};
use greenroom_testkit::Database;
use greenroom_vault::{Bind, Secret, generate_key};

use super::*;
use crate::store::tokens::read;
use crate::store::youtube::{self, NewConnection};
use crate::which::Which;

fn vault(keys: &[&Secret]) -> Vault {
    let keys: Vec<&str> = keys.iter().map(|key| key.expose()).collect();
    Vault::from_keys(&keys.join(",")).unwrap()
}

async fn connect(db: &Database, vault: &Vault, n: usize) -> Vec<ConnectionId> {
    let user = UserId::new();
    sqlx::query!("insert into users (id, email) values ($1, 'many@example.test')", user.0)
        .execute(db.pool())
        .await
        .unwrap();
    let mut ids = Vec::new();
    for n in 0..n {
        let new = NewConnection {
            user,
            channel_id: format!("UC{n}"),
            channel_name: None,
            access_token: format!("ya29.{n}").as_str().into(),
            refresh_token: Some(format!("1//{n}").as_str().into()),
            expires_at: None,
        };
        ids.push(youtube::connect(&mut db.pool().acquire().await.unwrap(), vault, new).await.unwrap());
    }
    ids
}

async fn walk(db: &Database, vault: &Vault, reseals: bool) -> Report {
    let walk = Walk { pool: db.pool(), vault, table: None, reseals, pause: Duration::ZERO };
    to_the_end(&walk, Position::default()).await
}

async fn to_the_end(walk: &Walk<'_>, mut at: Position) -> Report {
    while walk.step(&mut at).await.unwrap() {}
    at.into_report()
}

fn of<'a>(report: &'a Report, column: &str) -> &'a ColumnReport {
    &report.columns[column]
}

const ACCESS: &str = "youtube_connections.access_token";
const REFRESH: &str = "youtube_connections.refresh_token";

#[tokio::test]
async fn everything_comes_under_the_first_key_and_nothing_is_lost() {
    let db = Database::new().await;
    let (old, new) = (generate_key(), generate_key());
    let ids = connect(&db, &vault(&[&old]), 1_200).await;
    let both = vault(&[&new, &old]);
    let looked = walk(&db, &both, false).await;
    assert_eq!((of(&looked, ACCESS).outdated, of(&looked, ACCESS).resealed), (1_200, 0));
    assert_eq!(looked.under_other_keys(both.key_id()), 2_400);
    let done = walk(&db, &both, true).await;
    assert_eq!((of(&done, ACCESS).resealed, of(&done, REFRESH).resealed), (1_200, 1_200));
    let again = walk(&db, &both, true).await;
    assert_eq!((again.under_other_keys(both.key_id()), of(&again, REFRESH).outdated), (0, 0));
    let row = read(&mut db.pool().acquire().await.unwrap(), Which::youtube(ids[7])).await.unwrap().unwrap();
    assert_eq!(vault(&[&new]).open(row.refresh_token.unwrap().expose()).unwrap().expose(), "1//7");
}

#[tokio::test]
async fn what_does_not_open_stays_and_what_is_plain_is_sealed() {
    let db = Database::new().await;
    let (key, foreign) = (generate_key(), generate_key());
    let ids = connect(&db, &vault(&[&key]), 3).await;
    let strange = vault(&[&foreign]).seal(&"1//strange".into());
    sqlx::query!("update youtube_connections set refresh_token = $2 where id = $1", ids[0].0, strange)
        .execute(db.pool())
        .await
        .unwrap();
    sqlx::query!("update youtube_connections set refresh_token = '1//plain' where id = $1", ids[1].0)
        .execute(db.pool())
        .await
        .unwrap();
    let report = walk(&db, &vault(&[&key]), true).await;
    let refresh = of(&report, REFRESH);
    assert_eq!((refresh.undecryptable, refresh.plaintext, refresh.resealed), (1, 1, 1));
    let mut conn = db.pool().acquire().await.unwrap();
    let kept = read(&mut conn, Which::youtube(ids[0])).await.unwrap().unwrap();
    assert_eq!(kept.refresh_token.unwrap().expose(), strange);
    let sealed = read(&mut conn, Which::youtube(ids[1])).await.unwrap().unwrap();
    assert_eq!(vault(&[&key]).open(sealed.refresh_token.unwrap().expose()).unwrap().expose(), "1//plain");
}

#[tokio::test]
async fn a_row_that_is_being_refreshed_is_left_for_the_next_walk() {
    let db = Database::new().await;
    let (old, new) = (generate_key(), generate_key());
    connect(&db, &vault(&[&old]), 2).await;
    sqlx::query!(
        "update youtube_connections set refresh_lease_owner = gen_random_uuid(),
                refresh_lease_until = greenroom.now() + interval '1 min' where channel_id = 'UC0'"
    )
    .execute(db.pool())
    .await
    .unwrap();
    let both = vault(&[&new, &old]);
    let report = walk(&db, &both, true).await;
    assert_eq!((of(&report, ACCESS).left, of(&report, ACCESS).resealed), (1, 1));
    db.advance(Duration::from_mins(2)).await;
    assert_eq!(of(&walk(&db, &both, true).await, ACCESS).resealed, 1);
}

#[tokio::test]
async fn a_walk_goes_on_where_it_was_interrupted() {
    let db = Database::new().await;
    let (old, new) = (generate_key(), generate_key());
    connect(&db, &vault(&[&old]), 700).await;
    let both = vault(&[&new, &old]);
    let walk = Walk { pool: db.pool(), vault: &both, table: None, reseals: true, pause: Duration::ZERO };
    let mut at = Position::default();
    while at.report().columns.values().map(ColumnReport::seen).sum::<u64>() < 500 {
        assert!(walk.step(&mut at).await.unwrap());
    }
    let kept = serde_json::to_value(&at).unwrap();
    let report = to_the_end(&walk, serde_json::from_value(kept).unwrap()).await;
    assert_eq!((of(&report, ACCESS).resealed, of(&report, REFRESH).resealed), (700, 700));
}

#[tokio::test]
async fn a_token_of_another_row_is_not_sealed_for_this_one() {
    let db = Database::new().await;
    let key = generate_key();
    let bound = vault(&[&key]).binding(Bind::On);
    let ids = connect(&db, &bound, 2).await;
    // Who can write to the table swaps two accounts.
    sqlx::query!(
        "update youtube_connections c set access_token = o.access_token
           from youtube_connections o where o.id <> c.id and c.id = $1",
        ids[0].0
    )
    .execute(db.pool())
    .await
    .unwrap();
    let report = walk(&db, &bound, true).await;
    assert_eq!((of(&report, ACCESS).undecryptable, of(&report, ACCESS).resealed), (1, 0));
}

/// Readers and writers go on through the four steps of a rotation, each with the keys that its step gives it.
async fn rotate_under_load(rounds: usize) {
    let db = Database::new().await;
    let (old, new) = (generate_key(), generate_key());
    let ids = connect(&db, &vault(&[&old]), 50).await;
    let steps = [vec![&old], vec![&old, &new], vec![&new, &old], vec![&new]];
    let mut reads = 0;
    for pair in steps.windows(2) {
        // During a deployment there are processes of both steps.
        let (before, after) = (vault(&pair[0]), vault(&pair[1]));
        crate::check_keys(db.pool(), &after).await.unwrap();
        for round in 0..rounds {
            for (n, id) in ids.iter().enumerate() {
                let (writer, reader) =
                    if (round + n) % 2 == 0 { (&before, &after) } else { (&after, &before) };
                let mut conn = db.pool().acquire().await.unwrap();
                let sealed = writer.seal(&format!("1//{n}").as_str().into());
                sqlx::query!("update youtube_connections set refresh_token = $2 where id = $1", id.0, sealed)
                    .execute(&mut *conn)
                    .await
                    .unwrap();
                let row = read(&mut conn, Which::youtube(*id)).await.unwrap().unwrap();
                let opened = reader.open(row.refresh_token.unwrap().expose()).unwrap();
                assert_eq!(opened.expose(), format!("1//{n}"));
                reads += 1;
            }
        }
        if pair[1].len() == 2 && pair[1][0].expose() == new.expose() {
            walk(&db, &after, true).await;
            assert_eq!(walk(&db, &after, false).await.under_other_keys(after.key_id()), 0);
        }
    }
    println!("{reads} reads in a rotation, none of which failed");
}

#[tokio::test]
async fn no_read_fails_through_a_rotation() {
    rotate_under_load(2).await;
}
