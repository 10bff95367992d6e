//! The sync against the sandbox: real HTTP, a real database, scripted faults.

use std::sync::Arc;
use std::time::Duration;

use greenroom_connections::{OauthClient, OauthSettings, Providers, Tokens, youtube::NewConnection};
use greenroom_http::Client as Http;
use greenroom_model::{ConnectionId, JobId, MicroCredits, UserId};
use greenroom_queue::testing::{by_status, drain};
use greenroom_queue::{Job as _, JobRow, Jobs, Queue, show};
use greenroom_sandbox::{Bucket, Change, Endpoint, Fault, Rule, Running, Sandbox, Totals};
use greenroom_testkit::Database;
use greenroom_vault::{Secret, Vault, generate_key};
use sqlx::PgPool;

use crate::{ChannelSynced, SyncChannel, Youtube, jobs, request_sync};

struct World {
    db: Database,
    sandbox: Running,
    queue: Queue,
    jobs: Jobs,
    user: UserId,
    connection: ConnectionId,
}

fn settings<T: serde::de::DeserializeOwned>(section: &str, changes: &[(&str, &str)]) -> T {
    let mut config: toml::Table = include_str!("../../../config/default.toml").parse().unwrap();
    let mut table: toml::Table = config.remove(section).unwrap().try_into().unwrap();
    for (key, value) in changes {
        table.insert((*key).to_owned(), (*value).into());
    }
    table.try_into().unwrap()
}

impl World {
    async fn new(videos: u32, comments: u64) -> Self {
        let db = Database::new().await;
        let sandbox =
            greenroom_sandbox::Settings { videos, comments, clock: db.clock(), ..Default::default() };
        let sandbox = Sandbox::start(sandbox).await.unwrap();
        let google = sandbox.google();
        let vault = Vault::from_keys(generate_key().expose()).unwrap();

        let mut conn = db.pool().acquire().await.unwrap();
        let user =
            sqlx::query_scalar("insert into users (email) values ('creator@example.test') returning id")
                .fetch_one(&mut *conn)
                .await
                .unwrap();
        greenroom_credits::balances::open(&mut conn, user).await.unwrap();
        let new = NewConnection {
            user,
            channel_id: google.channel_id.clone(),
            channel_name: None,
            access_token: Secret::from("an access token that has ended".to_owned()),
            refresh_token: Some(Secret::from(google.refresh_token.clone())),
            expires_at: Some(db.clock().now()),
        };
        let connection = greenroom_connections::youtube::connect(&mut conn, &vault, new).await.unwrap();
        drop(conn);

        let http: greenroom_http::Settings = settings("http", &[]);
        let http = Http::new(&http, db.clock()).unwrap();
        let youtube: crate::Settings = settings("youtube", &[("api_base_url", &sandbox.base_url)]);
        let mut config: toml::Table = include_str!("../../../config/default.toml").parse().unwrap();
        let mut oauth: OauthSettings = config.remove("oauth").unwrap().try_into().unwrap();
        oauth.google_token_url = format!("{}/token", sandbox.base_url).parse().unwrap();
        let (id, secret) = (google.client_id.clone(), google.client_secret.as_str().into());
        let providers = Providers::of(&oauth, [("google", OauthClient { id, secret })]);
        let tokens = Tokens::new(
            db.pool().clone(),
            vault,
            http.clone(),
            providers,
            settings("tokens", &[]),
            db.clock(),
        );
        let state = Arc::new(Youtube::new(db.pool().clone(), http, tokens, youtube, db.clock()));
        Self { queue: Queue::new(db.pool().clone()), jobs: jobs(Some(&state)), db, sandbox, user, connection }
    }

    fn pool(&self) -> &PgPool {
        self.db.pool()
    }

    async fn request(&self) -> JobId {
        let mut tx = self.pool().begin().await.unwrap();
        let job = request_sync(&mut tx, self.connection, self.user).await.unwrap();
        tx.commit().await.unwrap();
        self.queue.wake(std::slice::from_ref(&job));
        job.id
    }

    async fn schedule(&self) -> JobId {
        let job = SyncChannel { connection_id: self.connection, trigger: crate::Trigger::Scheduled };
        self.queue.enqueue(&job).await.unwrap().id
    }

    async fn drain(&self) {
        drain(&self.queue, &self.jobs).await.unwrap();
    }

    async fn job(&self, job: JobId) -> JobRow {
        show(&mut self.pool().acquire().await.unwrap(), job).await.unwrap()
    }

    async fn report(&self, job: JobId) -> ChannelSynced {
        let row = self.job(job).await;
        assert_eq!(row.status, "completed", "{row:?}");
        serde_json::from_value(row.result.unwrap()).unwrap()
    }

    fn totals(&self) -> Totals {
        self.sandbox.totals().remove(0)
    }

    async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.pool()).await.unwrap()
    }

    /// Every row is there, each once, and nothing is left open.
    async fn is_complete(&self) {
        let totals = self.totals();
        assert_eq!(
            self.number("select count(*) from youtube_videos").await,
            i64::from(totals.readable_videos)
        );
        let comments = self.number("select count(*) from youtube_comments").await;
        assert_eq!(comments.unsigned_abs(), totals.threads + totals.replies);
        assert_eq!(self.number("select count(*) from sync_logs where status = 'pending'").await, 0);
        assert_eq!(self.number("select count(*) from greenroom.sync_cursors").await, 0);
    }

    async fn balance(&self) -> (MicroCredits, MicroCredits) {
        let mut conn = self.pool().acquire().await.unwrap();
        let balance = greenroom_credits::balances::get(&mut conn, self.user).await.unwrap().unwrap();
        (balance.current, balance.reserved)
    }

    /// What the runs left: statuses of the log, and each event's charge.
    async fn accounts(&self) -> (Vec<String>, Vec<i64>) {
        let runs =
            sqlx::query_scalar("select status from sync_logs order by id").fetch_all(self.pool()).await;
        let charges = sqlx::query_scalar(
            "select (credits_charged * 1000000)::bigint from credit_usage_events order by created_at, id",
        )
        .fetch_all(self.pool())
        .await;
        (runs.unwrap(), charges.unwrap())
    }
}

const PRICE: i64 = 500_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_requested_sync_brings_everything_and_charges_once() {
    let world = World::new(60, 3_000).await;
    let job = world.request().await;
    assert_eq!(world.request().await, job, "a second request finds the open job");
    world.drain().await;

    world.is_complete().await;
    let (report, totals) = (world.report(job).await, world.totals());
    assert_eq!(report.videos.inserted, u64::from(totals.readable_videos));
    assert_eq!(report.comments.inserted, totals.threads + totals.replies);
    assert_eq!(report.skipped["videoNotFound"], totals.vanished.len() as u64);
    let progress = world.job(job).await.progress.unwrap();
    assert_eq!(
        (&progress["videos"], &progress["comments"]),
        (&report.videos.inserted.into(), &report.comments.inserted.into())
    );
    assert_eq!(report.charged, MicroCredits(PRICE));
    assert_eq!(u64::from(report.calls), world.sandbox.stats().units(Bucket::Default));
    assert_eq!(world.number("select used from greenroom.quota_usage").await, i64::from(report.calls));
    assert_eq!(world.accounts().await, (vec!["success".to_owned()], vec![PRICE]));
    assert_eq!(world.balance().await, (MicroCredits::whole(100) - MicroCredits(PRICE), MicroCredits::ZERO));

    let row = sqlx::query!(
        "select channel_name, video_count, total_views, engagement_rate is not null as rated, last_synced_at is not null as synced
           from youtube_connections"
    )
    .fetch_one(world.pool())
    .await
    .unwrap();
    assert!(row.channel_name.is_some() && row.rated == Some(true) && row.synced == Some(true));
    assert_eq!(row.video_count, Some(i32::try_from(totals.public_videos).unwrap()));
    // Disabled comments and hidden counts are NULL, never 0.
    assert_eq!(
        world.number("select count(*) from youtube_videos where comment_count is null").await,
        i64::try_from(totals.comments_disabled.len()).unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_channel_rewrites_no_row_and_a_scheduled_sync_is_free() {
    let world = World::new(30, 1_000).await;
    world.schedule().await;
    world.drain().await;
    let versions = "select (select sum(xmin::text::bigint) from youtube_videos)::bigint
                         + (select sum(xmin::text::bigint) from youtube_comments)::bigint";
    let before = world.number(versions).await;
    sqlx::query("update youtube_comments set status = 'ignored', internal_notes = 'kept'")
        .execute(world.pool())
        .await
        .unwrap();
    let after_people = world.number(versions).await;
    assert_ne!(before, after_people);

    let job = world.schedule().await;
    world.drain().await;
    let report = world.report(job).await;
    assert_eq!((report.videos.inserted, report.videos.updated), (0, 0));
    assert_eq!((report.comments.inserted, report.comments.updated), (0, 0));
    assert_eq!(world.number(versions).await, after_people, "no row was written");
    assert_eq!(world.accounts().await.1, [0, 0]);
    assert_eq!(world.balance().await.0, MicroCredits::whole(100));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_on_the_platform_changes_here_and_nothing_else() {
    let world = World::new(20, 600).await;
    world.schedule().await;
    world.drain().await;
    sqlx::query("update youtube_comments set sentiment = 'neutral', internal_notes = 'kept'")
        .execute(world.pool())
        .await
        .unwrap();
    let busiest: (String, String) = sqlx::query_as(
        "select v.video_id, min(c.comment_id) from youtube_videos v join youtube_comments c on c.video_id = v.id
          where c.parent_comment_id is null group by 1 order by count(*) desc limit 1",
    )
    .fetch_one(world.pool())
    .await
    .unwrap();
    let sandbox = &world.sandbox;
    let (video_id, comment_id) = busiest;
    sandbox.change(&Change::AddThreads { video_id, count: 2, text: None }).unwrap();
    sandbox.change(&Change::AddReplies { comment_id, count: 7, text: None, by_owner: true }).unwrap();
    let job = world.schedule().await;
    world.drain().await;
    world.is_complete().await;
    assert_eq!(world.report(job).await.comments.inserted, 9);
    assert_eq!(world.number("select count(*) from youtube_comments where status = 'answered' and replied_at is not null and internal_notes = 'kept' and sentiment = 'neutral'").await.signum(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_platform_are_outlasted() {
    let world = World::new(30, 1_500).await;
    let sandbox = &world.sandbox;
    let error =
        |status, reason: &str| Fault::Error { status, reason: reason.to_owned(), retry_after_secs: None };
    for rule in [
        Rule::next(Endpoint::Videos, error(503, "backendError")),
        Rule::next(Endpoint::PlaylistItems, Fault::ShortPage { items: 7 }),
        Rule::next(Endpoint::CommentThreads, Fault::ExpireTokens).after(3),
        Rule::next(Endpoint::CommentThreads, Fault::Reset).after(6),
        Rule::next(Endpoint::CommentThreads, Fault::ShortPage { items: 3 }).after(8).times(2),
        Rule::next(Endpoint::Comments, error(403, "rateLimitExceeded")).after(2),
        Rule::next(Endpoint::Comments, Fault::RepeatedPage).after(4),
    ] {
        sandbox.inject(rule);
    }
    let job = world.schedule().await;
    world.drain().await;
    let report = world.report(job).await;
    assert_eq!(report.comments.inserted, world.totals().threads + world.totals().replies);
    world.is_complete().await;
    assert_eq!(world.job(job).await.attempt, 1, "all within one attempt");
    assert_eq!(sandbox.stats().calls(Endpoint::Token), 2, "one refresh before, one after the 401");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_that_dies_costs_a_restart_and_no_comment() {
    // One video with several pages of threads, whose second page is refused once: the page that comes
    // after the restart is the very page that came before it, and yet not the end.
    let world = World::new(1, 700).await;
    let reason = "invalidPageToken".to_owned();
    let stale = Fault::Error { status: 400, reason, retry_after_secs: None };
    world.sandbox.inject(Rule::next(Endpoint::CommentThreads, stale).after(1));
    let job = world.schedule().await;
    world.drain().await;
    world.report(job).await;
    assert!(world.totals().threads > 200, "several pages");
    world.is_complete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_serves_one_page_for_ever_does_not_hold_the_sync() {
    let world = World::new(120, 400).await;
    world.sandbox.inject(Rule::next(Endpoint::PlaylistItems, Fault::RepeatedPage).times(1_000));
    let job = world.schedule().await;
    world.drain().await;
    assert_eq!(world.report(job).await.skipped["repeatedPage"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_quota_shuts_the_pool_until_midnight() {
    let world = World::new(30, 1_500).await;
    world.sandbox.inject(Rule::next(Endpoint::CommentThreads, Fault::ExhaustQuota).after(5));
    let job = world.request().await;
    world.drain().await;
    let row = world.job(job).await;
    assert_eq!((row.status.as_str(), row.attempt), ("pending", 0), "{row:?}");
    let shut = "select count(*) from greenroom.pools where name = 'youtube' and open_until > greenroom.now()";
    assert_eq!(world.number(shut).await, 1, "no other job finds out by itself");
    assert_eq!(world.accounts().await, (vec!["pending".to_owned()], vec![]), "the run is carried on");

    world.db.advance(Duration::from_hours(25)).await;
    world.drain().await;
    let report = world.report(job).await;
    assert!(report.resumed);
    // A page stored twice would show as unchanged rows.
    assert_eq!((report.comments.unchanged, report.videos.unchanged), (0, 0));
    world.is_complete().await;
    assert_eq!(world.accounts().await, (vec!["success".to_owned()], vec![PRICE]));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_pay_is_told_before_the_first_call() {
    let world = World::new(5, 20).await;
    sqlx::query("update user_credit_balances set total_consumed = 99.9, current_balance = 0.1, current_month_consumed = 99.9")
        .execute(world.pool())
        .await
        .unwrap();
    let job = world.request().await;
    world.drain().await;
    let row = world.job(job).await;
    assert_eq!((row.status.as_str(), row.failure.as_deref()), ("failed", Some("discarded")));
    assert!(row.error_message.unwrap().starts_with("not enough credits: 0.5 needed, 0.1 available"));
    assert_eq!(world.sandbox.stats().units(Bucket::Default), 0);
    assert_eq!(world.accounts().await, (vec!["failed".to_owned()], vec![0]));
    assert_eq!(world.balance().await.1, MicroCredits::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_for_good_closes_the_run_frees_the_credits_and_says_why() {
    let world = World::new(5, 20).await;
    let gone =
        Fault::Error { status: 403, reason: "insufficientPermissions".to_owned(), retry_after_secs: None };
    world.sandbox.inject(Rule::next(Endpoint::Channels, gone));
    let job = world.request().await;
    world.drain().await;
    assert_eq!(world.job(job).await.failure.as_deref(), Some("discarded"));
    assert_eq!(world.accounts().await, (vec!["failed".to_owned()], vec![0]));
    assert_eq!(world.balance().await, (MicroCredits::whole(100), MicroCredits::ZERO));
    let error: String =
        sqlx::query_scalar("select error_message from sync_logs").fetch_one(world.pool()).await.unwrap();
    assert!(error.contains("insufficientPermissions"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_job_was_cancelled_or_died_is_closed_and_counted() {
    let world = World::new(30, 1_500).await;
    world.sandbox.inject(Rule::next(Endpoint::CommentThreads, Fault::ExhaustQuota).after(2));
    let job = world.request().await;
    world.drain().await;
    greenroom_queue::cancel(world.pool(), job).await.unwrap();
    world.queue.enqueue(&crate::CloseRuns {}).await.unwrap();
    world.drain().await;
    assert_eq!(world.accounts().await, (vec!["failed".to_owned()], vec![0]));
    let statuses = by_status(world.pool()).await.unwrap();
    assert_eq!((statuses["failed: cancelled"], statuses["completed"]), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_disconnected_half_way_stops_there() {
    let world = World::new(30, 1_500).await;
    // The first page of comments is answered late enough for the owner to leave.
    world.sandbox.inject(Rule::next(Endpoint::CommentThreads, Fault::Delay { millis: 1_500 }).times(8));
    let job = world.schedule().await;
    let leave = async {
        tokio::time::sleep(Duration::from_millis(900)).await;
        sqlx::query("update youtube_connections set connection_status = 'disconnected', access_token = null, refresh_token = null")
            .execute(world.pool())
            .await
            .unwrap();
    };
    tokio::join!(world.drain(), leave);
    let row = world.job(job).await;
    assert_eq!(row.failure.as_deref(), Some("discarded"), "{row:?}");
    assert_eq!(world.number("select count(*) from youtube_comments").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_connection_that_is_due_gets_one_sync() {
    let world = World::new(5, 20).await;
    world.queue.enqueue(&crate::SyncDueChannels {}).await.unwrap();
    world.drain().await;
    world.is_complete().await;
    world.queue.enqueue(&crate::SyncDueChannels {}).await.unwrap();
    world.drain().await;
    let syncs = format!("select count(*) from background_jobs where job_type = '{}'", SyncChannel::KIND);
    let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(syncs)).fetch_one(world.pool()).await.unwrap();
    assert_eq!(count, 1, "it is not due again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_fails_for_good_is_not_synced_anew_at_every_look() {
    let world = World::new(5, 20).await;
    let revoked = Fault::Error { status: 401, reason: "authError".to_owned(), retry_after_secs: None };
    world.sandbox.inject(Rule { times: None, ..Rule::next(Endpoint::Channels, revoked) });
    for _ in 0..3 {
        world.queue.enqueue(&crate::SyncDueChannels {}).await.unwrap();
        world.drain().await;
    }
    assert_eq!(world.accounts().await.0, ["failed"]);
    world.sandbox.clear_faults();
    world.db.advance(Duration::from_hours(7)).await;
    world.queue.enqueue(&crate::SyncDueChannels {}).await.unwrap();
    world.drain().await;
    assert_eq!(world.accounts().await.0, ["failed", "success"]);
}
