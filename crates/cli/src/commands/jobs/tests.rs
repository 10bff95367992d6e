use greenroom_model::{ConnectionId, JobId, UserId};
use greenroom_testkit::Database;
use serde_json::{Value, json};

use crate::testing::{Call, Said};

async fn jobs(db: &Database, args: &[&str]) -> Said {
    Call::new(&[&["jobs"], args].concat()).database(db).run().await
}

fn payload(connection: ConnectionId) -> String {
    json!({"connection_id": connection}).to_string()
}

async fn enqueue(db: &Database, payload: &str) -> Value {
    jobs(db, &["enqueue", "youtube.sync_channel", "--payload", payload, "--json"]).await.document()
}

#[tokio::test]
async fn a_job_is_enqueued_seen_cancelled_and_retried() {
    let db = Database::new().await;
    let payload = payload(ConnectionId::new());
    let first = enqueue(&db, &payload).await;
    assert_eq!((&first["kind"], &first["created"]), (&json!("youtube.sync_channel"), &json!(true)));
    let id = first["id"].as_str().unwrap();
    assert_eq!(
        enqueue(&db, &payload).await,
        json!({"id": id, "kind": "youtube.sync_channel", "created": false, "outcome": "kept"})
    );

    let shown = jobs(&db, &["show", id, "--json"]).await.document();
    assert_eq!(
        (&shown["status"], &shown["queue"], &shown["attempts"]),
        (&json!("pending"), &json!("youtube"), &json!([]))
    );
    let retried = jobs(&db, &["retry", id, "--json"]).await.document();
    assert_eq!(retried["status"], "pending");

    let cancelled = jobs(&db, &["cancel", id, "--json"]).await.document();
    assert_eq!(cancelled, json!({"id": id, "cancelled": "at_once"}));
    let again = jobs(&db, &["cancel", id, "--json"]).await;
    assert_eq!((again.code(), again.error()["code"].as_str()), (4, Some("wrong_state")));
    let shown = jobs(&db, &["show", id]).await.out;
    assert!(
        shown.contains("status    failed (cancelled)") && shown.contains("cancelled by an operator"),
        "{shown}"
    );

    // Its key is somebody else's now.
    let second = enqueue(&db, &payload).await;
    let second = second["id"].as_str().unwrap();
    let refused = jobs(&db, &["retry", id, "--json"]).await;
    assert_eq!((refused.code(), refused.error()["code"].as_str()), (4, Some("key_held")));
    assert!(refused.error()["message"].as_str().unwrap().contains(second));
    assert_eq!(jobs(&db, &["cancel", second]).await.code(), 0);
    assert_eq!(jobs(&db, &["retry", id]).await.code(), 0);
}

#[tokio::test]
async fn a_list_is_filtered_and_paged() {
    let db = Database::new().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(enqueue(&db, &payload(ConnectionId::new())).await["id"].as_str().unwrap().to_owned());
    }
    jobs(&db, &["enqueue", "youtube.sync_due_channels"]).await;
    jobs(&db, &["cancel", &ids[0]]).await;
    let listed = |page: &Value| -> Vec<String> {
        page["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
    };
    let kind = ["list", "--kind", "youtube.sync_channel", "--json"];
    let page = jobs(&db, &[&kind[..], &["--limit", "2"]].concat()).await.document();
    assert_eq!(listed(&page), [ids[2].clone(), ids[1].clone()]);
    assert_eq!(page["next"], ids[1].as_str());
    let page = jobs(&db, &[&kind[..], &["--after", &ids[1]]].concat()).await.document();
    assert_eq!((listed(&page), &page["next"]), (vec![ids[0].clone()], &Value::Null));
    let page = jobs(&db, &["list", "--status", "failed", "--json"]).await.document();
    assert_eq!(listed(&page), [ids[0].clone()]);
    let nobody = UserId::new().to_string();
    assert_eq!(jobs(&db, &["list", "--user", &nobody, "--json"]).await.document()["jobs"], json!([]));
    assert_eq!(jobs(&db, &["list", "--queue", "elsewhere"]).await.out, "");

    // Tabs for programs, columns for people.
    let rows = jobs(&db, &["list", "--status", "failed"]).await.out;
    assert_eq!(
        rows.trim_end().split('\t').take(4).collect::<Vec<_>>(),
        [&ids[0], "youtube.sync_channel", "youtube", "failed (cancelled)"]
    );
    let table = Call::new(&["jobs", "list", "--limit", "1"]).database(&db).seen().run().await;
    assert!(table.out.starts_with("ID ") && table.out.lines().count() == 2, "{}", table.out);
    assert!(table.err.starts_with("more with --after "), "{}", table.err);
}

#[tokio::test]
async fn what_is_not_there_or_makes_no_sense_is_told_apart() {
    let db = Database::new().await;
    let nobody = JobId::new().to_string();
    for (args, code) in [
        (&["show", nobody.as_str()][..], 3),
        (&["cancel", &nobody], 3),
        (&["retry", &nobody], 3),
        (&["enqueue", "youtube.no_such_kind"], 3),
        (&["enqueue", "youtube.sync_channel", "--payload", "{"], 2),
        (&["enqueue", "youtube.sync_channel", "--payload", "{}"], 2),
        (&["enqueue", "youtube.sync_due_channels", "--user", &nobody], 3),
        (&["show", "no-id"], 2),
        (&["retry"], 2),
        (&["retry", nobody.as_str(), "--all"], 2),
        (&["retry", nobody.as_str(), "--kind", "youtube.sync_channel"], 2),
        (&["cancel", "--all", "--status", "failed"], 2),
        (&["delete", "--status", "pending"], 2),
        (&["list", "--failure", "bored"], 2),
        (&["list", "--since", "yesterday"], 2),
        (&["list", "--fingerprint", "7"], 2),
        (&["list", "--payload", "connection_id"], 2),
        (&["list", "--payload", "connection_id=7"], 2),
        (&["list", "--error", "quota"], 2),
        (&["redrive", "00000000000000ff", "--yes"], 3),
        (&["list", "--status", "lost"], 2),
        (&["list", "--limit", "0"], 2),
        (&[], 2),
    ] {
        let said = jobs(&db, args).await;
        assert_eq!((said.code(), said.out.as_str()), (code, ""), "{args:?}: {}", said.err);
        let said = jobs(&db, &[args, &["--json"]].concat()).await;
        let error = said.error();
        assert!(
            error["code"].is_string() && !error["message"].as_str().unwrap().is_empty(),
            "{args:?}: {error}"
        );
    }
}

#[tokio::test]
async fn a_payload_may_come_from_standard_input_and_a_job_be_waited_for() {
    let db = Database::new().await;
    let args = ["jobs", "enqueue", "youtube.sync_channel", "--payload", "-", "--wait", "--json"];
    let waiting = Call::new(&args).database(&db).input(payload(ConnectionId::new())).run();
    let waiting = tokio::spawn(waiting);
    let id = loop {
        let page = jobs(&db, &["list", "--json"]).await.document();
        if let Some(id) = page["jobs"][0]["id"].as_str() {
            break id.to_owned();
        }
    };
    jobs(&db, &["cancel", &id]).await;
    let said = waiting.await.unwrap();
    assert_eq!((said.code(), said.error()["code"].as_str()), (1, Some("job_failed")));
    // The job is told all the same.
    let job: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&job["id"], &job["failure"]), (&json!(id), &json!("cancelled")));
}

#[tokio::test]
async fn kinds_need_no_database() {
    let kinds = Call::new(&["jobs", "kinds", "--json"]).run().await.document();
    let kinds = kinds["kinds"].as_array().unwrap();
    let sync = kinds.iter().find(|kind| kind["kind"] == "youtube.sync_channel").unwrap();
    assert_eq!(
        (&sync["queue"], &sync["lane_field"], &sync["lane_cap"]),
        (&json!("youtube"), &json!("connection_id"), &json!(1))
    );
}

#[tokio::test]
async fn a_list_is_narrowed_by_payload_time_and_failure() {
    let db = Database::new().await;
    let connection = ConnectionId::new();
    let wanted = enqueue(&db, &payload(connection)).await["id"].as_str().unwrap().to_owned();
    let other = enqueue(&db, &payload(ConnectionId::new())).await["id"].as_str().unwrap().to_owned();
    jobs(&db, &["cancel", &other]).await;
    let value = format!("connection_id={connection}");
    for (args, expected) in [
        (&["--payload", value.as_str(), "--since", "1h"][..], vec![&wanted]),
        (&["--payload", &value, "--status", "failed"], vec![]),
        (&["--since", "1h", "--until", "0s"], vec![&other, &wanted]),
        (&["--until", "1h"], vec![]),
        (&["--failure", "cancelled"], vec![&other]),
        (&["--error", "By An Operator", "--failure", "cancelled"], vec![&other]),
    ] {
        let page = jobs(&db, &[&["list", "--json"], args].concat()).await.document();
        let listed: Vec<_> =
            page["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect();
        assert_eq!(listed, expected, "{args:?}");
    }
}

#[tokio::test]
async fn all_of_a_filter_are_counted_first_and_changed_by_consent() {
    let db = Database::new().await;
    for _ in 0..3 {
        enqueue(&db, &payload(ConnectionId::new())).await;
    }
    jobs(&db, &["enqueue", "youtube.sync_due_channels"]).await;
    let kind = ["--all", "--kind", "youtube.sync_channel"];
    let matching = |status| json!([{"kind": "youtube.sync_channel", "status": status, "jobs": 3}]);

    let refused = jobs(&db, &[&["cancel"], &kind[..]].concat()).await;
    assert_eq!((refused.code(), refused.out.as_str()), (2, ""));
    assert!(refused.err.contains("3 jobs would be cancelled: say --yes"), "{}", refused.err);
    let counted = jobs(&db, &[&["cancel", "--dry-run", "--json"], &kind[..]].concat()).await.document();
    assert_eq!(counted, json!({"matching": matching("pending"), "dry_run": true}));
    let cancelled = jobs(&db, &[&["cancel", "--yes", "--json"], &kind[..]].concat()).await.document();
    assert_eq!(
        cancelled,
        json!({"matching": matching("pending"), "dry_run": false, "done": 3, "requested": 0, "skipped": {}})
    );

    // One key is somebody else's now.
    let page = jobs(&db, &["list", "--failure", "cancelled", "--json"]).await.document();
    enqueue(&db, &page["jobs"][0]["payload"].to_string()).await;
    let retried = jobs(&db, &[&["retry", "--yes"], &kind[..]].concat()).await;
    assert_eq!(retried.out, "2 retried\n1 left: another job with the same unique key is open\n");
    assert_eq!(retried.err, "3 failed youtube.sync_channel\n");
    let deleted = jobs(&db, &["delete", "--yes", "--json"]).await.document();
    assert_eq!((&deleted["done"], &deleted["matching"][0]["jobs"]), (&json!(1), &json!(1)));
    let nothing = jobs(&db, &["delete", "--json"]).await.document();
    assert_eq!(nothing["done"], 0);
    assert_eq!(jobs(&db, &["list", "--json"]).await.document()["jobs"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn several_are_done_also_when_one_cannot_be() {
    let db = Database::new().await;
    let first = enqueue(&db, &payload(ConnectionId::new())).await["id"].as_str().unwrap().to_owned();
    let second = enqueue(&db, &payload(ConnectionId::new())).await["id"].as_str().unwrap().to_owned();
    let nobody = JobId::new().to_string();
    let said = jobs(&db, &["cancel", &first, &nobody, &second, "--json"]).await;
    assert_eq!((said.code(), said.error()["code"].as_str()), (3, Some("not_found")));
    let told: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        told,
        json!({"jobs": [
            {"id": first, "cancelled": "at_once"},
            {"id": nobody, "error": {"code": "not_found", "message": format!("there is no job {nobody}")}},
            {"id": second, "cancelled": "at_once"},
        ]})
    );
    let said = jobs(&db, &["retry", &first, &second]).await;
    assert_eq!((said.code(), said.out), (0, format!("{first} is pending\n{second} is pending\n")));
}

#[tokio::test]
async fn a_group_of_failures_is_seen_and_put_back_at_a_pace() {
    let db = Database::new().await;
    sqlx::query(
        "insert into background_jobs (job_type, status, failure, fingerprint, error_message, completed_at)
         select 'youtube.sync_channel', 'failed', 'exhausted', 255, 'HTTP 503 for ' || n, greenroom.now()
           from generate_series(1, 121) n",
    )
    .execute(db.pool())
    .await
    .unwrap();
    let listed = jobs(&db, &["failures", "--json"]).await.document();
    let group = &listed["groups"][0];
    assert_eq!((&group["fingerprint"], &group["jobs"]), (&json!("00000000000000ff"), &json!(121)));
    let row = jobs(&db, &["failures", "--kind", "youtube.sync_channel", "--since", "1h"]).await.out;
    assert!(row.starts_with("00000000000000ff\t121\tyoutube.sync_channel\texhausted\t"), "{row}");
    assert_eq!(jobs(&db, &["failures", "--kind", "elsewhere"]).await.out, "");

    let redrive = ["redrive", "00000000000000ff", "--per-minute", "60", "--json"];
    assert_eq!(jobs(&db, &redrive).await.code(), 2);
    let planned = jobs(&db, &[&redrive[..], &["--dry-run"]].concat()).await.document();
    assert_eq!(
        (&planned["jobs"], &planned["dry_run"], &planned["done"]),
        (&json!(121), &json!(true), &Value::Null)
    );
    let done = jobs(&db, &[&redrive[..], &["--yes"]].concat()).await.document();
    assert_eq!((&done["done"], &done["dry_run"]), (&json!(121), &json!(false)));
    let lasts: Option<f64> = sqlx::query_scalar(
        "select extract(epoch from max(run_at) - min(run_at))::float8 from background_jobs",
    )
    .fetch_one(db.pool())
    .await
    .unwrap();
    assert_eq!(lasts, Some(120.0));
    // It was too much.
    let back = jobs(&db, &["cancel", "--all", "--fingerprint", "00000000000000ff", "--yes", "--json"]).await;
    assert_eq!(back.document()["done"], 121);
    assert_eq!(jobs(&db, &["failures", "--json"]).await.document()["groups"][0]["jobs"], 121);
}

#[tokio::test]
async fn a_job_is_shown_with_where_it_runs_and_watched_to_its_end() {
    let db = Database::new().await;
    let id = enqueue(&db, &payload(ConnectionId::new())).await["id"].as_str().unwrap().to_owned();
    sqlx::query(
        "update background_jobs set status = 'running', lease_token = 1, leased_until = greenroom.now(), pool = 'p',
                                    worker_id = id, batch = id, after_batch = id, progress = '{\"pages\": 7}'",
    )
    .execute(db.pool())
    .await
    .unwrap();
    let shown = jobs(&db, &["show", &id]).await.out;
    for line in ["progress  {\"pages\":7}", "pool      p", "lane      connection_id:", "lease     until 2"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    assert_eq!(shown.matches(&format!(" {id}\n")).count(), 4, "{shown}");

    let watching = tokio::spawn(Call::new(&["jobs", "show", &id, "--watch"]).database(&db).run());
    jobs(&db, &["cancel", &id]).await;
    assert!(!watching.is_finished(), "it runs until its worker has ended it");
    sqlx::query(
        "update background_jobs set status = 'completed', lease_token = null, leased_until = null,
                                    completed_at = greenroom.now(), result = '{\"videos\": 3}'",
    )
    .execute(db.pool())
    .await
    .unwrap();
    let said = watching.await.unwrap();
    assert_eq!((said.code(), said.out), (0, format!("youtube.sync_channel {id} is completed: videos 3\n")));
}
