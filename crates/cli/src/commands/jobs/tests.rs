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
