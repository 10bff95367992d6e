//! What holds dead rows and the log, on a server that has the settings for it.

use greenroom_model::Clock;
use greenroom_postgres::{Postgres, migrate};
use greenroom_queue::doctor::{Finding, Health, examine_queue};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

async fn examined(pool: &PgPool, check: &str) -> Finding {
    let findings = examine_queue(pool, &Clock::system()).await;
    findings.into_iter().find(|finding| finding.check == check).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_transaction_and_an_unread_slot_are_named() {
    let server = Postgres::alone().await.unwrap();
    let pool = PgPoolOptions::new().connect_lazy_with(server.options("postgres"));
    for setting in ["wal_level = 'logical'", "max_prepared_transactions = 5"] {
        let sql = format!("alter system set {setting}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&pool).await.unwrap();
    }
    pool.close().await;
    server.crash().await.unwrap();
    server.restart().await.unwrap();
    migrate(&server.options("postgres")).await.unwrap();
    let pool = PgPoolOptions::new().connect_lazy_with(server.options("postgres"));
    assert_eq!(examined(&pool, "horizon").await.health, Health::Ok);
    assert_eq!(examined(&pool, "replication slots").await.health, Health::Ok);

    for sql in [
        "select pg_create_logical_replication_slot('unread', 'pgoutput')",
        "begin; insert into greenroom.queues (name) values ('q'); prepare transaction 'forgotten'",
        // Ten minutes pass, for all who ask as the house does.
        "create or replace function greenroom.now() returns timestamptz language sql stable
             return statement_timestamp() + interval '10 min'",
    ] {
        sqlx::raw_sql(sql).execute(&pool).await.unwrap();
    }
    let slots = examined(&pool, "replication slots").await;
    assert!(slots.health == Health::Warning && slots.says.contains("unread ("), "{slots:?}");
    let horizon = examined(&pool, "horizon").await;
    assert!(
        horizon.health == Health::Warning && horizon.says.contains("prepared transaction forgotten"),
        "{horizon:?}"
    );
    assert!(horizon.advice.unwrap().contains("rollback prepared 'forgotten'"));
    pool.close().await;
    server.stop().await.unwrap();
}
