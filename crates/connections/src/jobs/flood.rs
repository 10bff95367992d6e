//! Many tokens that end on the same day: the provider is asked no faster than it allows.

use std::time::Duration;

use greenroom_model::UserId;
use greenroom_sandbox::Endpoint;
use sqlx::AssertSqlSafe;

use super::sweep_refreshes::SweepRefreshes;
use crate::consent::tests::World;

/// What the pool's declaration allows a minute.
const A_MINUTE: u64 = 600;

async fn flood(connections: u64) {
    let world = World::new().await;
    let refresh_token = world.sandbox.google().refresh_token;
    let user: UserId = world.user;
    // Plain tokens, which are sealed as they are read: sealing so many would take longer than the test.
    sqlx::query(AssertSqlSafe(format!(
        "insert into youtube_connections (user_id, channel_id, access_token, refresh_token, token_expires_at,
                                          last_token_refresh_at)
         select '{user}', 'UC' || n, 'ya29.ended', '{refresh_token}', greenroom.now(), greenroom.now() - interval '31 days'
           from generate_series(1, {connections}) n"
    )))
    .execute(world.db.pool())
    .await
    .unwrap();
    let began = world.db.clock().now();
    world.enqueue(&SweepRefreshes {}).await;
    let mut minutes = 0;
    loop {
        let calls = world.sandbox.stats().calls(Endpoint::Token);
        let since = (world.db.clock().now() - began).num_seconds().unsigned_abs();
        // A window is a minute of the clock, and the first one had begun before.
        assert!(calls <= A_MINUTE * (since / 60 + 2), "{calls} calls in {since} s");
        if calls == connections {
            break;
        }
        minutes += 1;
        assert!(minutes <= connections / A_MINUTE + 2, "only {calls} calls in {minutes} minutes");
        world.db.advance(Duration::from_mins(1)).await;
        world.drain().await;
    }
    let renewed =
        "select count(*) from youtube_connections where token_version = 1 and connection_status = 'active'";
    assert_eq!(world.number(renewed).await.unsigned_abs(), connections);
    assert_eq!(world.number("select count(*) from background_jobs where status <> 'completed'").await, 0);
    println!("{connections} tokens in {minutes} minutes of the clock");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_end_together_are_renewed_as_fast_as_the_provider_allows() {
    flood(700).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long, 20 minutes"]
async fn long_a_hundred_thousand_tokens_that_end_together_are_renewed() {
    flood(100_000).await;
}
