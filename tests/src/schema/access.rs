//! Who may look, and whether what is asked is backed by an index.

use greenroom_testkit::Database;

#[tokio::test]
async fn every_table_in_public_has_row_security() {
    let db = Database::new().await;
    let open: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class
          where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relrowsecurity",
    )
    .fetch_all(db.pool())
    .await
    .unwrap();
    assert!(open.is_empty(), "row security is off: {open:?}");
    let policies: Vec<(String, String)> = sqlx::query_as(
        "select tablename::text, policyname::text from pg_policies where roles <> '{greenroom_app}'",
    )
    .fetch_all(db.pool())
    .await
    .unwrap();
    assert!(policies.is_empty(), "a policy lets somebody else in: {policies:?}");
}

#[tokio::test]
async fn the_app_works_and_a_stranger_sees_nothing() {
    let db = Database::new().await;
    let mut tx = db.pool().begin().await.unwrap();
    sqlx::raw_sql(
        "insert into users (email) values ('a@example.com');
         create role greenroom_stranger;   -- gone with this transaction
         grant usage on schema public to greenroom_stranger;
         grant select on all tables in schema public to greenroom_stranger;
         set local role greenroom_app;
         insert into users (email) values ('b@example.com');
         insert into audit_logs (action) values ('user.created');
         update users set full_name = 'A';",
    )
    .execute(&mut *tx)
    .await
    .unwrap();
    let seen: i64 = sqlx::query_scalar("select count(*) from users").fetch_one(&mut *tx).await.unwrap();
    assert_eq!(seen, 2);
    for sql in [
        "delete from audit_logs",
        "update credit_usage_events set credits_charged = 0",
        "update greenroom.credit_grants set amount = 0",
        "create table mine (id int)",
    ] {
        sqlx::query("savepoint before").execute(&mut *tx).await.unwrap();
        let error = sqlx::query(sql).execute(&mut *tx).await.unwrap_err().to_string();
        assert!(error.contains("permission denied"), "{sql}: {error}");
        sqlx::query("rollback to before").execute(&mut *tx).await.unwrap();
    }
    // Even somebody who was granted everything sees no row.
    sqlx::query("set local role greenroom_stranger").execute(&mut *tx).await.unwrap();
    for sql in ["select count(*) from users", "select count(*) from background_jobs"] {
        let seen: i64 = sqlx::query_scalar(sql).fetch_one(&mut *tx).await.unwrap();
        assert_eq!(seen, 0, "{sql}");
    }
}

#[tokio::test]
async fn every_reference_has_an_index() {
    let db = Database::new().await;
    let bare: Vec<String> = sqlx::query_scalar(
        "select format('%s: %s', f.conrelid::regclass, f.conname)
           from pg_constraint f
          where f.contype = 'f'
            and not exists (select from pg_index i
                             where i.indrelid = f.conrelid
                               and (i.indkey::smallint[])[0:cardinality(f.conkey) - 1] @> f.conkey
                               -- A partial index serves the reference if all it leaves out is NULL.
                               and (i.indpred is null or pg_get_expr(i.indpred, i.indrelid) ~ '^\\(\\w+ IS NOT NULL\\)$'))
          order by 1",
    )
    .fetch_all(db.pool())
    .await
    .unwrap();
    assert!(bare.is_empty(), "a cascade would read these whole: {bare:#?}");
}
