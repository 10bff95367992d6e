//! What the schema itself refuses, and what happens to the rows beside a deleted one.

use greenroom_testkit::Database;
use sqlx::PgPool;

/// Ids that tell what they are of.
const WORLD: &str = "
insert into organizations (id, name, slug) values
    ('00000000-0000-0000-0000-0000000000a1', 'Agency', 'agency'),
    ('00000000-0000-0000-0000-0000000000a2', 'Other', 'other');
insert into users (id, email, is_admin) values ('00000000-0000-0000-0000-0000000000f1', 'admin@example.com', true);
insert into users (id, email, organization_id, approval_status, approved_at, approved_by) values
    ('00000000-0000-0000-0000-0000000000f2', 'person@example.com', '00000000-0000-0000-0000-0000000000a1',
     'approved', greenroom.now(), '00000000-0000-0000-0000-0000000000f1');
insert into locations (id, organization_id, name) values
    ('00000000-0000-0000-0000-0000000000b1', '00000000-0000-0000-0000-0000000000a1', 'Berlin'),
    ('00000000-0000-0000-0000-0000000000b2', '00000000-0000-0000-0000-0000000000a2', 'Elsewhere');
insert into user_memberships (user_id, organization_id) values
    ('00000000-0000-0000-0000-0000000000f2', '00000000-0000-0000-0000-0000000000a1');
insert into platform_connections (location_id, platform) values
    ('00000000-0000-0000-0000-0000000000b1', 'youtube');
insert into audit_logs (user_id, organization_id, action) values
    ('00000000-0000-0000-0000-0000000000f1', '00000000-0000-0000-0000-0000000000a1', 'user.approved');
insert into youtube_connections (id, user_id, channel_id) values
    ('00000000-0000-0000-0000-0000000000c1', '00000000-0000-0000-0000-0000000000f2', 'UC1');
insert into instagram_connections (id, user_id, instagram_user_id) values
    ('00000000-0000-0000-0000-0000000000c2', '00000000-0000-0000-0000-0000000000f2', '17841');
insert into youtube_videos (id, channel_id, video_id) values
    ('00000000-0000-0000-0000-0000000000d1', '00000000-0000-0000-0000-0000000000c1', 'v1');
insert into workflows (id, user_id, name, trigger_type, action_type) values
    ('00000000-0000-0000-0000-0000000000e1', '00000000-0000-0000-0000-0000000000f1', 'W', 'keyword', 'tag');
insert into youtube_comments (id, video_id, comment_id, content, published_at, connection_id, workflow_id,
                              assigned_to_user_id) values
    ('00000000-0000-0000-0000-0000000000d2', '00000000-0000-0000-0000-0000000000d1', 'k1', 'Hello', greenroom.now(),
     '00000000-0000-0000-0000-0000000000c1', '00000000-0000-0000-0000-0000000000e1',
     '00000000-0000-0000-0000-0000000000f1');
insert into content_pieces (user_id, organization_id, platform, platform_id, content_type) values
    ('00000000-0000-0000-0000-0000000000f2', '00000000-0000-0000-0000-0000000000a1', 'youtube', 'v1', 'video');
insert into background_jobs (id, user_id, job_type) values
    ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000f2', 'youtube.sync_channel');
insert into sync_logs (channel_id, sync_type, job_id) values
    ('00000000-0000-0000-0000-0000000000c1', 'youtube.sync_channel', '00000000-0000-0000-0000-000000000001');
insert into greenroom.sync_cursors (connection_id, stream, position) values
    ('00000000-0000-0000-0000-0000000000c1', 'uploads', '{}');
insert into ai_chat_sessions (id, user_id) values
    ('00000000-0000-0000-0000-00000000005a', '00000000-0000-0000-0000-0000000000f2');
insert into ai_chat_sessions (id, user_id, parent_session_id, depth_level) values
    ('00000000-0000-0000-0000-00000000005b', '00000000-0000-0000-0000-0000000000f2',
     '00000000-0000-0000-0000-00000000005a', 1);
insert into active_projects (id, user_id) values
    ('00000000-0000-0000-0000-000000000011', '00000000-0000-0000-0000-0000000000f2');
insert into ai_usage_logs (user_id, project_id, model) values
    ('00000000-0000-0000-0000-0000000000f2', '00000000-0000-0000-0000-000000000011', 'm');
";

async fn world() -> Database {
    let db = Database::new().await;
    sqlx::raw_sql(WORLD).execute(db.pool()).await.unwrap();
    db
}

async fn count(pool: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

async fn run(pool: &PgPool, sql: &'static str) {
    sqlx::query(sql).execute(pool).await.unwrap();
}

#[tokio::test]
async fn deleting_an_agency_keeps_its_people_and_its_trail() {
    let db = world().await;
    run(db.pool(), "delete from organizations where slug = 'agency'").await;
    assert_eq!(count(db.pool(), "select count(*) from users where organization_id is null").await, 2);
    assert_eq!(count(db.pool(), "select count(*) from audit_logs where organization_id is null").await, 1);
    assert_eq!(
        count(db.pool(), "select count(*) from content_pieces where organization_id is null").await,
        1
    );
    // Its places go, and what is connected to them.
    assert_eq!(count(db.pool(), "select count(*) from locations").await, 1);
    assert_eq!(count(db.pool(), "select count(*) from platform_connections").await, 0);
    assert_eq!(count(db.pool(), "select count(*) from user_memberships").await, 0);
}

#[tokio::test]
async fn deleting_an_admin_keeps_the_trail_and_what_they_decided() {
    let db = world().await;
    run(db.pool(), "delete from users where is_admin").await;
    assert_eq!(count(db.pool(), "select count(*) from audit_logs where user_id is null").await, 1);
    let approved = "select count(*) from users where approval_status = 'approved' and approved_by is null";
    assert_eq!(count(db.pool(), approved).await, 1);
    let comments =
        "select count(*) from youtube_comments where assigned_to_user_id is null and workflow_id is null";
    assert_eq!(count(db.pool(), comments).await, 1);
}

#[tokio::test]
async fn deleting_a_person_takes_all_of_theirs_along() {
    let db = world().await;
    run(db.pool(), "delete from users where email = 'person@example.com'").await;
    for table in [
        "select count(*) from youtube_connections",
        "select count(*) from instagram_connections",
        "select count(*) from youtube_videos",
        "select count(*) from youtube_comments",
        "select count(*) from sync_logs",
        "select count(*) from greenroom.sync_cursors",
        "select count(*) from content_pieces",
        "select count(*) from background_jobs",
        "select count(*) from ai_chat_sessions",
        "select count(*) from ai_usage_logs",
    ] {
        assert_eq!(count(db.pool(), table).await, 0, "{table}");
    }
    assert_eq!(count(db.pool(), "select count(*) from organizations").await, 2);
}

#[tokio::test]
async fn records_outlive_what_they_are_about() {
    let db = world().await;
    run(db.pool(), "delete from background_jobs").await;
    assert_eq!(count(db.pool(), "select count(*) from sync_logs where job_id is null").await, 1);
    run(db.pool(), "delete from active_projects").await;
    assert_eq!(count(db.pool(), "select count(*) from ai_usage_logs where project_id is null").await, 1);
    run(db.pool(), "delete from ai_chat_sessions where parent_session_id is null").await;
    assert_eq!(count(db.pool(), "select count(*) from ai_chat_sessions").await, 1, "the branch stays");
}

/// Tries each statement and expects the rule of this name to refuse it.
async fn refused(cases: &[(&'static str, &str)]) {
    let db = world().await;
    for (sql, rule) in cases {
        match sqlx::raw_sql(*sql).execute(db.pool()).await {
            Err(sqlx::Error::Database(error)) => {
                assert_eq!(error.constraint(), Some(*rule), "{sql}: {error}");
            }
            other => panic!("{rule} should have refused {sql}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn illegal_states_are_refused_by_name() {
    refused(&[
        ("update users set email = 'nobody'", "email_is_an_address"),
        ("update users set approval_status = 'approved', approved_at = null", "approved_has_time"),
        ("update users set approval_status = 'rejected'", "rejected_has_time_and_reason"),
        ("update users set access_status = 'some'", "access_status_is_known"),
        ("update users set subscription_status = 'paused'", "subscription_status_is_known"),
        ("update organizations set slug = 'Not Friendly'", "slug_is_url_friendly"),
        ("update user_memberships set role = 'king'", "role_is_known"),
        (
            "update user_memberships set role = 'owner', location_id = '00000000-0000-0000-0000-0000000000b1'",
            "owner_is_organization_wide",
        ),
        (
            "update user_memberships set location_id = '00000000-0000-0000-0000-0000000000b2'",
            "user_memberships_location_fkey",
        ),
        ("update platform_connections set platform = 'myspace'", "platform_is_known"),
        ("update platform_connections set access_token = 'gAAAAA'", "tokens_live_with_their_account"),
        ("update youtube_connections set connection_status = 'connected'", "connection_status_is_known"),
        ("update youtube_connections set refresh_lease_owner = gen_random_uuid()", "lease_has_owner_and_end"),
        (
            "update sync_logs set instagram_connection_id = '00000000-0000-0000-0000-0000000000c2'",
            "at_most_one_connection",
        ),
        ("update sync_logs set status = 'success'", "closed_has_time"),
        ("update sync_logs set status = 'failed', completed_at = greenroom.now()", "failed_has_error"),
        ("update youtube_comments set status = 'seen'", "status_is_known"),
        ("update youtube_comments set sentiment = 'angry'", "sentiment_is_known"),
        ("update youtube_comments set priority_score = 0", "priority_in_range"),
        ("update youtube_comments set parent_comment_id = comment_id", "not_its_own_parent"),
        ("update content_pieces set platform = 'twitter'", "platform_is_known"),
        ("update content_pieces set day_of_week = 7", "weekday_in_range"),
        ("update ai_chat_sessions set archived = true", "archived_is_one_fact"),
        (
            "insert into ai_chat_messages (session_id, user_id, role, content, status)
             values ('00000000-0000-0000-0000-00000000005a', '00000000-0000-0000-0000-0000000000f2', 'user', '', 'error')",
            "error_has_reason",
        ),
        ("update active_projects set overall_progress = 101", "progress_in_percent"),
        ("update active_projects set status = 'completed'", "completed_has_time"),
        (
            "insert into greenroom.email_outbox (campaign, step, occurrence, class, template, state)
             values ('trial', '7d', 'x', 'service', 't', 'sent')",
            "sent_has_time",
        ),
        (
            "insert into greenroom.service_tokens (id, name, secret_sha256) values ('short', 't', '\\x00')",
            "id_is_base62",
        ),
        (
            "insert into credit_usage_events (user_id, action_type, credits_charged)
             values ('00000000-0000-0000-0000-0000000000f2', 'youtube_sync', -1)",
            "only_reversals_are_negative",
        ),
    ])
    .await;
}

#[tokio::test]
async fn what_is_unique_cannot_be_twice() {
    refused(&[
        ("insert into users (email) values ('Person@Example.com')", "users_email_key"),
        ("insert into organizations (name, slug) values ('Again', 'agency')", "organizations_slug_key"),
        (
            "insert into user_memberships (user_id, organization_id) values
             ('00000000-0000-0000-0000-0000000000f2', '00000000-0000-0000-0000-0000000000a1')",
            "user_memberships_once",
        ),
        (
            "insert into platform_connections (location_id, platform) values
             ('00000000-0000-0000-0000-0000000000b1', 'youtube')",
            "platform_connections_once",
        ),
        (
            "insert into youtube_connections (user_id, channel_id) values
             ('00000000-0000-0000-0000-0000000000f1', 'UC1')",
            "youtube_connections_channel_once",
        ),
        (
            "insert into instagram_connections (user_id, instagram_user_id) values
             ('00000000-0000-0000-0000-0000000000f1', '17841')",
            "instagram_connections_account_once",
        ),
        (
            "insert into youtube_videos (channel_id, video_id) values
             ('00000000-0000-0000-0000-0000000000c1', 'v1')",
            "youtube_videos_video_id_key",
        ),
        (
            "insert into sync_logs (channel_id, sync_type, job_id) values
             ('00000000-0000-0000-0000-0000000000c1', 'youtube.sync_channel', '00000000-0000-0000-0000-000000000001')",
            "sync_logs_one_open_run",
        ),
        (
            "insert into credit_action_costs (action_type) values ('youtube_sync')",
            "credit_action_costs_one_in_force",
        ),
        (
            "insert into instagram_insights (connection_id, date) values
             ('00000000-0000-0000-0000-0000000000c2', '2026-01-01'),
             ('00000000-0000-0000-0000-0000000000c2', '2026-01-01')",
            "instagram_insights_once_a_day",
        ),
        (
            "insert into analytics_snapshots (location_id, date) values
             ('00000000-0000-0000-0000-0000000000b1', '2026-01-01'),
             ('00000000-0000-0000-0000-0000000000b1', '2026-01-01')",
            "analytics_snapshots_once_a_day",
        ),
        (
            "insert into greenroom.email_outbox (campaign, step, occurrence, class, template, user_id) values
             ('trial', '7d', 'x', 'service', 't', '00000000-0000-0000-0000-0000000000f2'),
             ('trial', '7d', 'x', 'service', 't', '00000000-0000-0000-0000-0000000000f2')",
            "email_outbox_once",
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_channel_that_was_left_may_be_connected_again() {
    let db = world().await;
    run(db.pool(), "update youtube_connections set connection_status = 'disconnected'").await;
    let again = "insert into youtube_connections (user_id, channel_id)
                 values ('00000000-0000-0000-0000-0000000000f1', 'UC1')";
    run(db.pool(), again).await;
    assert_eq!(
        count(db.pool(), "select count(*) from youtube_connections where channel_id = 'UC1'").await,
        2
    );
}

#[tokio::test]
async fn a_trail_is_only_added_to() {
    let db = world().await;
    for sql in ["update audit_logs set action = 'nothing'", "delete from audit_logs", "truncate audit_logs"] {
        let error = sqlx::query(sql).execute(db.pool()).await.unwrap_err().to_string();
        assert!(error.contains("rows are only added to"), "{sql}: {error}");
    }
}
