use std::time::Duration;

use greenroom_model::{ConnectionId, JobId};
use greenroom_queue::{Settings, sweep};
use greenroom_testkit::Database;
use serde_json::{Value, json};

use crate::testing::{Call, Said};

const KIND: &str = "youtube.sync_channel";

async fn greenroom(db: &Database, args: &[&str]) -> Said {
    Call::new(args).database(db).run().await
}

async fn document(db: &Database, args: &[&str]) -> Value {
    greenroom(db, &[args, &["--json"]].concat()).await.document()
}

/// What somebody sees who looks at a terminal.
async fn seen(db: &Database, args: &[&str]) -> String {
    let said = Call::new(args).database(db).seen().run().await;
    assert_eq!(said.code(), 0, "{}", said.err);
    said.out
}

async fn sql(db: &Database, statement: &'static str) {
    sqlx::raw_sql(statement).execute(db.pool()).await.unwrap();
}

/// A database that a worker of this build has declared its kinds to, and that is swept.
async fn house() -> Database {
    let db = Database::new().await;
    greenroom_worker::jobs(None).register(db.pool()).await.unwrap();
    sql(
        &db,
        "with worker as (
             insert into greenroom.workers (id, name, host, pid, version, queues, queue_slots, slots, busy)
             values (greenroom.uuid_v7(), 'youtube-worker', 'stage', 4711, '1.2.3', '{youtube,housekeeping}', '{4,2}', 6, 1)
             returning id)
         insert into greenroom.leaders (role, holder, until)
         select 'sweeper', id, greenroom.now() + interval '1 h' from worker",
    )
    .await;
    db
}

/// Enqueues a sync, and has it woken.
async fn enqueue(db: &Database, connection: ConnectionId) -> String {
    let payload = json!({"connection_id": connection}).to_string();
    let id = document(db, &["jobs", "enqueue", KIND, "--payload", &payload]).await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    sweep(db.pool(), &Settings::default()).await.unwrap();
    id
}

fn row<'a>(document: &'a Value, name: &str) -> &'a Value {
    document["queues"].as_array().unwrap().iter().find(|row| row["queue"] == name).unwrap()
}

#[tokio::test]
async fn queues_are_listed_with_who_is_there_for_them() {
    let db = house().await;
    enqueue(&db, ConnectionId::new()).await;
    enqueue(&db, ConnectionId::new()).await;
    sql(&db, "insert into background_jobs (job_type) values ('unheard')").await;
    sql(&db, "insert into background_jobs (job_type, queue, run_at) values ('mail', 'mails', greenroom.now() + interval '1 h')").await;
    sweep(db.pool(), &Settings::default()).await.unwrap();

    let listed = document(&db, &["queues", "list"]).await;
    assert_eq!(listed["swept"], true);
    let youtube = row(&listed, "youtube");
    assert_eq!(
        (&youtube["ready"], &youtube["workers"], &youtube["slots"], &youtube["idle"], &youtube["paused"]),
        (&json!(2), &json!(1), &json!(4), &json!(4), &json!(false))
    );
    assert!(youtube["oldest_secs"].as_f64().is_some_and(|secs| secs >= 0.0));
    let unassigned = row(&listed, "unassigned");
    assert_eq!((&unassigned["ready"], &unassigned["workers"]), (&json!(1), &json!(0)));
    assert_eq!(row(&listed, "mails")["later"], 1, "no kind is declared for it, and it is told all the same");
    assert_eq!(row(&listed, "housekeeping")["oldest_secs"], Value::Null);

    sql(&db, "delete from greenroom.leaders").await;
    assert_eq!(document(&db, &["queues", "list"]).await["swept"], false);
    assert!(greenroom(&db, &["queues", "list"]).await.err.starts_with("nobody sweeps"));

    assert_eq!(greenroom(&db, &["queues", "pause", "youtube"]).await.out, "queue youtube is paused\n");
    let listed = document(&db, &["queues", "list"]).await;
    let youtube = row(&listed, "youtube");
    assert_eq!(
        (&youtube["paused"], &youtube["blocked"], &youtube["ready"]),
        (&json!(true), &json!(2), &json!(0))
    );
    let table = seen(&db, &["queues", "list"]).await;
    assert!(table.starts_with("QUEUE ") && table.contains("0 of 4"), "{table}");
    assert!(table.lines().all(|line| line.len() <= 100), "{table}");
    assert_eq!(greenroom(&db, &["queues", "resume", "youtube"]).await.out, "queue youtube is running\n");
    assert_eq!(
        greenroom(&db, &["queues", "resume", "youtube"]).await.out,
        "queue youtube is running already\n"
    );
}

#[tokio::test]
async fn workers_are_listed_with_their_silence() {
    let db = house().await;
    let listed = document(&db, &["queues", "workers"]).await;
    let worker = &listed["workers"][0];
    assert_eq!(
        (&worker["name"], &worker["pid"], &worker["busy"], &worker["sweeps"], &worker["silent"]),
        (&json!("youtube-worker"), &json!(4711), &json!(1), &json!(true), &json!(false))
    );
    sql(&db, "update greenroom.workers set seen_at = greenroom.now() - interval '95 s'").await;
    let cells = greenroom(&db, &["queues", "workers"]).await.out;
    assert_eq!(
        cells.trim_end().split('\t').collect::<Vec<_>>(),
        [
            "youtube-worker (sweeps)",
            "stage",
            "4711",
            "1.2.3",
            "1 of 6",
            "1 min 35 s, too long",
            "youtube:4,housekeeping:2"
        ]
    );
}

#[tokio::test]
async fn a_lane_is_listed_paused_and_widened() {
    let db = house().await;
    let connection = ConnectionId::new();
    let job = enqueue(&db, connection).await;
    let key = format!("connection_id:{connection}");
    let lanes = document(&db, &["queues", "lanes", "youtube"]).await;
    let lane = &lanes["lanes"][0];
    assert_eq!((&lane["key"], &lane["ready"], &lane["cap"]), (&json!(key), &json!(1), &json!(1)));
    let pool = lane["pool"].as_str().unwrap();

    // The command that `why` names is the one that helps.
    greenroom(&db, &["queues", "pause", "youtube", "--lane", &key, "--pool", pool]).await;
    let lanes = document(&db, &["queues", "lanes", "youtube"]).await;
    assert_eq!((&lanes["lanes"][0]["paused"], lanes["lanes"].as_array().unwrap().len()), (&json!(true), 1));
    let told = document(&db, &["why", &job]).await;
    assert_eq!(told["reasons"][0]["code"], "lane_paused");
    let command = told["reasons"][0]["command"].as_str().unwrap();
    let args: Vec<&str> = command.split(' ').skip(1).collect();
    assert_eq!(greenroom(&db, &args).await.code(), 0, "{command}");
    let told = document(&db, &["why", &job]).await;
    assert_eq!(told["reasons"][0]["code"], "in_turn");

    let set =
        ["queues", "set-lane", "youtube", "--lane", &key, "--pool", pool, "--cap", "3", "--weight", "2"];
    assert_eq!(greenroom(&db, &set).await.code(), 0);
    let lanes = document(&db, &["queues", "lanes", "youtube"]).await;
    let lane = &lanes["lanes"][0];
    assert_eq!((&lane["cap"], &lane["weight"], &lane["overridden"]), (&json!(3), &json!(2.0), &json!(true)));
}

#[tokio::test]
async fn a_pool_is_limited_paused_and_its_breaker_closed() {
    let db = house().await;
    let job = enqueue(&db, ConnectionId::new()).await;
    let pools = document(&db, &["queues", "pools"]).await;
    let of_jobs = |pool: &&Value| pool["name"] == "youtube";
    let name = pools["pools"].as_array().unwrap().iter().find(of_jobs).unwrap()["name"].as_str().unwrap();

    let set = ["queues", "set-pool", name, "--cap", "2", "--units", "0", "--window", "0 0 * * *"];
    assert_eq!(greenroom(&db, &set).await.code(), 0);
    let told = document(&db, &["why", &job]).await;
    assert_eq!(told["reasons"][0]["code"], "pool_empty");
    let table = seen(&db, &["queues", "pools"]).await;
    assert!(table.contains("0 of 2   0 of 0") && table.contains("spent until the window ends"), "{table}");
    assert_eq!(greenroom(&db, &["queues", "reset-pool", name]).await.code(), 0);
    greenroom_worker::jobs(None).register(db.pool()).await.unwrap();
    assert_eq!(document(&db, &["why", &job]).await["reasons"][0]["code"], "in_turn", "as a worker starts");

    sql(&db, "update greenroom.pools set open_until = greenroom.now() + interval '5 min', open_reason = 'it was down'")
        .await;
    let table = seen(&db, &["queues", "pools"]).await;
    assert!(table.contains("breaker open until ") && table.contains(": it was down"), "{table}");
    db.advance(Duration::from_mins(6)).await;
    let table = seen(&db, &["queues", "pools"]).await;
    assert!(table.contains("half-open, one job tries: it was down"), "{table}");
    sql(&db, "update greenroom.pools set open_until = greenroom.now() + interval '5 min'").await;
    let text = seen(&db, &["why", &job]).await;
    assert!(text.contains("breaker_open") && text.contains("(until 20"), "{text}");
    assert!(text.contains(&format!("to go on now: greenroom queues close-breaker --pool {name}")), "{text}");
    assert_eq!(
        greenroom(&db, &["queues", "close-breaker", "--pool", name]).await.out,
        format!("the breaker of pool {name} is closed\n")
    );
    let table = seen(&db, &["queues", "pools"]).await;
    assert!(table.contains("open for jobs"), "{table}");
}

#[tokio::test]
async fn what_is_not_there_or_makes_no_sense_is_told_apart() {
    let db = house().await;
    let nobody = JobId::new().to_string();
    for (args, code) in [
        (&["why", nobody.as_str()][..], 3),
        (&["why", "no-id"], 2),
        (&["queues", "pause"], 2),
        (&["queues", "pause", "youtube", "--kind", KIND], 2),
        (&["queues", "pause", "youtube", "--pool", "p"], 2),
        (&["queues", "pause", "--lane", "a"], 2),
        (&["queues", "pause", "--kind", "youtube.no_such_kind"], 3),
        (&["queues", "pause", "--pool", "no-such-pool"], 3),
        (&["queues", "set-lane", "youtube", "--lane", "a"], 2),
        (&["queues", "set-lane", "youtube", "--lane", "a", "--cap", "0"], 2),
        (&["queues", "set-lane", "youtube", "--lane", "a", "--weight", "0"], 2),
        (&["queues", "set-pool", "youtube", "--units", "1", "--window", "never"], 2),
        (&["queues", "close-breaker", "youtube"], 2),
        (&["queues", "close-breaker", "--pool", "no-such-pool"], 3),
        (&["queues", "reset-pool", "no-such-pool"], 3),
        (&["queues", "lanes", "youtube", "--limit", "0"], 2),
    ] {
        let said = greenroom(&db, args).await;
        assert_eq!((said.code(), said.out.as_str()), (code, ""), "{args:?}: {}", said.err);
        let error = greenroom(&db, &[args, &["--json"]].concat()).await.error();
        assert!(!error["message"].as_str().unwrap().is_empty(), "{args:?}: {error}");
    }
    assert_eq!(greenroom(&db, &["queues", "lanes", "elsewhere"]).await.out, "");
}
