use greenroom_queue::{Queue, Scheduler};
use greenroom_testkit::Database;
use serde_json::{Value, json};

use crate::testing::{Call, Said};

const NAME: &str = "youtube.sync_due_channels";

async fn schedules(db: &Database, args: &[&str]) -> Said {
    Call::new(&[&["schedules"], args].concat()).database(db).run().await
}

/// Returns a scheduler of this build that has declared what it has.
async fn scheduler(db: &Database) -> Scheduler {
    let scheduler = Scheduler::new(Queue::new(db.pool().clone()), greenroom_worker::jobs(None));
    scheduler.declare().await.unwrap();
    scheduler.tick().await.unwrap();
    scheduler
}

async fn document(db: &Database, args: &[&str]) -> Value {
    schedules(db, &[args, &["--json"]].concat()).await.document()
}

#[tokio::test]
async fn schedules_are_listed_paused_overridden_and_reset() {
    let db = Database::new().await;
    assert_eq!(schedules(&db, &["list"]).await.out, "", "nobody has declared any");
    let scheduler = scheduler(&db).await;
    let listed = document(&db, &["list"]).await;
    let names: Vec<&str> =
        listed["schedules"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert!(names.contains(&NAME) && names.is_sorted(), "{names:?}");
    for schedule in listed["schedules"].as_array().unwrap() {
        assert!(
            schedule["error"].is_null() && schedule["next_fire_at"].is_string(),
            "as declared: {schedule}"
        );
    }
    assert_eq!(document(&db, &["show", NAME, "--next", "3"]).await["next"].as_array().unwrap().len(), 3);

    let set = document(&db, &["set", NAME, "--cron", "0 9 * * mon", "--timezone", "Europe/Berlin"]).await;
    assert_eq!(
        (&set["overridden"], &set["cron"], &set["declared_cron"], &set["catch_up"]),
        (&json!(true), &json!("0 9 * * mon"), &json!("*/5 * * * *"), &json!("latest"))
    );
    scheduler.tick().await.unwrap();
    let shown = document(&db, &["show", NAME, "--next", "1"]).await;
    assert_eq!(shown["next"], set["next"], "as the scheduler then has it");
    assert_eq!(shown["next"][0], shown["next_fire_at"]);
    let text = schedules(&db, &["set", NAME, "--catch-up", "all"]).await.out;
    assert!(text.contains("cron      0 9 * * mon in Europe/Berlin\ncatch-up  all"), "{text}");
    assert!(text.contains("state     overridden") && text.contains("declared  */5 * * * * in UTC"), "{text}");

    assert_eq!(document(&db, &["pause", NAME]).await, json!({"names": [NAME], "paused": true}));
    let table = Call::new(&["schedules", "list"]).database(&db).seen().run().await.out;
    assert!(table.starts_with("NAME ") && table.contains("paused, overridden"), "{table}");
    assert_eq!(schedules(&db, &["resume", NAME]).await.out, format!("{NAME} is resumed\n"));
    let reset = document(&db, &["reset", NAME]).await;
    assert_eq!(
        (&reset["overridden"], &reset["cron"], &reset["paused"]),
        (&json!(false), &json!("*/5 * * * *"), &json!(false))
    );
}

#[tokio::test]
async fn a_schedule_is_run_now_and_its_ticks_stay() {
    let db = Database::new().await;
    scheduler(&db).await;
    let before = document(&db, &["show", NAME]).await;
    let ran = document(&db, &["run", NAME]).await;
    assert_eq!((&ran["kind"], &ran["created"]), (&json!(NAME), &json!(true)));
    let again = schedules(&db, &["run", NAME]).await;
    assert_eq!(again.code(), 0, "{}", again.err);
    assert_eq!(document(&db, &["show", NAME]).await["next_fire_at"], before["next_fire_at"]);
    let jobs = Call::new(&["jobs", "list", "--kind", NAME, "--json"]).database(&db).run().await.document();
    assert!(jobs["jobs"].as_array().unwrap().iter().any(|job| job["id"] == ran["id"]));
}

#[tokio::test]
async fn what_is_not_there_or_makes_no_sense_is_told_apart() {
    let db = Database::new().await;
    scheduler(&db).await;
    sqlx::query(
        "insert into greenroom.schedules (name, kind, cron) values ('by hand', 'unheard.of', 'whenever')",
    )
    .execute(db.pool())
    .await
    .unwrap();
    for (args, code, said) in [
        (&["show", "nothing"][..], 3, "there is no schedule \"nothing\""),
        (&["pause", NAME, "nothing"], 3, "there is no schedule \"nothing\""),
        (&["run", "nothing"], 3, "there is no schedule"),
        (&["run", "by hand"], 3, "there is no kind \"unheard.of\""),
        (&["reset", "nothing"], 3, "there is no schedule"),
        (&["reset", "by hand"], 4, "no code declares"),
        (&["set", "nothing", "--cron", "@daily"], 3, "there is no schedule"),
        (&["set", NAME], 2, "--cron"),
        (&["set", NAME, "--cron", "0 25 * * *"], 2, "the hour \"25\" is not of 0 to 23"),
        (&["set", NAME, "--timezone", "Berlin"], 2, "there is no time zone \"Berlin\""),
        (&["set", NAME, "--catch-up", "some"], 2, "latest"),
        (&["resume"], 2, "NAMES"),
    ] {
        let got = schedules(&db, args).await;
        assert_eq!((got.code(), got.out.as_str()), (code, ""), "{args:?}: {}", got.err);
        assert!(got.err.contains(said), "{args:?}: {}", got.err);
        let got = schedules(&db, &[args, &["--json"]].concat()).await;
        assert!(got.error()["code"].is_string(), "{args:?}: {}", got.err);
    }
    // Nothing of it was done, and the one that nobody understands is told as such.
    assert_eq!(document(&db, &["show", NAME]).await["paused"], false);
    let wrong = document(&db, &["show", "by hand"]).await;
    assert!(
        wrong["error"].as_str().unwrap().contains("has 1 fields") && wrong["next"] == json!([]),
        "{wrong}"
    );
}
