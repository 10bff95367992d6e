//! The jobs that read and rank, on both tables.

use std::sync::Arc;

use greenroom_queue::testing::{by_status, drain};
use greenroom_queue::{Job as _, Queue};
use serde_json::Value;

use super::*;
use crate::jobs::enrich::Enrich;
use crate::jobs::enrich_due::EnrichDue;
use crate::jobs::read_again::ReadAgain;
use crate::{Enrichment, Settings, jobs};

/// What was made of a comment.
#[derive(Clone, Debug, FromRow, PartialEq)]
struct Read {
    sentiment: Option<String>,
    categories: Option<Vec<String>>,
    detected_keywords: Option<Vec<String>>,
    language: Option<String>,
    priority_score: Option<i32>,
    priority_breakdown: Option<Value>,
    enrich_provider: Option<String>,
    enrich_version: Option<i32>,
    enriched_at: Option<DateTime<Utc>>,
}

impl World {
    /// Lets the schedule look, and whatever it enqueues run.
    async fn enrich(&self) {
        let queue = Queue::new(self.db.pool().clone());
        queue.enqueue(&EnrichDue {}).await.unwrap();
        self.drain(&queue).await;
    }

    async fn drain(&self, queue: &Queue) {
        let settings = Settings { batch: 2.try_into().unwrap() };
        let enrichment = Arc::new(Enrichment::new(self.db.pool().clone(), settings));
        drain(queue, &jobs(Some(&enrichment))).await.unwrap();
        let ended = by_status(self.db.pool()).await.unwrap();
        assert!(ended.keys().eq(["completed"]), "{ended:?}");
    }

    async fn read(&self, id: &str) -> Read {
        let sql =
            "select sentiment, categories, detected_keywords, language, priority_score, priority_breakdown,
                          enrich_provider, enrich_version, enriched_at
                     from greenroom.comments where comment_id = $1";
        sqlx::query_as(sql).bind(id).fetch_one(self.db.pool()).await.unwrap()
    }

    /// A comment that says this.
    fn saying(&self, id: &str, text: &str) -> IncomingComment {
        IncomingComment { text: text.to_owned(), ..self.comment(id) }
    }

    async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.db.pool()).await.unwrap()
    }
}

const QUESTION: &str = "What camera did you use for this?";
const PRAISE: &str = "Thank you so much, this is the best tutorial ever!";

#[tokio::test]
async fn every_comment_is_read_once_and_free() {
    for platform in BOTH {
        let world = World::new(platform).await;
        let mut comments: Vec<_> = (0..5).map(|n| world.saying(&format!("q{n}"), QUESTION)).collect();
        comments.push(world.saying("praise", PRAISE));
        comments.push(world.saying("hearts", "❤️❤️"));
        comments.push(world.answer("answer", "q0", 5));
        world.upsert(&comments).await;
        world.enrich().await;

        let question = world.read("q1").await;
        assert_eq!(question.categories.as_deref(), Some(&["question".to_owned()][..]));
        assert_eq!(
            (question.language.as_deref(), question.enrich_provider.as_deref()),
            (Some("en"), Some("local"))
        );
        assert!(question.detected_keywords.unwrap().contains(&"camera".to_owned()));
        assert!(question.enriched_at.is_some() && question.enrich_version > Some(0));
        let breakdown = question.priority_breakdown.unwrap();
        assert_eq!(
            (&breakdown["base"], &breakdown["formula_version"]),
            (&20.0.into(), &crate::FORMULA_VERSION.into())
        );
        let praise = world.read("praise").await;
        assert_eq!(praise.sentiment.as_deref(), Some("positive"));
        assert!(praise.priority_score < question.priority_score, "{praise:?}");
        assert_eq!(world.read("hearts").await.detected_keywords, Some(vec![]));
        // The owner's own are nobody's work, and an answered question can wait.
        assert_eq!(world.read("answer").await.sentiment, None);
        assert!(world.read("q0").await.priority_score < question.priority_score);

        // Once more finds nothing: no run, no event, no write.
        let before = world.versions().await;
        world.enrich().await;
        assert_eq!(world.versions().await, before);
        let logged = "select comments_synced::bigint from sync_logs where sync_type = 'comments.enrich' and status = 'success'";
        assert_eq!(world.number(logged).await, 7);
        let free = "select count(*) from credit_usage_events
                     where action_type = 'ai_sentiment_analysis' and credits_charged = 0
                       and event_metadata ->> 'read' = '7' and event_metadata ->> 'free' = 'scheduled'";
        assert_eq!(world.number(free).await, 1);
        assert_eq!(world.number("select count(*) from credit_usage_events").await, 1);
    }
}

#[tokio::test]
async fn another_text_is_read_and_another_fact_only_ranked() {
    for platform in BOTH {
        let world = World::new(platform).await;
        world.upsert(&[world.saying("a", QUESTION), world.saying("b", QUESTION)]).await;
        world.enrich().await;
        let first = world.read("a").await;

        let liked = IncomingComment { like_count: Some(500), ..world.saying("a", QUESTION) };
        world.upsert(&[liked, world.saying("b", PRAISE)]).await;
        let waiting = world.read("a").await;
        assert_eq!((waiting.priority_breakdown, waiting.priority_score), (None, first.priority_score));
        assert_eq!(world.read("b").await.sentiment, None);
        world.enrich().await;
        let liked = world.read("a").await;
        assert!(liked.priority_score > first.priority_score, "{liked:?}");
        assert_eq!(liked.enriched_at, first.enriched_at, "it was not read again");
        assert_eq!(world.read("b").await.sentiment.as_deref(), Some("positive"));

        world.upsert(&[world.answer("r", "a", 9)]).await;
        world.enrich().await;
        assert!(world.read("a").await.priority_score < liked.priority_score, "an answer lowers it");
    }
}

#[tokio::test]
async fn a_new_reader_reads_again_but_not_what_a_person_has_corrected() {
    for platform in BOTH {
        let world = World::new(platform).await;
        let other = IncomingComment {
            published_at: "2026-02-01T10:00:00Z".parse().unwrap(),
            ..world.saying("later", QUESTION)
        };
        world.upsert(&[world.saying("a", QUESTION), world.saying("b", QUESTION), other]).await;
        world.enrich().await;
        let right = world.read("a").await;
        for id in ["a", "b", "later"] {
            set!(world, id, "enrich_version = 0, sentiment = 'negative'");
        }
        set!(world, "b", "enrich_provider = 'person'");
        let queue = Queue::new(world.db.pool().clone());
        let until = Some("2026-01-15T00:00:00Z".parse().unwrap());
        queue.enqueue(&ReadAgain { until, ..ReadAgain::default() }).await.unwrap();
        world.drain(&queue).await;
        assert_eq!(world.read("a").await.sentiment.as_deref(), Some("negative"), "it stands until then");
        world.enrich().await;
        assert_eq!(world.read("a").await.sentiment, right.sentiment);
        assert_eq!(world.read("a").await.enrich_version, right.enrich_version);
        for id in ["b", "later"] {
            assert_eq!(world.read(id).await.sentiment.as_deref(), Some("negative"), "{id}");
        }
        let again = queue.enqueue(&ReadAgain::default()).await.unwrap();
        world.drain(&queue).await;
        let report: Value = sqlx::query_scalar("select result from background_jobs where id = $1")
            .bind(again.id.0)
            .fetch_one(world.db.pool())
            .await
            .unwrap();
        assert_eq!(report["asked"], 1, "{report}");
    }
}

/// What is read of a text must not be written over what a sync has put in its place meanwhile.
#[tokio::test]
async fn a_comment_that_changes_while_it_is_read_asks_again() {
    for platform in BOTH {
        let world = World::new(platform).await;
        world.upsert(&[world.saying("a", QUESTION)]).await;
        let mut conn = world.db.pool().acquire().await.unwrap();
        let waiting = crate::store::unranked::next(
            &mut conn,
            platform,
            world.connection,
            greenroom_model::UserId::new(),
            None,
            10,
        )
        .await
        .unwrap();
        world.upsert(&[world.saying("a", PRAISE)]).await;
        let enrichment = Enrichment::new(world.db.pool().clone(), Settings { batch: 2.try_into().unwrap() });
        let read = crate::enrichment::read(&mut enrichment.reader().unwrap(), &waiting);
        let ranked = crate::enrichment::rank(waiting, read);
        let stored = crate::store::ranked::store(&mut conn, platform, &ranked).await.unwrap();
        assert_eq!((stored, world.read("a").await.sentiment), (0, None));
        world.enrich().await;
        assert_eq!(world.read("a").await.sentiment.as_deref(), Some("positive"));
    }
}

/// Nor must it be ranked by what was known before.
#[tokio::test]
async fn a_comment_whose_facts_change_while_it_is_ranked_asks_again() {
    for platform in BOTH {
        let world = World::new(platform).await;
        let reply = IncomingComment {
            parent_comment_id: Some("own".to_owned()),
            author_id: Some("another".to_owned()),
            ..world.saying("reply", QUESTION)
        };
        world.upsert(&[world.saying("a", QUESTION), reply]).await;
        world.db.advance(std::time::Duration::from_mins(1)).await;
        let mut conn = world.db.pool().acquire().await.unwrap();
        let owner =
            crate::store::unranked::owner(&mut conn, platform, world.connection).await.unwrap().unwrap();
        let waiting = crate::store::unranked::next(&mut conn, platform, world.connection, owner, None, 10)
            .await
            .unwrap();
        assert_eq!(waiting.len(), 2);
        crate::inbox::vips::add(&mut conn, owner, platform, "viewer").await.unwrap();
        world.upsert(&[IncomingComment { by_owner: true, ..world.comment("own") }]).await;
        let enrichment = Enrichment::new(world.db.pool().clone(), Settings { batch: 2.try_into().unwrap() });
        let read = crate::enrichment::read(&mut enrichment.reader().unwrap(), &waiting);
        let ranked = crate::enrichment::rank(waiting, read);
        assert_eq!(crate::store::ranked::store(&mut conn, platform, &ranked).await.unwrap(), 0);
        world.enrich().await;
        assert_eq!(world.read("a").await.priority_breakdown.unwrap()["reach"], 15.0);
        assert_eq!(world.read("reply").await.priority_breakdown.unwrap()["thread"], 6.0);
    }
}

#[tokio::test]
async fn a_run_whose_job_is_gone_is_closed() {
    let world = World::new(Platform::Instagram).await;
    let mut conn = world.db.pool().acquire().await.unwrap();
    let job = greenroom_model::JobId::new();
    let sql = "insert into background_jobs (id, job_type, status, failure, completed_at) values ($1, $2, 'failed', 'cancelled', greenroom.now())";
    sqlx::query(sql).bind(job.0).bind(Enrich::KIND).execute(&mut *conn).await.unwrap();
    let subject = greenroom_sync::Subject::Instagram(world.connection);
    greenroom_sync::runs::open(&mut conn, job, Enrich::KIND, subject).await.unwrap();
    let queue = Queue::new(world.db.pool().clone());
    queue.enqueue(&EnrichDue {}).await.unwrap();
    let enrichment =
        Arc::new(Enrichment::new(world.db.pool().clone(), Settings { batch: 2.try_into().unwrap() }));
    drain(&queue, &jobs(Some(&enrichment))).await.unwrap();
    assert_eq!(world.number("select count(*) from sync_logs where status = 'failed'").await, 1);
    let failed = "select count(*) from credit_usage_events where event_metadata ->> 'free' = 'failed'";
    assert_eq!(world.number(failed).await, 1);
}

#[tokio::test]
async fn connections_are_found_page_by_page_and_ended_ones_are_left() {
    for platform in BOTH {
        let world = World::new(platform).await;
        world.upsert(&[world.saying("a", QUESTION)]).await;
        let mut ids = vec![world.connection];
        for name in ["2", "3", "4"] {
            let (connection, piece) = account(&world.db, platform, name).await;
            let comment = IncomingComment { piece, ..world.saying(name, QUESTION) };
            let mut conn = world.db.pool().acquire().await.unwrap();
            upsert_many(&mut conn, platform, connection, &[comment]).await.unwrap();
            ids.push(connection);
        }
        ids.sort_by_key(|id| id.0);
        let mut conn = world.db.pool().acquire().await.unwrap();
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = crate::store::unranked::behind(&mut conn, platform, after, 3).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.connection);
            found.extend(page.iter().map(|one| one.connection));
        }
        assert_eq!(found, ids);

        let end = match platform {
            Platform::Youtube => {
                "update youtube_connections set connection_status = 'disconnected' where id = $1"
            }
            _ => "update instagram_connections set connection_status = 'disconnected' where id = $1",
        };
        sqlx::query(end).bind(world.connection.0).execute(&mut *conn).await.unwrap();
        world.enrich().await;
        assert_eq!(world.read("a").await.sentiment, None, "its owner has ended it");
        assert_eq!(world.read("3").await.sentiment.as_deref(), Some("neutral"));
    }
}

#[tokio::test]
async fn who_comes_first_is_ranked_higher_at_once_and_for_that_person_only() {
    use crate::inbox::vips::{self, VipError};
    for platform in BOTH {
        let world = World::new(platform).await;
        let stranger =
            IncomingComment { author_id: Some("stranger".to_owned()), ..world.saying("b", QUESTION) };
        world.upsert(&[world.saying("a", QUESTION), stranger]).await;
        world.enrich().await;
        let before = world.read("a").await.priority_score.unwrap();
        let mut conn = world.db.pool().acquire().await.unwrap();
        let owner =
            crate::store::unranked::owner(&mut conn, platform, world.connection).await.unwrap().unwrap();
        let others: greenroom_model::UserId = {
            let sql = "insert into users (email) values ('other@example.com') returning id";
            sqlx::query_scalar(sql).fetch_one(&mut *conn).await.map(greenroom_model::UserId).unwrap()
        };
        assert!(vips::add(&mut conn, others, platform, "viewer").await.unwrap());
        assert!(world.read("a").await.priority_breakdown.is_some(), "another's list asked for a ranking");
        assert!(vips::add(&mut conn, owner, platform, "viewer").await.unwrap());
        assert!(!vips::add(&mut conn, owner, platform, "viewer").await.unwrap(), "it was no news");
        assert_eq!(world.read("a").await.priority_breakdown, None);
        assert!(world.read("b").await.priority_breakdown.is_some());
        world.enrich().await;
        let raised = world.read("a").await;
        assert_eq!(raised.priority_score, Some(before + 15), "{raised:?}");
        assert_eq!(raised.priority_breakdown.unwrap()["reach"], 15.0);
        let listed = vips::list(&mut conn, owner).await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(
            (listed[0].author_id.as_str(), listed[0].author_name.as_deref()),
            ("viewer", Some("A viewer"))
        );
        assert!(vips::remove(&mut conn, owner, platform, "viewer").await.unwrap());
        assert!(!vips::remove(&mut conn, owner, platform, "viewer").await.unwrap());
        world.enrich().await;
        assert_eq!(world.read("a").await.priority_score, Some(before));
        for (author, platform) in [("", platform), ("x", Platform::Twitter)] {
            let refused = vips::add(&mut conn, owner, platform, author).await;
            assert!(matches!(refused, Err(VipError::Author | VipError::Platform(_))), "{refused:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_to_the_owner_that_came_first_is_ranked_again() {
    for platform in BOTH {
        let world = World::new(platform).await;
        let owners = IncomingComment { by_owner: true, ..world.comment("own") };
        let reply =
            IncomingComment { parent_comment_id: Some("own".to_owned()), ..world.saying("reply", QUESTION) };
        world.upsert(std::slice::from_ref(&reply)).await;
        world.enrich().await;
        let thread = async |id| world.read(id).await.priority_breakdown.unwrap()["thread"].as_f64().unwrap();
        let before = thread("reply").await;
        world.db.advance(std::time::Duration::from_mins(1)).await;
        world.upsert(std::slice::from_ref(&owners)).await;
        world.enrich().await;
        assert!((thread("reply").await - before - 6.0).abs() < 1e-9);
        // A sync that tells of it again asks for nothing.
        let versions = world.versions().await;
        world.upsert(&[owners, reply]).await;
        assert_eq!(world.versions().await, versions);
    }
}

#[tokio::test]
async fn who_bears_the_name_of_a_channel_is_held_down() {
    let world = World::new(Platform::Youtube).await;
    let sql = "update youtube_connections set channel_name = 'Ada''s Workshop' where id = $1";
    sqlx::query(sql).bind(world.connection.0).execute(world.db.pool()).await.unwrap();
    let named = |id: &str, name: &str| IncomingComment {
        author_name: Some(name.to_owned()),
        author_id: Some(id.to_owned()),
        ..world.saying(id, QUESTION)
    };
    let authors =
        [("a", "𝐀𝐝𝐚𝐬 𝐖𝐨𝐫𝐤𝐬𝐡𝐨𝐩"), ("b", "@adas_workshop"), ("c", "Ada Lovelace"), ("d", "ADA'S WORKSHOP")];
    world.upsert(&authors.map(|(id, name)| named(id, name))).await;
    let mut conn = world.db.pool().acquire().await.unwrap();
    let owner = crate::store::unranked::owner(&mut conn, Platform::Youtube, world.connection).await.unwrap();
    // A second account of the owner's.
    crate::inbox::vips::add(&mut conn, owner.unwrap(), Platform::Youtube, "d").await.unwrap();
    world.enrich().await;
    for (id, held) in [("a", true), ("b", true), ("c", false), ("d", false)] {
        let breakdown = world.read(id).await.priority_breakdown.unwrap();
        assert_eq!(breakdown["limit"] == "imitation", held, "{id}: {breakdown}");
        assert_eq!(breakdown["needs_moderation"], held, "{id}");
    }
}
