//! The inbox over both tables.

use std::collections::BTreeSet;

use greenroom_accounts::consents::{self, Purpose};
use greenroom_language::{Category, Sentiment};
use greenroom_model::{CommentId, UserId};
use serde_json::{Value, json};

use super::*;
use crate::inbox::views::{self, ViewError};
use crate::inbox::{
    AssignedTo, Change, Filters, Interaction, Page, Position, Scope, Sort, Status, change, find, list, thread,
};

/// Two accounts of two people, with comments of every kind in both tables.
struct Inbox {
    db: Database,
    youtube: ConnectionId,
}

/// Comments of each account: every score, over forty days, some answered, some held down.
const MANY: &str = "insert into %table% (connection_id, %piece%, comment_id, %text%, %time%, priority_score, status,
        sentiment, categories, language, priority_breakdown, replied_at, %author%, tags, enrich_version, enrich_provider)
    select $1, $2, 'c' || $3 || n, case when n % 7 = 0 then 'Where is the Tripod from?' else 'Number ' || n end,
           greenroom.now() - n * interval '7 hours', 1 + (n * 37) % 100, (array['unread', 'read', 'answered', 'ignored'])[1 + n % 4],
           (array['positive', 'negative', 'neutral'])[1 + n % 3],
           case n % 5 when 0 then array['question'] when 1 then array['spam'] when 2 then array['praise', 'collab'] else '{}'::text[] end,
           case n % 2 when 0 then 'en' else 'de' end,
           case when n % 5 = 1 then '{\"limit\": \"spam\"}' else '{}' end::jsonb,
           case when n % 4 = 2 then greenroom.now() end, 'Person ' || n % 9, array['t' || n % 3], 1, 'local'
      from generate_series(1, 137) n";

impl Inbox {
    async fn new() -> Self {
        let db = Database::new().await;
        let mut youtube = None;
        for platform in BOTH {
            let (connection, piece) = account(&db, platform, &platform.to_string()).await;
            let names = match platform {
                Platform::Youtube => {
                    ["youtube_comments", "video_id", "content", "published_at", "author_name"]
                }
                _ => ["instagram_comments", "media_id", "text", "timestamp", "username"],
            };
            let mut sql = MANY.to_owned();
            for (mark, name) in ["%table%", "%piece%", "%text%", "%time%", "%author%"].iter().zip(names) {
                sql = sql.replace(mark, name);
            }
            sqlx::query(sqlx::AssertSqlSafe(sql))
                .bind(connection.0)
                .bind(piece)
                .bind(platform.as_str())
                .execute(db.pool())
                .await
                .unwrap();
            youtube = youtube.or(Some(connection));
        }
        Self { db, youtube: youtube.unwrap() }
    }

    async fn page(&self, filters: &Filters, after: Option<Position>, limit: u16) -> Page {
        let mut conn = self.db.pool().acquire().await.unwrap();
        list(&mut conn, Scope::default(), filters, after, limit).await.unwrap()
    }

    /// Everything that passes the filters, in pages of so many.
    async fn all(&self, filters: &Filters, limit: u16) -> Vec<Interaction> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = self.page(filters, after, limit).await;
            assert!(page.interactions.len() <= usize::from(limit));
            all.extend(page.interactions);
            let Some(next) = page.next else { return all };
            // As a program hands it back.
            after = Some(next.to_string().parse().unwrap());
        }
    }

    async fn change(&self, id: CommentId, body: Value, by: Option<UserId>) -> u64 {
        let wanted: Change = serde_json::from_value(body).unwrap();
        wanted.validate().unwrap();
        change(&mut self.db.pool().acquire().await.unwrap(), &[id], &wanted, by).await.unwrap().kept
    }

    async fn find(&self, id: CommentId) -> Interaction {
        find(&mut self.db.pool().acquire().await.unwrap(), id).await.unwrap().unwrap()
    }

    async fn user(&self) -> UserId {
        let sql = "select user_id from youtube_connections where id = $1";
        UserId(sqlx::query_scalar(sql).bind(self.youtube.0).fetch_one(self.db.pool()).await.unwrap())
    }
}

fn ids(rows: &[Interaction]) -> Vec<CommentId> {
    rows.iter().map(|row| row.id).collect()
}

#[tokio::test]
async fn pages_of_every_order_hold_everything_once() {
    let inbox = Inbox::new().await;
    for sort in [Sort::Priority, Sort::Newest, Sort::Oldest] {
        let filters = Filters { sort: Some(sort), ..Filters::default() };
        let whole = inbox.all(&filters, 1_000).await;
        assert_eq!(whole.len(), 2 * 137, "{sort:?}");
        for limit in [1, 7, 50] {
            let paged = inbox.all(&filters, limit).await;
            assert_eq!(ids(&paged).iter().collect::<BTreeSet<_>>().len(), 2 * 137, "{sort:?} by {limit}");
            // Every list is weighed at an instant of its own, so those of the same rank may stand otherwise.
            let orders: Vec<_> = [&whole, &paged]
                .map(|rows| match sort {
                    Sort::Priority => rows.iter().map(|row| i64::from(row.priority.unwrap() / 100)).collect(),
                    _ => rows.iter().map(|row| row.published_at.timestamp_micros()).collect::<Vec<_>>(),
                })
                .into();
            let ordered = match sort {
                Sort::Oldest => orders[1].is_sorted(),
                _ => orders[1].is_sorted_by(|a, b| a >= b),
            };
            assert!(ordered, "{sort:?} by {limit}: {:?}", orders[1]);
        }
    }
}

#[test]
fn a_position_that_no_page_has_given_is_refused() {
    for wrong in [
        "",
        "1.2.3",
        "x.1.1.1",
        "9223372036854775807.1.1.01a21bbee390741098421ca5dfc44b61",
        "-1.1.1.01a21bbee390741098421ca5dfc44b61",
    ] {
        assert!(wrong.parse::<Position>().is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn what_is_new_and_what_waits_rises_and_what_is_held_down_does_not() {
    let inbox = Inbox::new().await;
    for row in inbox.all(&Filters::default(), 200).await {
        let (score, rank) = (100 * row.priority_score.unwrap(), row.priority.unwrap());
        let hours = (inbox.db.clock().now() - row.published_at).as_seconds_f64() / 3_600.0;
        let held = row.categories.as_ref().unwrap().contains(&"spam".to_owned());
        if held || hours > 168.0 {
            assert_eq!(rank, score, "{row:?}");
            continue;
        }
        let asks = row.categories.unwrap().iter().any(|one| one == "question" || one == "collab");
        let waits = row.replied_at.is_none() && asks && hours > 24.0;
        let expected = f64::from(score) + 1_000.0 * (-hours / 36.0).exp() + if waits { 600.0 } else { 0.0 };
        assert!(
            (f64::from(rank) - expected.min(10_000.0)).abs() < 3.0,
            "{rank} and {expected}, {hours} hours"
        );
    }
}

type Keeps<'a> = &'a dyn Fn(&Interaction) -> bool;

#[tokio::test]
async fn each_filter_keeps_what_it_says() {
    let inbox = Inbox::new().await;
    let helper = inbox.user().await;
    for sql in [
        "update youtube_comments set author_channel_id = 'UCperson3' where author_name = 'Person 3'",
        "update youtube_comments set assigned_to_user_id = $1 where priority_score < 20",
        "update instagram_comments set assigned_to_user_id = $1 where priority_score > 80",
    ] {
        let assigned = sqlx::query(sql);
        let assigned = if sql.contains("$1") { assigned.bind(helper.0) } else { assigned };
        assigned.execute(inbox.db.pool()).await.unwrap();
    }
    let everything = inbox.all(&Filters::default(), 200).await;
    let of = |json: Value| serde_json::from_value::<Filters>(json).unwrap();
    let has = |list: &Option<Vec<String>>, one: &str| list.as_ref().unwrap().iter().any(|it| it == one);
    let now = inbox.db.clock().now();
    let cases: [(Value, Keeps<'_>); 23] = [
        (json!({"platform": ["youtube"]}), &|it| it.platform == "youtube"),
        (json!({"connection_id": [inbox.youtube]}), &|it| it.connection_id == inbox.youtube),
        (json!({"content_id": [everything[0].content_id]}), &|it| it.content_id == everything[0].content_id),
        (json!({"status": ["unread", "ignored"]}), &|it| it.status == "unread" || it.status == "ignored"),
        (json!({"sentiment": "negative"}), &|it| it.sentiment.as_deref() == Some("negative")),
        (json!({"category": "question,collab"}), &|it| {
            has(&it.categories, "question") || has(&it.categories, "collab")
        }),
        (json!({"category_not": ["spam"]}), &|it| !has(&it.categories, "spam")),
        (json!({"language": ["de"]}), &|it| it.language.as_deref() == Some("de")),
        (json!({"priority_min": 45, "priority_max": 69}), &|it| {
            (45..=69).contains(&it.priority_score.unwrap())
        }),
        (json!({"tag": ["t1", "t2"]}), &|it| it.tags != ["t0"]),
        (json!({"tag_not": ["t1", "t2"]}), &|it| it.tags == ["t0"]),
        (json!({"author": "person 3"}), &|it| it.author_name.as_deref() == Some("Person 3")),
        (json!({"text": "tripod"}), &|it| it.text.contains("Tripod")),
        (json!({"has_reply": true}), &|it| it.replied_at.is_some()),
        (json!({"is_top_level": false}), &|_| false),
        (json!({"assigned_to": "none"}), &|it| it.assigned_to_user_id.is_none()),
        // Those that an index of their own picks, in every order and with others beside.
        (json!({"assigned_to": helper, "sort": "oldest"}), &|it| it.assigned_to_user_id == Some(helper)),
        (json!({"author": "UCperson3"}), &|it| it.author_id.is_some()),
        (json!({"author": "UCperson3", "sort": "newest", "status": "unread"}), &|it| {
            it.author_id.is_some() && it.status == "unread"
        }),
        (json!({"tag": ["t1"], "platform": ["instagram"], "sort": "newest"}), &|it| {
            it.tags == ["t1"] && it.platform == "instagram"
        }),
        (json!({"tag": ["nothing has it"]}), &|_| false),
        (json!({"last_days": 7, "sort": "oldest"}), &|it| it.published_at >= now - TimeDelta::days(7)),
        (json!({"unanswered_older_than_hours": 48, "sort": "newest"}), &|it| {
            it.replied_at.is_none()
                && (it.status == "unread" || it.status == "read")
                && it.published_at < now - TimeDelta::hours(48)
        }),
    ];
    for (filters, keeps) in cases {
        let kept = inbox.all(&of(filters.clone()), 30).await;
        let expected: BTreeSet<CommentId> =
            everything.iter().filter(|row| keeps(row)).map(|row| row.id).collect();
        assert_eq!(ids(&kept).into_iter().collect::<BTreeSet<_>>(), expected, "{filters}");
        assert_eq!(of(serde_json::to_value(of(filters.clone())).unwrap()), of(filters));
    }
    for (wrong, key) in [
        (json!({"platform": ["twitter"]}), "platform"),
        (json!({"text": "a"}), "text"),
        (json!({"priority_min": 0}), "priority_min"),
        (json!({"last_days": 0}), "last_days"),
    ] {
        assert_eq!(of(wrong).validate().unwrap_err().key, key);
    }
    assert!(serde_json::from_value::<Filters>(json!({"colour": "red"})).is_err());
}

#[tokio::test]
async fn people_change_what_a_sync_never_touches() {
    let inbox = Inbox::new().await;
    let id = inbox.all(&Filters::default(), 200).await[0].id;
    let user = inbox.user().await;
    let body = json!({"status": "read", "tags": [" vip ", "later"], "assigned_to_user_id": user, "internal_notes": "call"});
    inbox.change(id, body, None).await;
    inbox.change(id, json!({"add_tags": ["later", "now"], "remove_tags": ["vip"]}), None).await;
    let row = inbox.find(id).await;
    assert_eq!((row.status.as_str(), row.tags), ("read", vec!["later".to_owned(), "now".to_owned()]));
    assert_eq!((row.assigned_to_user_id, row.internal_notes.as_deref()), (Some(user), Some("call")));
    let mine = Filters { assigned_to: Some(AssignedTo::Me), ..Filters::default() };
    let mut conn = inbox.db.pool().acquire().await.unwrap();
    let scope = Scope { me: Some(user), ..Scope::default() };
    assert_eq!(ids(&list(&mut conn, scope, &mine, None, 9).await.unwrap().interactions), [id]);
    inbox.change(id, json!({"assigned_to_user_id": null, "internal_notes": null}), None).await;
    let row = inbox.find(id).await;
    assert_eq!((row.assigned_to_user_id, row.internal_notes), (None, None));
    for wrong in [
        json!({"tags": ["a"], "add_tags": ["b"]}),
        json!({"tags": [""]}),
        json!({"internal_notes": "n".repeat(10_001)}),
    ] {
        assert!(serde_json::from_value::<Change>(wrong.clone()).unwrap().validate().is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn a_correction_stands_and_is_kept_only_with_consent() {
    let inbox = Inbox::new().await;
    let id = inbox.all(&Filters::default(), 200).await[0].id;
    let user = inbox.user().await;
    let correction = json!({"sentiment": "negative", "categories": ["complaint"]});
    assert_eq!(inbox.change(id, correction.clone(), Some(user)).await, 0, "nobody has consented");
    let row = inbox.find(id).await;
    assert_eq!((row.sentiment.as_deref(), row.read_by.as_deref()), (Some("negative"), Some("person")));
    assert_eq!((row.categories, row.priority_breakdown), (Some(vec!["complaint".to_owned()]), None));

    let mut conn = inbox.db.pool().acquire().await.unwrap();
    consents::give(&mut conn, user, Purpose::Training).await.unwrap();
    assert_eq!(inbox.change(id, correction, Some(user)).await, 1);
    let kept: (String, Value) =
        sqlx::query_as("select content, metadata from ai_training_data").fetch_one(&mut *conn).await.unwrap();
    assert_eq!(kept.1["was"]["sentiment"], "negative");
    assert!(!format!("{kept:?}").contains("Tripod") && !format!("{kept:?}").contains("Number"), "{kept:?}");
    consents::withdraw(&mut conn, user, Purpose::Training).await.unwrap();
    let left: i64 =
        sqlx::query_scalar("select count(*) from ai_training_data").fetch_one(&mut *conn).await.unwrap();
    assert_eq!(left, 0, "what was kept goes with the consent");
}

#[tokio::test]
async fn views_are_saved_by_name() {
    let inbox = Inbox::new().await;
    let user = inbox.user().await;
    let mut conn = inbox.db.pool().acquire().await.unwrap();
    let filters = Filters {
        status: vec![Status::Unread].into(),
        category: vec![Category::Question].into(),
        sentiment: vec![Sentiment::Negative].into(),
        ..Filters::default()
    };
    let view = views::create(&mut conn, user, " Angry questions ", &filters).await.unwrap();
    assert_eq!((view.name.as_str(), &view.filters.0), ("Angry questions", &filters));
    let again = views::create(&mut conn, user, "angry QUESTIONS", &filters).await;
    assert!(matches!(again, Err(ViewError::NameTaken)), "{again:?}");
    assert!(matches!(views::create(&mut conn, user, "  ", &filters).await, Err(ViewError::Name)));
    let renamed = views::replace(&mut conn, view.id, "Others", &Filters::default()).await.unwrap().unwrap();
    assert_eq!(views::list(&mut conn, user).await.unwrap()[0].name, renamed.name);
    for n in 1..50 {
        views::create(&mut conn, user, &format!("View {n}"), &filters).await.unwrap();
    }
    assert!(matches!(views::create(&mut conn, user, "One more", &filters).await, Err(ViewError::TooMany)));
    assert!(views::delete(&mut conn, view.id).await.unwrap());
    assert!(views::find(&mut conn, view.id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_comment_is_shown_with_its_thread() {
    for platform in BOTH {
        let world = World::new(platform).await;
        let other = IncomingComment { parent_comment_id: Some("a".to_owned()), ..world.comment("b") };
        world.upsert(&[world.comment("a"), other, world.answer("answer", "a", 9), world.comment("c")]).await;
        let mut conn = world.db.pool().acquire().await.unwrap();
        let id = sqlx::query_scalar("select id from greenroom.comments where comment_id = 'b'");
        let id = CommentId(id.fetch_one(&mut *conn).await.unwrap());
        let reply = find(&mut conn, id).await.unwrap().unwrap();
        let shown: Vec<String> =
            thread(&mut conn, &reply, 9).await.unwrap().into_iter().map(|row| row.comment_id).collect();
        assert_eq!(shown, ["a", "b", "answer"]);
    }
}
