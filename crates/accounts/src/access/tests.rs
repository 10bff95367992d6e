use std::time::Duration;

use greenroom_testkit::Database;
use sqlx::pool::PoolConnection;

use super::*;
use crate::error::AccountsError;
use crate::store::organizations::{self, Kind};
use crate::store::users::{self, NewUser};

type Conn = PoolConnection<sqlx::Postgres>;

async fn organization(conn: &mut Conn, name: &str) -> OrganizationId {
    organizations::create(conn, name, Kind::Agency).await.unwrap()
}

async fn token(conn: &mut Conn, organization: Option<OrganizationId>) -> (String, Secret) {
    let scopes = ["connection.sync".to_owned()];
    let new = NewToken { organization, name: "a test", scopes: &scopes, days: 90, created_by: None };
    let (made, text) = create(conn, &new).await.unwrap();
    (made.id, text)
}

#[tokio::test]
async fn a_token_says_who_comes_and_what_it_may() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let agency = organization(&mut conn, "Agency").await;
    let (id, text) = token(&mut conn, Some(agency)).await;
    let principal = authenticate(&mut conn, &text).await.unwrap();
    assert_eq!((&principal.token_id, principal.organization), (&id, Some(agency)));
    assert!(principal.may("connection.sync") && !principal.may("job.read") && !principal.is_operator());

    let (_, text) = token(&mut conn, None).await;
    assert!(authenticate(&mut conn, &text).await.unwrap().is_operator());
}

#[tokio::test]
async fn only_the_hash_of_the_secret_is_kept() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let (_, text) = token(&mut conn, None).await;
    let row = sqlx::query_scalar!(r#"select to_jsonb(t)::text as "row!" from greenroom.service_tokens t"#)
        .fetch_one(&mut *conn)
        .await
        .unwrap();
    assert!(!row.contains(&text.expose()[16..28]), "{row}");
}

#[tokio::test]
async fn who_has_not_the_whole_token_stays_outside() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let (_, first) = token(&mut conn, None).await;
    let (second_id, _) = token(&mut conn, None).await;
    let refused = async |conn: &mut Conn, text: String| {
        authenticate(conn, &Secret::from(text)).await.unwrap_err().as_str()
    };

    for text in [String::new(), "gr_".to_owned(), first.expose().to_lowercase(), "x".repeat(9_000)] {
        assert_eq!(refused(&mut conn, text).await, "malformed");
    }
    let (stranger, _) = token::generate(&mut rand::rng());
    assert_eq!(refused(&mut conn, stranger.expose().to_owned()).await, "unknown");
    // Its own secret under another's id, with the right checksum.
    sqlx::query!(
        "update greenroom.service_tokens set id = 'aaaaaaaaaaaa' where id = $1",
        &first.expose()[3..15]
    )
    .execute(&mut *conn)
    .await
    .unwrap();
    sqlx::query!(
        "update greenroom.service_tokens set id = $2 where id = $1",
        second_id,
        &first.expose()[3..15]
    )
    .execute(&mut *conn)
    .await
    .unwrap();
    assert_eq!(refused(&mut conn, first.expose().to_owned()).await, "wrong_secret");
}

#[tokio::test]
async fn a_token_ends_when_it_is_revoked_or_its_days_are_over() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let (id, text) = token(&mut conn, None).await;
    let (_, other) = token(&mut conn, None).await;
    assert!(revoke(&mut conn, &id).await.unwrap());
    assert!(revoke(&mut conn, &id).await.unwrap(), "twice is the same");
    assert!(!revoke(&mut conn, "nobody").await.unwrap());
    assert_eq!(authenticate(&mut conn, &text).await.unwrap_err().as_str(), "revoked");

    db.advance(Duration::from_hours(24 * 90 - 1)).await;
    authenticate(&mut conn, &other).await.unwrap();
    db.advance(Duration::from_hours(2)).await;
    assert_eq!(authenticate(&mut conn, &other).await.unwrap_err().as_str(), "expired");
}

#[tokio::test]
async fn use_is_noted_once_a_minute() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let (_, text) = token(&mut conn, None).await;
    let mut used = Vec::new();
    for secs in [0, 30, 31] {
        db.advance(Duration::from_secs(secs)).await;
        authenticate(&mut conn, &text).await.unwrap();
        used.push(list(&mut conn, None).await.unwrap()[0].last_used_at.unwrap());
    }
    assert!(used[0] == used[1] && used[1] < used[2], "{used:?}");
}

#[tokio::test]
async fn a_token_is_listed_with_its_tenant_and_made_within_limits() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let agency = organization(&mut conn, "Agency").await;
    let (mine, _) = token(&mut conn, Some(agency)).await;
    token(&mut conn, None).await;
    let listed = list(&mut conn, Some(agency)).await.unwrap();
    assert_eq!(listed.iter().map(|token| &token.id).collect::<Vec<_>>(), [&mine]);
    assert_eq!(list(&mut conn, None).await.unwrap().len(), 2);

    let scopes = ["member.invite".to_owned()];
    let new = NewToken { organization: None, name: "x", scopes: &[], days: 365, created_by: None };
    create(&mut conn, &new).await.unwrap();
    for days in [0, 366] {
        let refused = create(&mut conn, &NewToken { days, ..new.clone() }).await;
        assert!(matches!(refused, Err(AccountsError::Lifetime)));
    }
    let refused = create(&mut conn, &NewToken { scopes: &scopes, ..new.clone() }).await.unwrap_err();
    assert!(refused.to_string().contains("\"member.invite\": use connection.connect"), "{refused}");
    let nowhere = NewToken { organization: Some(OrganizationId::new()), ..new };
    assert!(matches!(create(&mut conn, &nowhere).await, Err(AccountsError::NoSuchOrganization)));
}

#[tokio::test]
async fn a_tenant_sees_its_own_people_and_an_operator_everyone() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let (ours, theirs) = (organization(&mut conn, "Ours").await, organization(&mut conn, "Theirs").await);
    let mut people = Vec::new();
    for (email, organization) in
        [("a@example.test", Some(ours)), ("b@example.test", Some(theirs)), ("c@example.test", None)]
    {
        let new = NewUser { email, full_name: None, organization };
        people.push(users::create(&mut conn, new).await.unwrap());
    }
    people.push(UserId::new());
    for (organization, expected) in
        [(Some(ours), [true, false, false, false]), (None, [true, true, true, false])]
    {
        let principal = Principal { token_id: "t".to_owned(), organization, scopes: Vec::new() };
        for (person, seen) in people.iter().zip(expected) {
            assert_eq!(may_see_user(&mut conn, &principal, *person).await.unwrap(), seen);
        }
    }
}
