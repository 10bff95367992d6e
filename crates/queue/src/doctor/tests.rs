//! Each trouble is made, and found.

use std::collections::BTreeMap;

use greenroom_testkit::Database;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _};

use super::*;

async fn run(db: &Database, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(db.pool()).await.unwrap();
}

/// Examines all there is and returns what is not as it should be.
async fn complaints(db: &Database) -> BTreeMap<&'static str, Finding> {
    let mut findings = examine_server(db.pool()).await;
    findings.extend(examine_queue(db.pool(), &db.clock()).await);
    findings
        .into_iter()
        .inspect(|finding| assert_eq!(finding.health == Health::Ok, finding.advice.is_none(), "{finding:?}"))
        .filter(|finding| finding.health > Health::Ok)
        .map(|finding| (finding.check, finding))
        .collect()
}

/// Asserts that a check complains so gravely, in words that hold this.
fn complains(found: &BTreeMap<&'static str, Finding>, check: &str, health: Health, words: &str) {
    let finding = found.get(check).unwrap_or_else(|| panic!("{check} has not complained: {found:?}"));
    assert_eq!(finding.health, health, "{finding:?}");
    assert!(finding.says.contains(words), "{finding:?}");
}

/// A job as plain SQL enqueues it, of a queue and kind that nobody has declared.
const JOBS: &str = "insert into background_jobs (job_type, queue, run_at, rank, lane, max_attempts)
     select 'step', 'steps', greenroom.now(), greenroom.job_rank(greenroom.now(), 5::smallint),
            greenroom.lane_id('steps', '', '#' || n % 8), 3";

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_house_lacks_only_its_workers() {
    let db = Database::new().await;
    let found = complaints(&db).await;
    complains(&found, "leaders", Health::Warning, "nobody sweeps");
    // The pool of the tests has not the limits of the house's.
    complains(&found, "limits", Health::Warning, "idle_in_transaction_session_timeout");
    assert_eq!(found.keys().collect::<Vec<_>>(), [&"leaders", &"limits"], "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_cannot_be_asked_stops_no_other() {
    let db = Database::new().await;
    run(&db, "drop table greenroom.schedules").await;
    let found = complaints(&db).await;
    complains(&found, "ticks", Health::Problem, "could not be examined");
    assert!(!found.contains_key("due jobs") && !found.contains_key("notifications"), "{found:?}");
}

#[test]
fn an_old_server_is_a_problem() {
    assert_eq!(server::judge_version(150_001, "15.1").health, Health::Ok);
    assert_eq!(server::judge_version(140_012, "14.12").health, Health::Problem);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_that_are_in_force_are_seen() {
    let db = Database::new().await;
    let names = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"];
    let options: PgConnectOptions = db.url().parse().unwrap();
    let options = options.options(names.map(|name| (name, "9s")));
    let options = options.options([("client_connection_check_interval", "9s"), ("tcp_user_timeout", "9s")]);
    let mut conn = PgConnection::connect_with(&options).await.unwrap();
    assert_eq!(server::limits(&mut conn).await.unwrap().health, Health::Ok);
    sqlx::raw_sql("set statement_timeout = 0").execute(&mut conn).await.unwrap();
    let found = server::limits(&mut conn).await.unwrap();
    assert!(found.health == Health::Warning && found.says.ends_with(": statement_timeout"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_run_out_are_told_by_their_tightest_limit() {
    let db = Database::new().await;
    let name: String =
        sqlx::query_scalar("select current_database()::text").fetch_one(db.pool()).await.unwrap();
    run(&db, &format!("alter database {name} connection limit 1")).await;
    complains(&complaints(&db).await, "connections", Health::Problem, "limit of the database");
    run(&db, &format!("alter database {name} connection limit 100")).await;
    assert!(!complaints(&db).await.contains_key("connections"));
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_do_not_arrive_are_missed() {
    let (here, elsewhere) = tokio::join!(Database::new(), Database::new());
    assert_eq!(server::notifications(here.pool(), here.pool(), server::DELIVERY).await.health, Health::Ok);
    let patience = Duration::from_millis(300);
    let found = server::notifications(here.pool(), elsewhere.pool(), patience).await;
    assert!(found.health == Health::Problem && found.says.contains("not heard"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_differ_are_told_apart() {
    let db = Database::new().await;
    let ours = Clock::system();
    let mut conn = db.pool().acquire().await.unwrap();
    assert_eq!(server::clock(&mut conn, &ours).await.unwrap().health, Health::Ok);
    db.advance(Duration::from_secs(90)).await;
    let found = server::clock(&mut conn, &ours).await.unwrap();
    assert!(found.health == Health::Warning && found.says.contains("behind"), "{found:?}");
    ours.advance(Duration::from_mins(3));
    let found = server::clock(&mut conn, &ours).await.unwrap();
    assert!(found.says.starts_with("this machine's clock is 90 s ahead of"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_sees_nothing_is_told_why() {
    let db = Database::new().await;
    // Roles belong to the whole server, so this one has a name of its own and goes at the end.
    let role = format!("greenroom_test_{}", uuid::Uuid::now_v7().simple());
    run(&db, &format!("create role {role}; grant usage on schema greenroom to {role}")).await;
    let mut conn = db.pool().acquire().await.unwrap().detach();
    sqlx::raw_sql(AssertSqlSafe(format!("set role {role}"))).execute(&mut conn).await.unwrap();
    let found = table::rights(&mut conn).await.unwrap();
    assert!(found.health == Health::Problem && found.says.contains("background_jobs"), "{found:?}");

    run(&db, &format!("grant select on background_jobs to {role}")).await;
    let found = table::row_security(&mut conn).await.unwrap();
    assert_eq!(found.health, Health::Problem, "{found:?}");
    run(&db, &format!("create policy all_of_it on background_jobs to {role} using (true)")).await;
    assert_eq!(table::row_security(&mut conn).await.unwrap().health, Health::Ok);

    sqlx::raw_sql("reset role").execute(&mut conn).await.unwrap();
    assert_eq!(table::rights(&mut conn).await.unwrap().health, Health::Ok);
    run(&db, &format!("drop owned by {role}; drop role {role}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_the_horizon_is_named() {
    let db = Database::new().await;
    let mut tx = db.pool().begin().await.unwrap();
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid() from pg_current_xact_id()")
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    assert!(!complaints(&db).await.contains_key("horizon"));
    db.advance(Duration::from_mins(10)).await;
    let found = complaints(&db).await;
    complains(&found, "horizon", Health::Warning, &format!("session {pid} of"));
    complains(&found, "idle transactions", Health::Warning, &pid.to_string());
    db.advance(Duration::from_hours(2)).await;
    complains(&complaints(&db).await, "horizon", Health::Problem, "for 2 h");
    tx.rollback().await.unwrap();
    let found = complaints(&db).await;
    assert!(!found.contains_key("horizon") && !found.contains_key("idle transactions"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_were_changed_are_named() {
    let db = Database::new().await;
    run(&db, "alter table background_jobs reset (autovacuum_vacuum_scale_factor)").await;
    run(&db, "alter table greenroom.turns set (autovacuum_enabled = false)").await;
    let found = complaints(&db).await;
    complains(
        &found,
        "table settings",
        Health::Warning,
        "background_jobs has not autovacuum_vacuum_scale_factor=0.02",
    );
    complains(&found, "table settings", Health::Warning, "greenroom.turns has autovacuum turned off");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_rows_are_counted() {
    let db = Database::new().await;
    run(&db, "alter table background_jobs set (autovacuum_enabled = false)").await;
    let mut conn = db.pool().acquire().await.unwrap();
    for sql in [
        &format!("{JOBS} from generate_series(1, 12000) n"),
        "delete from background_jobs",
        "select pg_stat_force_next_flush()",
        "select 1",
    ] {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut *conn).await.unwrap();
    }
    drop(conn);
    complains(
        &complaints(&db).await,
        "dead rows",
        Health::Warning,
        "12000 dead rows beside 0 live ones, never vacuumed",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_index_is_named() {
    let db = Database::new().await;
    run(&db, "update pg_index set indisvalid = false where indexrelid = 'background_jobs_due'::regclass")
        .await;
    complains(&complaints(&db).await, "indexes", Health::Problem, "background_jobs_due");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_without_its_index_is_told() {
    let db = Database::new().await;
    run(&db, &format!("{JOBS} from generate_series(1, 30000) n")).await;
    run(
        &db,
        "update background_jobs set rank = null where id in (select id from background_jobs limit 3000)",
    )
    .await;
    run(&db, "analyze background_jobs").await;
    assert!(!complaints(&db).await.contains_key("plans"));
    run(&db, "drop index background_jobs_due").await;
    complains(&complaints(&db).await, "plans", Health::Problem, "the sweeper's promotion ");
    run(&db, "drop index background_jobs_ready").await;
    let found = complaints(&db).await;
    complains(&found, "plans", Health::Problem, "the claim's pick ");
    complains(&found, "plans", Health::Problem, "the sweeper's walk over the lanes ");
    run(&db, "drop index background_jobs_lease").await;
    complains(&complaints(&db).await, "plans", Health::Problem, "the sweeper's rescue ");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_without_workers_is_a_problem() {
    let db = Database::new().await;
    run(&db, &format!("{JOBS} from generate_series(1, 2) n")).await;
    // As a worker's wake or the sweeper makes it.
    run(
        &db,
        "select greenroom.wake(array_agg(lane), array_agg(queue), array_agg(pool), array_agg(text '#'), null, array_agg(rank))
           from background_jobs",
    )
    .await;
    let found = complaints(&db).await;
    complains(&found, "leaders", Health::Problem, "nobody sweeps");
    complains(&found, "unserved queues", Health::Problem, "nobody serves steps");

    run(
        &db,
        "insert into greenroom.leaders (role, holder, until)
         values ('sweeper', gen_random_uuid(), greenroom.now() + interval '15 s');
         insert into greenroom.schedules (name, kind, cron, next_fire_at)
         values ('nightly', 'step', '0 3 * * *', greenroom.now());
         insert into greenroom.workers (id, name, host, pid, version, queues, queue_slots, slots)
         values (gen_random_uuid(), 'w', 'here', 42, '1', '{steps}', '{1}', 1)",
    )
    .await;
    let found = complaints(&db).await;
    complains(&found, "leaders", Health::Problem, "nobody ticks");
    assert!(!found.contains_key("unserved queues") && !found.contains_key("workers"), "{found:?}");

    db.advance(Duration::from_mins(3)).await;
    let found = complaints(&db).await;
    complains(&found, "workers", Health::Warning, "here:42 for 3 min");
    complains(&found, "unserved queues", Health::Problem, "steps");
    complains(&found, "leaders", Health::Problem, "nobody sweeps");
    complains(&found, "ticks", Health::Problem, "nightly for 3 min");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_nobody_moves_are_found() {
    let db = Database::new().await;
    run(&db, "insert into background_jobs (job_type) values ('mispelt'), ('mispelt')").await;
    run(&db, &format!("{JOBS} from generate_series(1, 3) n")).await;
    run(
        &db,
        "update background_jobs set status = 'running', lease_token = 1, leased_until = greenroom.now(), attempt = 1
          where id = (select min(id::text)::uuid from background_jobs where queue = 'steps');
         update background_jobs set rank = null where id = (select max(id::text)::uuid from background_jobs where queue = 'steps')",
    )
    .await;
    let found = complaints(&db).await;
    complains(&found, "unknown kinds", Health::Problem, "mispelt (2)");
    assert!(!found.contains_key("leases") && !found.contains_key("due jobs"), "{found:?}");
    db.advance(Duration::from_mins(5)).await;
    let found = complaints(&db).await;
    complains(&found, "leases", Health::Problem, "1 running jobs wait for their rescue, the first for 5 min");
    complains(&found, "due jobs", Health::Problem, "1 jobs are due and not ready, the first for 5 min");
}

#[tokio::test(flavor = "multi_thread")]
async fn pauses_and_breakers_are_listed() {
    let db = Database::new().await;
    run(
        &db,
        "insert into greenroom.queues (name, paused) values ('steps', true);
         insert into greenroom.kinds (kind, queue, priority, max_attempts, paused) values ('step', 'steps', 5, 3, true);
         insert into greenroom.pools (name, paused) values ('a', true);
         insert into greenroom.pools (name, open_until, open_reason) values ('b', greenroom.now(), 'three times 503');
         insert into greenroom.lanes (id, queue, key, paused) values (1, 'steps', 'x:1', true);
         insert into greenroom.lanes (id, queue, key, open_until) values (2, 'steps', 'x:2', greenroom.now());
         insert into greenroom.schedules (name, kind, cron, paused) values ('nightly', 'step', '0 3 * * *', true)",
    )
    .await;
    let found = complaints(&db).await;
    complains(
        &found,
        "pauses",
        Health::Warning,
        "kind step, lane x:1 of steps, pool a, queue steps, schedule nightly",
    );
    complains(&found, "breakers", Health::Warning, "lane x:2 of steps, pool b (three times 503)");
}

#[test]
fn many_names_are_cut_and_times_are_readable() {
    let names: Vec<String> = (1..=7).map(|n| format!("n{n}")).collect();
    assert_eq!(some(&names), "n1, n2, n3, n4, n5 and 2 more");
    assert_eq!([90.0, 600.0, 7_300.0, 900_000.0].map(lasting), ["90 s", "10 min", "2 h", "10 days"]);
}
