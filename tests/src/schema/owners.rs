//! Who owns which table, as the comment on each says.

use std::collections::BTreeMap;

use greenroom_testkit::Database;

/// Only the owner inserts and deletes; what is lent of a table stands in its comment.
const OWNERS: [(&str, &[&str]); 11] = [
    (
        "accounts",
        &[
            "admin_notification_settings",
            "applications",
            "audit_logs",
            "locations",
            "organizations",
            "user_feedback",
            "user_memberships",
            "user_sessions",
            "users",
        ],
    ),
    (
        "connections",
        &["instagram_connections", "oauth_state_tokens", "platform_connections", "youtube_connections"],
    ),
    ("queue", &["background_jobs"]),
    ("mail", &[]),
    ("credits", &["ai_usage_logs", "credit_action_costs", "credit_usage_events", "user_credit_balances"]),
    ("sync", &["sync_logs"]),
    (
        "comments",
        &[
            "instagram_comments",
            "interaction_analytics",
            "interaction_views",
            "response_templates",
            "workflows",
            "youtube_comments",
        ],
    ),
    (
        "content",
        &[
            "analytics_snapshots",
            "content_analysis",
            "content_insights",
            "content_performance",
            "content_pieces",
            "content_themes",
        ],
    ),
    (
        "studio",
        &[
            "active_projects",
            "ai_chat_messages",
            "ai_chat_sessions",
            "ai_context",
            "ai_training_data",
            "creator_profiles",
            "generated_opportunities",
            "opportunity_templates",
            "plan_modifications",
            "project_chat_messages",
            "project_decisions",
            "project_task_completions",
            "session_tags",
            "tags",
        ],
    ),
    ("youtube", &["youtube_videos"]),
    ("instagram", &["instagram_insights", "instagram_media"]),
];

#[tokio::test]
async fn every_table_says_who_owns_it() {
    let db = Database::new().await;
    let rows: Vec<(String, String, Option<String>)> = sqlx::query_as(
        "select n.nspname::text, c.relname::text, obj_description(c.oid, 'pg_class')
           from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where n.nspname in ('public', 'greenroom') and c.relkind in ('r', 'p')
            -- The migrator's own record, and the clock that only tests have.
            and c.relname not in ('_sqlx_migrations', 'clock_offset')
          order by c.relname",
    )
    .fetch_all(db.pool())
    .await
    .unwrap();
    let mut of_the_seed: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (schema, table, comment) in &rows {
        let comment = comment.as_deref().unwrap_or_default();
        let owner = comment.strip_prefix("owner: ").and_then(|rest| rest.split(['.', ';']).next());
        let Some(owner) = owner else {
            panic!("the comment on {schema}.{table} must begin with `owner: NAME`: {comment:?}");
        };
        let known = OWNERS.iter().find(|(name, _)| *name == owner);
        let (known, _) = known.unwrap_or_else(|| panic!("{schema}.{table} has an unknown owner {owner:?}"));
        let sentence = comment.split_once(". ").map_or("", |(_, sentence)| sentence);
        assert!(
            sentence.ends_with('.'),
            "the comment on {schema}.{table} must teach a sentence: {comment:?}"
        );
        if schema == "public" {
            of_the_seed.entry(known).or_default().push(table);
        }
    }
    for (owner, tables) in OWNERS {
        assert_eq!(of_the_seed.remove(owner).unwrap_or_default(), tables, "the tables of {owner}");
    }
}

#[tokio::test]
async fn loans_are_written_down() {
    let db = Database::new().await;
    for (table, loan) in [
        ("users", "lent: trial_*, countdown_*, launch_sent_at, marketing_* to campaigns"),
        ("youtube_videos", "lent: performance_score, percentile_rank, is_trending to content"),
        ("youtube_connections", "last_synced_at to youtube"),
        ("instagram_connections", "last_synced_at to instagram"),
    ] {
        let comment: String = sqlx::query_scalar("select obj_description($1::regclass, 'pg_class')")
            .bind(table)
            .fetch_one(db.pool())
            .await
            .unwrap();
        assert!(comment.contains(loan), "{table}: {comment}");
    }
}
