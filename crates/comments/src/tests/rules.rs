//! One test a rule.

use super::*;
use crate::CommentsError;

const FRESH: Upserted = Upserted { inserted: 0, updated: 0, unchanged: 0, owned_elsewhere: 0 };

#[tokio::test]
async fn new_comments_are_unread_and_the_owners_own_are_read() {
    for platform in BOTH {
        let world = World::new(platform).await;
        let own = IncomingComment { by_owner: true, ..world.comment("own") };
        assert_eq!(world.upsert(&[world.comment("a"), own]).await, Upserted { inserted: 2, ..FRESH });
        let stored = world.stored("a").await;
        assert_eq!(
            (stored.status.as_str(), stored.text.as_str(), stored.like_count),
            ("unread", "Comment a", 3)
        );
        assert_eq!(stored.author_name.as_deref(), Some("A viewer"));
        assert_eq!(world.stored("own").await.status, "read");
    }
}

#[tokio::test]
async fn an_unchanged_page_writes_and_locks_nothing() {
    for platform in BOTH {
        let world = World::new(platform).await;
        let mut page: Vec<_> = (0..990).map(|n| world.comment(&format!("c{n:04}"))).collect();
        page.extend((0..10).map(|n| world.answer(&format!("r{n}"), &format!("c{n:04}"), 5)));
        assert_eq!(world.upsert(&page).await.inserted, 1_000);
        let before = world.versions().await;
        assert_eq!(world.upsert(&page).await, Upserted { unchanged: 1_000, ..FRESH });
        assert_eq!(world.versions().await, before);
        // One change rewrites one row.
        page[500].like_count = Some(4);
        assert_eq!(world.upsert(&page).await, Upserted { updated: 1, unchanged: 999, ..FRESH });
        let after = world.versions().await;
        assert_eq!(before.iter().filter(|row| !after.contains(row)).count(), 1);
    }
}

#[tokio::test]
async fn a_comment_handed_over_twice_counts_as_it_stands_last() {
    for platform in BOTH {
        let world = World::new(platform).await;
        let last = IncomingComment { like_count: Some(9), ..world.comment("a") };
        let upserted = world.upsert(&[world.comment("a"), world.comment("b"), last]).await;
        assert_eq!(upserted, Upserted { inserted: 2, ..FRESH });
        assert_eq!(world.stored("a").await.like_count, 9);
    }
}

#[tokio::test]
async fn an_edited_text_is_read_again_and_nothing_else_is_touched() {
    for platform in BOTH {
        let world = World::new(platform).await;
        world.upsert(&[world.comment("a")]).await;
        set!(
            world,
            "a",
            "sentiment = 'positive', priority_score = 80, categories = '{question}',
             detected_keywords = '{greenroom}', language = 'en',
             status = 'ignored', tags = '{vip}', internal_notes = 'Call her'"
        );

        let liked = IncomingComment { like_count: Some(50), ..world.comment("a") };
        assert_eq!(world.upsert(std::slice::from_ref(&liked)).await, Upserted { updated: 1, ..FRESH });
        let stored = world.stored("a").await;
        assert_eq!((stored.sentiment.as_deref(), stored.like_count), (Some("positive"), 50));

        let edited = IncomingComment { text: "Another text".to_owned(), ..liked };
        assert_eq!(world.upsert(&[edited]).await, Upserted { updated: 1, ..FRESH });
        let stored = world.stored("a").await;
        assert_eq!((stored.text.as_str(), stored.sentiment), ("Another text", None));
        assert_eq!((stored.status.as_str(), stored.internal_notes.as_deref()), ("ignored", Some("Call her")));
        let sql = on!(
            platform,
            "select count(*) from ",
            " where priority_score is null and categories is null and detected_keywords is null
                and language is null and tags = '{vip}'"
        );
        let blank: i64 = sqlx::query_scalar(sql).fetch_one(world.db.pool()).await.unwrap();
        assert_eq!(blank, 1);
    }
}

#[tokio::test]
async fn an_answer_is_seen_whichever_comes_first() {
    for platform in BOTH {
        let world = World::new(platform).await;
        let (comment, answer) = (world.comment("a"), world.answer("r", "a", 30));
        for pages in [
            vec![vec![comment.clone(), answer.clone()]],
            vec![vec![comment.clone()], vec![answer.clone()]],
            vec![vec![answer.clone()], vec![comment.clone()]],
        ] {
            world.run(on!(platform, "delete from ", " where comment_id <> $1"), "").await;
            for page in &pages {
                world.upsert(page).await;
            }
            let stored = world.stored("a").await;
            assert_eq!(stored.status, "answered", "{platform} {} pages", pages.len());
            assert_eq!(stored.replied_at, Some(answer.published_at));
            assert_eq!(stored.response_text.as_deref(), Some("Answer r"));
            assert_eq!(world.stored("r").await.replied_at, None);
        }
    }
}

#[tokio::test]
async fn the_earliest_answer_counts() {
    for platform in BOTH {
        let world = World::new(platform).await;
        world.upsert(&[world.comment("a"), world.answer("late", "a", 60)]).await;
        world.upsert(&[world.answer("later", "a", 90)]).await;
        assert_eq!(world.stored("a").await.response_text.as_deref(), Some("Answer late"));
        world.upsert(&[world.answer("early", "a", 10)]).await;
        assert_eq!(world.stored("a").await.response_text.as_deref(), Some("Answer early"));
        // A viewer's reply answers nothing.
        let reply = IncomingComment { by_owner: false, ..world.answer("viewer", "b", 1) };
        world.upsert(&[world.comment("b"), reply]).await;
        assert_eq!(world.stored("b").await.status, "unread");
    }
}

#[tokio::test]
async fn what_people_decided_stands() {
    for platform in BOTH {
        let world = World::new(platform).await;
        world.upsert(&[world.comment("ignored"), world.comment("read"), world.comment("reopened")]).await;
        set!(world, "ignored", "status = 'ignored'");
        set!(world, "read", "status = 'read'");
        let answers =
            ["ignored", "read", "reopened"].map(|parent| world.answer(&format!("r-{parent}"), parent, 5));
        world.upsert(&answers).await;
        let ignored = world.stored("ignored").await;
        assert_eq!((ignored.status.as_str(), ignored.response_text.is_some()), ("ignored", true));
        assert_eq!(world.stored("read").await.status, "answered");
        // Opened again by a person: neither the same answer nor an edited one closes it.
        set!(world, "reopened", "status = 'unread'");
        world.upsert(&answers).await;
        let edited = IncomingComment { text: "Better".to_owned(), ..answers[2].clone() };
        world.upsert(&[edited]).await;
        let reopened = world.stored("reopened").await;
        assert_eq!((reopened.status.as_str(), reopened.response_text.as_deref()), ("unread", Some("Better")));
    }
}

#[tokio::test]
async fn what_another_connection_brought_stays_its_own() {
    for platform in BOTH {
        let world = World::new(platform).await;
        world.upsert(&[world.comment("a")]).await;
        let (other, piece) = account(&world.db, platform, "2").await;
        let theirs = IncomingComment { piece, text: "Overwritten".to_owned(), ..world.comment("a") };
        let reply = IncomingComment { piece, ..world.answer("r", "a", 5) };
        let mut conn = world.db.pool().acquire().await.unwrap();
        let upserted = upsert_many(&mut conn, platform, other, &[theirs, reply]).await.unwrap();
        assert_eq!(upserted, Upserted { inserted: 1, owned_elsewhere: 1, ..FRESH });
        let stored = world.stored("a").await;
        assert_eq!((stored.text.as_str(), stored.status.as_str()), ("Comment a", "unread"));
    }
}

#[tokio::test]
async fn what_is_not_told_leaves_what_is_known() {
    for platform in BOTH {
        let world = World::new(platform).await;
        world.upsert(&[world.comment("a")]).await;
        let bare =
            IncomingComment { author_name: None, author_id: None, like_count: None, ..world.comment("a") };
        assert_eq!(world.upsert(&[bare]).await, Upserted { unchanged: 1, ..FRESH });
        assert_eq!(world.stored("a").await.like_count, 3);
    }
}

#[tokio::test]
async fn a_comment_that_is_seen_again_is_not_deleted() {
    for platform in BOTH {
        let world = World::new(platform).await;
        world.upsert(&[world.comment("a")]).await;
        set!(world, "a", "deleted_at = greenroom.now()");
        assert_eq!(world.upsert(&[world.comment("a")]).await, Upserted { updated: 1, ..FRESH });
        assert_eq!(world.stored("a").await.deleted_at, None);
    }
}

#[tokio::test]
async fn a_text_with_a_zero_is_stored_without_it() {
    for platform in BOTH {
        let world = World::new(platform).await;
        let odd = IncomingComment {
            text: "a\0b".to_owned(),
            author_name: Some("x\0".to_owned()),
            ..world.comment("a")
        };
        world.upsert(std::slice::from_ref(&odd)).await;
        assert_eq!(world.stored("a").await.text, "ab");
        assert_eq!(world.upsert(&[odd]).await.unchanged, 1);
    }
}

#[tokio::test]
async fn other_platforms_have_no_comments() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let error = upsert_many(&mut conn, Platform::Tiktok, ConnectionId::new(), &[]).await.unwrap_err();
    assert!(matches!(error, CommentsError::UnsupportedPlatform(Platform::Tiktok)));
    for platform in BOTH {
        assert_eq!(upsert_many(&mut conn, platform, ConnectionId::new(), &[]).await.unwrap(), FRESH);
    }
}

#[tokio::test]
async fn the_callers_transaction_decides() {
    for platform in BOTH {
        let world = World::new(platform).await;
        let mut tx = world.db.pool().begin().await.unwrap();
        upsert_many(&mut tx, platform, world.connection, &[world.comment("a")]).await.unwrap();
        let seqscan: String = sqlx::query_scalar("show enable_seqscan").fetch_one(&mut *tx).await.unwrap();
        assert_eq!(seqscan, "on", "nothing of ours is left in it");
        tx.rollback().await.unwrap();
        assert!(world.versions().await.is_empty());
    }
}
