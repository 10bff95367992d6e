//! The manners that all commands share.

use greenroom_testkit::Database;

use crate::testing::Call;

#[tokio::test]
async fn help_and_version_are_data_and_a_wrong_word_is_usage() {
    let help = Call::new(&["--help"]).run().await;
    assert_eq!((help.code(), help.err.as_str()), (0, ""));
    assert!(help.out.contains("migrate") && help.out.contains("Exit codes: 0 done"), "{}", help.out);
    assert!(Call::new(&["--version"]).run().await.out.starts_with("greenroom "));
    for args in [&[][..], &["dance"], &["jobs", "list", "--colour"]] {
        let said = Call::new(args).run().await;
        assert_eq!((said.code(), said.out.as_str()), (2, ""), "{args:?}");
        assert!(said.err.starts_with("error: ") && !said.err.starts_with("error: error"), "{}", said.err);
    }
    let said = Call::new(&["--json", "dance"]).run().await;
    assert_eq!((said.code(), said.error()["code"].as_str()), (2, Some("usage")));
}

#[tokio::test]
async fn migrating_twice_and_by_two_at_once_is_migrating_once() {
    let db = Database::empty().await;
    let early = Call::new(&["jobs", "list", "--json"]).database(&db).run().await;
    assert_eq!((early.code(), early.error()["code"].as_str()), (5, Some("not_migrated")));
    let migrate = || Call::new(&["migrate", "--json"]).database(&db).run();
    let (one, other) = tokio::join!(migrate(), migrate());
    assert_eq!(one.document()["schema"], other.document()["schema"]);
    assert_eq!(migrate().await.document()["changed"], false);
    assert_eq!(Call::new(&["jobs", "list"]).database(&db).run().await.code(), 0);
}

#[tokio::test]
async fn a_database_that_is_not_there_is_a_precondition() {
    let missing = Call::new(&["jobs", "list", "--json"]).run().await;
    assert_eq!((missing.code(), missing.error()["code"].as_str()), (5, Some("secret")));
    for url in ["postgres://me:hunter2@127.0.0.1:1/x", "hunter2"] {
        for args in [&["jobs", "list"][..], &["migrate"], &["access", "list"]] {
            let said = Call::new(args).secret("DATABASE_URL", url).run().await;
            assert_eq!((said.code(), said.out.as_str()), (5, ""), "{args:?}: {}", said.err);
            assert!(said.err.contains("DATABASE_URL") && !said.err.contains("hunter2"), "{}", said.err);
        }
    }
}
