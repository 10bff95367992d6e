//! A channel to sync: a database, the sandbox it comes from, and what must be there in the end.
//!
//! The sandbox takes its time like a network, so that a sync has a middle, and it counts calls, so that
//! tests strike at a place in the work and not at a time.

use std::time::{Duration, Instant};

use greenroom_connections::youtube::{NewConnection, connect};
use greenroom_model::{ConnectionId, JobId, MicroCredits, UserId};
use greenroom_queue::{Queue, enqueue};
use greenroom_sandbox::{Bucket, Running, Sandbox, Settings, Totals};
use greenroom_testkit::Database;
use greenroom_vault::{Secret, Vault, generate_key};
use greenroom_youtube::{ChannelSynced, SyncChannel, Trigger, request_sync};
use sqlx::{AssertSqlSafe, PgPool};

/// What a requested sync costs, in millionths of a credit.
pub(crate) const PRICE: i64 = 500_000;
/// How long anything here may take before the test says what it waited for.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct World {
    pub db: Database,
    pub sandbox: Running,
    /// What seals the tokens.
    pub key: Secret,
}

/// Somebody with a channel.
pub(crate) struct Creator {
    pub user: UserId,
    pub connection: ConnectionId,
}

impl Drop for World {
    /// A bearer opens a platform, and the token endpoint is told what it needs; nothing else of ours is in a request.
    fn drop(&mut self) {
        for (path, request) in self.sandbox.transcript().iter().filter(|(path, _)| path != "/token") {
            let but_bearer =
                request.lines().filter(|line| !line.to_lowercase().starts_with("authorization:"));
            greenroom_testkit::overhear(path, &but_bearer.collect::<Vec<_>>().join("\n"));
        }
    }
}

impl World {
    pub(crate) async fn new(videos: u32, comments: u64) -> Self {
        Self::over(Database::new().await, videos, comments).await
    }

    pub(crate) async fn over(db: Database, videos: u32, comments: u64) -> Self {
        let latency = Duration::from_millis(20);
        let clock = db.clock();
        let settings = Settings { videos, comments, latency, clock, transcript: true, ..Settings::default() };
        Self { db, sandbox: Sandbox::start(settings).await.unwrap(), key: generate_key() }
    }

    pub(crate) fn pool(&self) -> &PgPool {
        self.db.pool()
    }

    /// Opens an account with credits and connects the sandbox's channel to it.
    ///
    /// The schedule is not to bring it by itself: it was synced a moment ago, as far as anybody knows.
    pub(crate) async fn creator(&self) -> Creator {
        let mut conn = self.pool().acquire().await.unwrap();
        let user =
            sqlx::query_scalar("insert into users (email) values ('creator@example.test') returning id")
                .fetch_one(&mut *conn)
                .await
                .unwrap();
        greenroom_credits::balances::open(&mut conn, user).await.unwrap();
        let google = self.sandbox.google();
        let new = NewConnection {
            user,
            channel_id: google.channel_id,
            channel_name: None,
            access_token: Secret::from("an access token that has ended"),
            refresh_token: Some(Secret::from(google.refresh_token)),
            expires_at: Some(self.db.clock().now()),
        };
        let vault = Vault::from_keys(self.key.expose()).unwrap();
        let connection = connect(&mut conn, &vault, new).await.unwrap();
        sqlx::query("update youtube_connections set last_synced_at = greenroom.now()")
            .execute(&mut *conn)
            .await
            .unwrap();
        Creator { user, connection }
    }

    /// Enqueues a sync that costs.
    pub(crate) async fn request(&self, creator: &Creator) -> JobId {
        let mut tx = self.pool().begin().await.unwrap();
        let job = request_sync(&mut tx, creator.connection, creator.user).await.unwrap();
        tx.commit().await.unwrap();
        Queue::new(self.pool().clone()).wake(std::slice::from_ref(&job));
        job.id
    }

    /// Enqueues a sync that is free.
    pub(crate) async fn schedule(&self, creator: &Creator) -> JobId {
        let job = SyncChannel { connection_id: creator.connection, trigger: Trigger::Scheduled };
        let jobs = [greenroom_queue::NewJob::of(&job).unwrap()];
        enqueue(&mut self.pool().acquire().await.unwrap(), &jobs).await.unwrap().remove(0).id
    }

    /// What a process needs in its environment to work on this world.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let google = self.sandbox.google();
        vec![
            ("GREENROOM_ENV", "test".to_owned()),
            ("DATABASE_URL", self.db.url()),
            ("ENCRYPTION_KEY", self.key.expose().to_owned()),
            ("GOOGLE_CLIENT_ID", google.client_id),
            ("GOOGLE_CLIENT_SECRET", google.client_secret),
            ("GREENROOM__YOUTUBE__API_BASE_URL", self.sandbox.base_url.clone()),
            ("GREENROOM__OAUTH__GOOGLE_TOKEN_URL", format!("{}/token", self.sandbox.base_url)),
        ]
    }

    /// Counts the calls that cost quota, by whomever they were made.
    pub(crate) fn calls(&self) -> u64 {
        self.sandbox.stats().units(Bucket::Default)
    }

    pub(crate) async fn until_calls(&self, calls: u64) {
        let begun = Instant::now();
        while self.calls() < calls {
            assert!(begun.elapsed() < PATIENCE, "only {} of {calls} calls came", self.calls());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.pool()).await.unwrap()
    }

    /// Waits until a question of the database is answered with yes; returns how long it took.
    pub(crate) async fn until(&self, sql: &'static str) -> Duration {
        let begun = Instant::now();
        while !sqlx::query_scalar::<_, bool>(sql).fetch_one(self.pool()).await.unwrap() {
            let jobs: Vec<String> = sqlx::query_scalar("select to_jsonb(b)::text from background_jobs b")
                .fetch_all(self.pool())
                .await
                .unwrap();
            assert!(begun.elapsed() < PATIENCE, "it never came true that {sql}\n{}", jobs.join("\n"));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        begun.elapsed()
    }

    /// Waits until nothing is waiting or running.
    pub(crate) async fn until_idle(&self) -> Duration {
        self.until("select not exists (select from background_jobs where status in ('pending', 'running'))")
            .await
    }

    pub(crate) async fn list(&self, sql: &str) -> Vec<String> {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(self.pool()).await.unwrap()
    }

    /// Returns what a completed sync told.
    pub(crate) async fn report(&self, job: JobId) -> ChannelSynced {
        let (status, error, result): (String, Option<String>, Option<serde_json::Value>) =
            sqlx::query_as("select status, error_message, result from background_jobs where id = $1")
                .bind(job)
                .fetch_one(self.pool())
                .await
                .unwrap();
        assert_eq!((status.as_str(), error), ("completed", None));
        serde_json::from_value(result.unwrap()).unwrap()
    }

    /// Everything is there, everything once: the rows, the log, the charge.
    pub(crate) async fn was_synced_once(&self, creator: &Creator, job: JobId) {
        let (report, totals) = (self.report(job).await, self.totals());
        let (videos, comments) = (u64::from(totals.readable_videos), totals.threads + totals.replies);
        // A page that was stored twice would show as rows that were found unchanged.
        let told =
            [&report.videos, &report.comments].map(|rows| (rows.inserted, rows.updated, rows.unchanged));
        assert_eq!(told, [(videos, 0, 0), (comments, 0, 0)]);
        assert_eq!(report.charged, MicroCredits(PRICE));

        let stored = "select (select count(*) from youtube_videos) || ' ' || (select count(distinct video_id) from youtube_videos)
                          || ' ' || (select count(*) from youtube_comments) || ' ' || (select count(distinct comment_id) from youtube_comments)";
        assert_eq!(self.list(stored).await, [format!("{videos} {videos} {comments} {comments}")]);
        let log = "select status || ' ' || videos_synced || ' ' || comments_synced from sync_logs";
        assert_eq!(self.list(log).await, [format!("success {videos} {comments}")]);
        assert_eq!(self.number("select count(*) from greenroom.sync_cursors").await, 0);

        let charges = "select (credits_charged * 1000000)::bigint::text from credit_usage_events";
        assert_eq!(self.list(charges).await, [PRICE.to_string()]);
        let mut conn = self.pool().acquire().await.unwrap();
        let balance = greenroom_credits::balances::get(&mut conn, creator.user).await.unwrap().unwrap();
        assert_eq!(balance.current, MicroCredits::whole(100) - MicroCredits(PRICE));
        assert_eq!(balance.reserved, MicroCredits::ZERO);
    }

    fn totals(&self) -> Totals {
        self.sandbox.totals().remove(0)
    }
}
