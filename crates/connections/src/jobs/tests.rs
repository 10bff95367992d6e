//! Refreshes as jobs, on a real queue.

use std::sync::Arc;
use std::time::Duration;

use greenroom_model::ConnectionId;
use greenroom_queue::testing::{by_status, drain};
use greenroom_queue::{Context, Done, Job, Jobs, Policy, Queue, Stop, Worker};
use greenroom_vault::{Bind, Vault};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::clean::Clean;
use super::refresh_token::RefreshToken;
use super::sweep_refreshes::SweepRefreshes;
use super::{Connections, jobs};
use crate::tokens::tests::{KEY, World, granted, invalid_grant};
use crate::{Settings, Which};

async fn sweep(world: &World) -> Queue {
    let connections = world.connections();
    let queue = Queue::new(world.db.pool().clone());
    queue.enqueue(&SweepRefreshes {}).await.unwrap();
    drain(&queue, &jobs(Some(&connections))).await.unwrap();
    queue
}

impl World {
    fn connections(&self) -> Arc<Connections> {
        Arc::new(Connections {
            pool: self.db.pool().clone(),
            vault: Vault::from_keys(KEY).unwrap(),
            tokens: self.tokens.clone(),
            settings: Settings {
                refresh_margin_secs: 600,
                allow_plaintext: true,
                bind: Bind::Off,
                reencrypt_pause_ms: 0,
                purge_after_days: 7,
            },
        })
    }

    /// Lets the stored token come of age: what a month without a refresh makes due.
    async fn month_old() -> Self {
        let world = Self::new(60).await;
        world.db.advance(Duration::from_hours(31 * 24)).await;
        world
    }

    async fn runs(&self) -> Vec<(String, Option<String>)> {
        sqlx::query_as("select status, error_message from sync_logs where sync_type = $1 order by started_at")
            .bind(RefreshToken::KIND)
            .fetch_all(self.db.pool())
            .await
            .unwrap()
    }

    async fn events(&self) -> Vec<String> {
        sqlx::query_scalar(
            "select action_type || ' ' || credits_charged || ' ' || (event_metadata ->> 'free') from credit_usage_events",
        )
        .fetch_all(self.db.pool())
        .await
        .unwrap()
    }
}

#[tokio::test]
async fn what_is_due_is_refreshed_logged_and_free() {
    let world = World::month_old().await;
    world.endpoint.reply(200, granted("ya29.second"));
    sweep(&world).await;
    assert_eq!(world.row().await.version, 1);
    assert_eq!(world.runs().await, [("success".to_owned(), None)]);
    assert_eq!(world.events().await, ["external_api_call 0.000000 scheduled"]);
    // Nothing is due any more.
    sweep(&world).await;
    assert_eq!(world.endpoint.calls(), 1);
    assert_eq!(by_status(world.db.pool()).await.unwrap()["completed"], 3);
}

#[tokio::test]
async fn a_fresh_token_is_left_alone_until_work_waits_for_it() {
    let world = World::new(60).await;
    world.endpoint.reply(200, granted("ya29.second"));
    sweep(&world).await;
    world.db.advance(Duration::from_hours(2)).await;
    sqlx::query("update youtube_connections set next_token_refresh_at = greenroom.now()")
        .execute(world.db.pool())
        .await
        .unwrap();
    sweep(&world).await;
    assert_eq!(world.endpoint.calls(), 0, "it has ended, and nobody wants it");
    sqlx::query(
        "insert into greenroom.kinds (kind, queue, pool, priority, max_attempts, lane_field, lane_cap)
         values ('youtube.sync_channel', 'youtube', 'youtube', 5, 8, 'connection_id', 1)",
    )
    .execute(world.db.pool())
    .await
    .unwrap();
    sqlx::query(
        "insert into background_jobs (job_type, payload) values ('youtube.sync_channel', jsonb_build_object('connection_id', $1))",
    )
    .bind(world.id.0)
    .execute(world.db.pool())
    .await
    .unwrap();
    sweep(&world).await;
    assert_eq!(world.endpoint.calls(), 1);
}

#[tokio::test]
async fn a_revoked_consent_ends_in_one_failed_run_and_no_more_calls() {
    let world = World::month_old().await;
    for _ in 0..2 {
        world.endpoint.reply(400, invalid_grant());
    }
    let queue = sweep(&world).await;
    assert_eq!(world.runs().await, [("pending".to_owned(), None)], "it is tried once more");
    world.db.advance(Duration::from_mins(3)).await;
    drop(queue);
    sweep(&world).await;
    let runs = world.runs().await;
    assert_eq!((runs.len(), runs[0].0.as_str()), (1, "failed"), "{runs:?}");
    assert!(runs[0].1.as_deref().unwrap().contains("has to connect it again"), "{runs:?}");
    assert_eq!(world.events().await, ["external_api_call 0.000000 failed"]);
    world.db.advance(Duration::from_hours(24)).await;
    sweep(&world).await;
    assert_eq!(world.endpoint.calls(), 2);
}

#[tokio::test]
async fn a_client_that_is_refused_opens_the_breaker_and_blames_nobody() {
    let world = World::month_old().await;
    world.endpoint.reply(401, serde_json::json!({"error": "invalid_client"}));
    sweep(&world).await;
    let open: bool = sqlx::query_scalar(
        "select open_until > greenroom.now() from greenroom.pools where name = 'oauth.google'",
    )
    .fetch_one(world.db.pool())
    .await
    .unwrap();
    assert!(open);
    assert_eq!(world.row().await.error, None);
    assert_eq!(world.endpoint.calls(), 1);
}

#[tokio::test]
async fn consents_that_came_to_nothing_and_tokens_that_nobody_needed_are_removed() {
    let world = World::new(60).await;
    let some = "insert into oauth_state_tokens (token, user_id, expires_at, created_at, used)
                select 'state ' || n, (select id from users), greenroom.now() - n * interval '13 h',
                       greenroom.now() - interval '10 days', n % 2 = 0 from generate_series(1, 3) n;
                insert into greenroom.token_orphans (connection_kind, connection_id, refresh_token, created_at)
                select 'youtube', gen_random_uuid(), 'sealed', greenroom.now() - n * interval '3 days'
                  from generate_series(1, 3) n";
    sqlx::raw_sql(some).execute(world.db.pool()).await.unwrap();
    let connections = world.connections();
    let queue = Queue::new(world.db.pool().clone());
    queue.enqueue(&Clean {}).await.unwrap();
    drain(&queue, &jobs(Some(&connections))).await.unwrap();
    let left: Vec<(i64, i64)> = sqlx::query_as(
        "select (select count(*) from oauth_state_tokens), (select count(*) from greenroom.token_orphans)",
    )
    .fetch_all(world.db.pool())
    .await
    .unwrap();
    assert_eq!(left, [(1, 2)]);
}

/// A handler that dies with a token in its hands, and would tell it.
#[derive(Serialize, Deserialize)]
struct Panics {
    connection_id: ConnectionId,
}

impl Job for Panics {
    const KIND: &'static str = "panics";
    const POLICY: Policy = Policy::on("panics").max_attempts(1);
    type State = Connections;
    type Report = ();

    async fn run(self, connections: &Connections, _: &Context) -> Result<Done<()>, Stop> {
        let token = connections.tokens.fresh(Which::youtube(self.connection_id)).await.unwrap();
        panic!("with {token:?} and {:?} in hand", connections.vault);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_panics_with_a_token_in_hand_does_not_tell_it() {
    let world = World::new(60).await;
    let queue = Queue::new(world.db.pool().clone());
    let jobs = Jobs::new().with::<Panics>(Some(&world.connections()));
    let worker = Worker::new(queue.clone(), jobs, greenroom_queue::Settings::default()).serve("panics", 1);
    let stop = CancellationToken::new();
    let running = tokio::spawn(worker.run(stop.clone(), CancellationToken::new()));
    queue.enqueue(&Panics { connection_id: world.id }).await.unwrap();
    let told = loop {
        let error = "select error_message from background_jobs where status = 'failed'";
        let told: Option<String> = sqlx::query_scalar(error).fetch_optional(world.db.pool()).await.unwrap();
        if let Some(told) = told {
            break told;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    stop.cancel();
    running.await.unwrap().unwrap();
    assert!(told.contains("panicked") && told.contains("[redacted]"), "{told}");
    assert!(!told.contains("first") && !told.contains(KEY), "{told}");
}
