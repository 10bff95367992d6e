use chrono::DateTime;
use greenroom_model::{JobId, UserId};

use super::*;
use crate::control::look::{search, searched};
use crate::control::{Failure, Filter, Status, count, list};
use crate::{Fingerprint, QueueError};

#[tokio::test]
async fn each_condition_restricts_and_all_of_them_agree() {
    let db = Database::new().await;
    let (ada, bob) = (Uuid::now_v7(), Uuid::now_v7());
    for (user, email) in [(ada, "ada@example.com"), (bob, "bob@example.com")] {
        sqlx::query!("insert into users (id, email) values ($1, $2)", user, email)
            .execute(db.pool())
            .await
            .unwrap();
    }
    let at = |millis: u64| 1_700_000_000_000 + millis;
    let document = r#"{"document": {"id": 7}, "account": "c"}"#;
    let rows = [
        Row { millis: at(1), user: Some(ada), payload: document, ..Row::of("a", "completed") },
        Row {
            millis: at(2),
            user: Some(bob),
            error: Some("HTTP 503"),
            fingerprint: Some(-9),
            ..Row::of("a", "exhausted")
        },
        Row {
            millis: at(3),
            user: Some(ada),
            error: Some("100% wrong"),
            fingerprint: Some(4),
            ..Row::of("b", "discarded")
        },
        Row { millis: at(4), user: Some(ada), error: Some("http 429"), ..Row::of("b", "pending") },
        Row { millis: at(5), payload: document, ..Row::of("b", "running") },
        Row { millis: at(6), user: Some(bob), ..Row::of("c", "cancelled") },
    ];
    let mut ids = Vec::new();
    for row in rows {
        ids.push(row.insert(&db).await);
    }
    // A waiting job has three places to wait.
    sqlx::query!("update background_jobs set held = 'kind' where id = $1", ids[3])
        .execute(db.pool())
        .await
        .unwrap();

    let none = Filter::default;
    let instant = |millis| DateTime::from_timestamp_millis(i64::try_from(at(millis)).unwrap());
    let users = |users: &[Uuid]| Some(users.iter().copied().map(UserId).collect());
    let cases = [
        (none(), vec![5, 4, 3, 2, 1, 0]),
        (Filter { status: Some(Status::Completed), ..none() }, vec![0]),
        (Filter { status: Some(Status::Pending), ..none() }, vec![3]),
        (Filter { status: Some(Status::Running), ..none() }, vec![4]),
        (Filter { status: Some(Status::Failed), ..none() }, vec![5, 2, 1]),
        (Filter { failure: Some(Failure::Discarded), ..none() }, vec![2]),
        (Filter { failure: Some(Failure::Quarantined), ..none() }, vec![]),
        (Filter { status: Some(Status::Pending), failure: Some(Failure::Discarded), ..none() }, vec![]),
        (Filter { queue: Some("q.b".to_owned()), ..none() }, vec![4, 3, 2]),
        (Filter { kind: Some("c".to_owned()), ..none() }, vec![5]),
        (Filter { users: users(&[ada]), ..none() }, vec![3, 2, 0]),
        (Filter { users: users(&[ada, bob]), ..none() }, vec![5, 3, 2, 1, 0]),
        (Filter { users: users(&[]), ..none() }, vec![]),
        (Filter { users: users(&[bob]), status: Some(Status::Failed), ..none() }, vec![5, 1]),
        (Filter { users: users(&[]), status: Some(Status::Failed), ..none() }, vec![]),
        (Filter { since: instant(3), ..none() }, vec![5, 4, 3, 2]),
        (Filter { until: instant(3), ..none() }, vec![1, 0]),
        (Filter { since: instant(2), until: instant(5), kind: Some("b".to_owned()), ..none() }, vec![3, 2]),
        (Filter { fingerprint: Some(Fingerprint(-9)), ..none() }, vec![1]),
        (Filter { error: Some("Http".to_owned()), since: instant(0), ..none() }, vec![3, 1]),
        (Filter { error: Some("0% W".to_owned()), status: Some(Status::Failed), ..none() }, vec![2]),
        (Filter { payload: "document.id=7".parse().ok(), since: instant(0), ..none() }, vec![4, 0]),
        (Filter { payload: "account=c".parse().ok(), status: Some(Status::Completed), ..none() }, vec![0]),
        (Filter { payload: "account=d".parse().ok(), since: instant(0), ..none() }, vec![]),
    ];
    let mut conn = db.pool().acquire().await.unwrap();
    for (filter, expected) in cases {
        let expected: Vec<JobId> = expected.into_iter().map(|index: usize| JobId(ids[index])).collect();
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = list(&mut conn, &filter, after, 2).await.unwrap();
            seen.extend(page.jobs.iter().map(|job| job.id));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, expected, "{filter:?}");
        let counted: i64 = count(&mut conn, &filter).await.unwrap().iter().map(|count| count.jobs).sum();
        assert_eq!(usize::try_from(counted), Ok(expected.len()), "{filter:?}");
    }
    let counts = count(&mut conn, &none()).await.unwrap();
    let counts: Vec<_> = counts.iter().map(|c| (c.kind.as_str(), c.status.as_str(), c.jobs)).collect();
    assert_eq!(
        counts,
        [
            ("a", "completed", 1),
            ("a", "failed", 1),
            ("b", "failed", 1),
            ("b", "pending", 1),
            ("b", "running", 1),
            ("c", "failed", 1)
        ]
    );
}

#[tokio::test]
async fn a_search_that_would_read_everything_is_refused_or_ended() {
    let db = Database::new().await;
    let mut conn = db.pool().acquire().await.unwrap();
    let filter = Filter { error: Some("x".to_owned()), ..Filter::default() };
    assert!(matches!(list(&mut conn, &filter, None, 10).await, Err(QueueError::Unbounded)));
    assert!(matches!(count(&mut conn, &filter).await, Err(QueueError::Unbounded)));

    let mut tx = search(&mut conn).await.unwrap();
    let limit = sqlx::query_scalar!(r#"select current_setting('statement_timeout') as "limit!""#)
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    assert_eq!(limit, "10s");
    sqlx::raw_sql("set local statement_timeout = '20ms'").execute(&mut *tx).await.unwrap();
    let ended = searched(sqlx::raw_sql("select pg_sleep(10)").execute(&mut *tx).await);
    assert!(matches!(ended, Err(QueueError::SearchTooLong(10))), "{ended:?}");
}

#[tokio::test]
async fn each_condition_meets_its_index() {
    let db = Database::new().await;
    for stands in ["completed", "exhausted", "pending"] {
        let fingerprint = (stands == "exhausted").then_some(3);
        Row { fingerprint, ..Row::of("a", stands) }.insert_many(&db, 2_000).await;
    }
    sqlx::raw_sql("insert into users (email) select n || '@example.com' from generate_series(1, 50) n;
                   update background_jobs set user_id = (array(select id from users))[1 + get_byte(uuid_send(id), 15) % 50];
                   analyze background_jobs")
        .execute(db.pool())
        .await
        .unwrap();
    let users = sqlx::query_scalar!("select id from users limit 2").fetch_all(db.pool()).await.unwrap();
    let since = DateTime::from_timestamp_millis(1_700_000_001_990);
    let none = Filter::default;
    for (filter, index) in [
        (none(), "background_jobs_pkey"),
        (Filter { since, ..none() }, "background_jobs_pkey"),
        (Filter { users: Some(users.into_iter().map(UserId).collect()), ..none() }, "background_jobs_user"),
        (Filter { failure: Some(Failure::Exhausted), ..none() }, "background_jobs_failed"),
        (Filter { fingerprint: Some(Fingerprint(3)), ..none() }, "background_jobs_failed_alike"),
        (Filter { status: Some(Status::Running), ..none() }, "background_jobs_lease"),
        (
            Filter { status: Some(Status::Pending), kind: Some("z".to_owned()), ..none() },
            "background_jobs_due",
        ),
    ] {
        let mut conn = db.pool().acquire().await.unwrap();
        let mut tx = search(&mut conn).await.unwrap();
        let before = scans(&mut tx, index).await;
        for _ in 0..3 {
            crate::control::look::page(&mut tx, &filter, None, 5).await.unwrap();
        }
        let used = scans(&mut tx, index).await - before;
        assert!(used >= 3, "{index} was used {used} times for {filter:?}");
    }
}

/// Returns how often this transaction has used an index.
async fn scans(conn: &mut sqlx::PgConnection, index: &str) -> i64 {
    sqlx::query_scalar!(r#"select pg_stat_get_xact_numscans($1::text::regclass) as "scans!""#, index)
        .fetch_one(conn)
        .await
        .unwrap()
}
