use greenroom_testkit::Database;

use crate::testing::{Call, Said};

const KEY: &str = "a key of the tests and nothing else";

/// A report about a message that this key has signed the path of.
fn report(key: &str, which: u8) -> String {
    let paths = greenroom_mail::ReturnPaths::new("bounces.house.test", &key.into()).unwrap();
    let path = paths.of(uuid::Uuid::from_u128(u128::from(which)));
    format!(
        "To: <{path}>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"x\"\r\n\r\n\
         --x\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.test\r\n\r\n\
         Final-Recipient: rfc822; ada@example.test\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--x--\r\n"
    )
}

fn ingest(args: &[&str]) -> Call {
    Call::new(&[&["bounce", "ingest", "--json", "--domain", "bounces.house.test"], args].concat())
        .secret("BOUNCE_KEY", KEY)
}

async fn stored(db: &Database) -> Vec<String> {
    let sql = "select provider || ' ' || event from greenroom.email_events order by created_at";
    sqlx::query_scalar(sql).fetch_all(db.pool()).await.unwrap()
}

fn counts(said: &Said) -> (u64, u64, usize) {
    let document = said.document();
    let number = |name: &str| document[name].as_u64().unwrap();
    (number("about"), number("new"), document["nothing"].as_array().unwrap().len())
}

#[tokio::test]
async fn a_pipe_is_told_to_come_again_until_it_is_stored() {
    let db = Database::new().await;
    let away =
        ingest(&[]).secret("DATABASE_URL", "postgres://me@127.0.0.1:1/x").input(report(KEY, 1)).run().await;
    assert_eq!(away.code(), 75, "{}", away.err);
    let without = Call::new(&["bounce", "ingest"]).database(&db).input(report(KEY, 1)).run().await;
    assert_eq!(without.code(), 75);
    assert!(without.err.contains("set mail.bounce_domain and BOUNCE_KEY"), "{}", without.err);

    let said = ingest(&[]).database(&db).input(report(KEY, 1)).run().await;
    assert_eq!(counts(&said), (1, 1, 0));
    let again = ingest(&[]).database(&db).input(report(KEY, 1)).run().await;
    assert_eq!(counts(&again), (1, 0, 0));
    let forged = ingest(&[]).database(&db).input(report("the key of a forger", 1)).run().await;
    assert_eq!(counts(&forged), (0, 0, 1));
    let bytes = ingest(&[]).database(&db).input([0xff, 0xfe, b'\n']).run().await;
    assert_eq!(counts(&bytes), (0, 0, 1));
    assert_eq!(stored(&db).await, ["dsn hard_bounce"]);
}

#[tokio::test]
async fn a_maildir_is_read_to_its_end_and_left_as_seen() {
    let db = Database::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    assert_eq!(ingest(&[path]).database(&db).run().await.code(), 2, "it is no maildir");
    for name in ["new", "cur", "tmp"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    for which in 1..=3 {
        std::fs::write(folder.path().join(format!("new/{which}.mx")), report(KEY, which)).unwrap();
    }
    std::fs::write(folder.path().join("new/4.mx"), "Subject: hello\r\n\r\nhello\r\n").unwrap();
    let said = ingest(&[path]).database(&db).run().await;
    assert_eq!(counts(&said), (3, 3, 1));
    assert_eq!(said.document()["nothing"][0]["file"], "4.mx");
    assert_eq!(std::fs::read_dir(folder.path().join("new")).unwrap().count(), 0);
    assert!(folder.path().join("cur/1.mx:2,S").exists());
    assert_eq!(counts(&ingest(&[path]).database(&db).run().await), (0, 0, 0));
    let one = folder.path().join("cur/2.mx:2,S");
    assert_eq!(counts(&ingest(&[one.to_str().unwrap()]).database(&db).run().await), (1, 0, 0));
    assert_eq!(ingest(&["/nowhere.eml"]).database(&db).run().await.code(), 3);
    assert_eq!(stored(&db).await.len(), 3);
}
