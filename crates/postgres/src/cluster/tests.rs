//! Servers that are shared, killed, orphaned and stopped, each in a room of its own.

use std::process::{Child, Command as Blocking};

use sqlx::{ConnectOptions, Connection};

use super::*;

/// A throwaway server of this test's own, so that the shared one is not disturbed.
fn plan(name: &str) -> Plan {
    Plan {
        name: name.into(),
        data: Data::Throwaway,
        durability: Durability::None,
        linger: Duration::from_millis(300),
    }
}

fn own(name: &str) -> String {
    // Rooms of this name go with their server.
    format!("alone-{name}-{}", std::process::id())
}

async fn one(postgres: &Postgres, sql: &'static str) -> String {
    let mut connection = postgres.options("postgres").connect().await.unwrap();
    let answer: String = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    answer
}

async fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < Duration::from_secs(30), "waited for 30 s until {what}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Starts this test binary again as a process that uses the server and does nothing else.
fn another_process(name: &str) -> Child {
    Blocking::new(std::env::current_exe().unwrap())
        .args(["--exact", "cluster::tests::be_another_process", "--ignored", "--nocapture"])
        .env("GREENROOM_ROOM_TO_HOLD", name)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
#[ignore = "a part of the other tests, run by them in a process of its own"]
async fn be_another_process() {
    if let Ok(name) = std::env::var("GREENROOM_ROOM_TO_HOLD") {
        let postgres = Postgres::enter(plan(&name)).await.unwrap();
        let mut connection = postgres.options("postgres").connect().await.unwrap();
        sqlx::query("create table if not exists come (pid int)").execute(&mut connection).await.ok();
        let pid = i32::try_from(std::process::id()).unwrap();
        sqlx::query("insert into come values ($1)").bind(pid).execute(&mut connection).await.unwrap();
        std::future::pending::<()>().await;
    }
}

#[tokio::test]
async fn four_starters_at_once_start_one_server_and_a_kill_9_of_all_leaves_none() {
    let name = own("four");
    let mut starters: Vec<Child> = (0..4).map(|_| another_process(&name)).collect();
    let room = Account::current().await.unwrap().rooms().unwrap().join(&name);
    wait_until("a server is up", || room.join(".s.PGSQL.5432").exists()).await;
    let postgres = Postgres::enter(plan(&name)).await.unwrap();
    let data = postgres.data().to_owned();
    let since = Instant::now();
    // All four wrote into the same table: they share a server.
    while one(&postgres, "select coalesce(to_regclass('come')::text, '')").await.is_empty()
        || one(&postgres, "select count(*)::text from come").await != "4"
    {
        assert!(since.elapsed() < Duration::from_secs(30), "not all four came");
        sleep(Duration::from_millis(50)).await;
    }
    drop(postgres);
    sleep(Duration::from_secs(1)).await;
    assert!(data.exists(), "the server went although others use it");
    for starter in &mut starters {
        starter.kill().unwrap();
        starter.wait().unwrap();
    }
    wait_until("server and data are gone", || !data.exists() && !room.exists()).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_orphan_is_adopted() {
    let name = own("orphan");
    let first = Postgres::enter(plan(&name)).await.unwrap();
    let (data, born) =
        (first.data().to_owned(), one(&first, "select pg_postmaster_start_time()::text").await);
    // Whoever holds supervisor.lock is the supervisor: end it as hard as can be.
    let holder = supervisor_of(&first);
    run(Command::new("kill").args(["-9", &holder]), "killing the supervisor").await.unwrap();
    drop(first);
    sleep(Duration::from_secs(1)).await;
    let second = Postgres::enter(plan(&name)).await.unwrap();
    assert_eq!(one(&second, "select pg_postmaster_start_time()::text").await, born, "it was started anew");
    second.stop().await.unwrap();
    assert!(!data.exists(), "nobody looked after the adopted one");
}

#[cfg(target_os = "linux")]
fn supervisor_of(postgres: &Postgres) -> String {
    let room = postgres.room().to_string_lossy().into_owned();
    let commands = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let entry = entry.ok()?;
        let command = fs::read_to_string(entry.path().join("cmdline")).ok()?;
        Some((entry.file_name().into_string().ok()?, command))
    });
    let mut supervisors: Vec<u32> = commands
        .filter(|(_, command)| command.contains("greenroom-postgres-supervisor") && command.contains(&room))
        .filter_map(|(pid, _)| pid.parse().ok())
        .collect();
    // Its own children look the same until they have become another program.
    supervisors.sort_unstable();
    supervisors.first().unwrap().to_string()
}

#[tokio::test]
async fn a_dead_server_is_replaced_whatever_it_left() {
    let name = own("dead");
    let first = Postgres::enter(plan(&name)).await.unwrap();
    let old = first.data().to_owned();
    first.crash().await.unwrap();
    // Its process number now belongs to somebody else: us.
    fs::write(old.join("postmaster.pid"), format!("{}\n", std::process::id())).unwrap();
    let second = Postgres::enter(plan(&name)).await.unwrap();
    assert_ne!(second.data(), old);
    assert!(!old.exists());
    assert_eq!(one(&second, "show fsync").await, "off");
    drop(first);
    second.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_kept_survives_a_stop_and_a_crash() {
    let project = tempfile::tempdir().unwrap();
    let first = Postgres::kept(project.path()).await.unwrap();
    assert_eq!(one(&first, "show fsync").await, "on");
    assert!(first.create_database("kept").await.unwrap());
    assert!(!first.create_database("kept").await.unwrap());
    let (room, data) = (first.room().to_owned(), first.data().to_owned());
    first.stop().await.unwrap();
    assert!(!data.join("postmaster.pid").exists(), "it was not stopped in order");

    let second = Postgres::kept(project.path()).await.unwrap();
    second.crash().await.unwrap();
    fs::write(data.join("postmaster.pid"), format!("{}\n", std::process::id())).unwrap();
    drop(second);
    let third = Postgres::kept(project.path()).await.unwrap();
    assert!(!third.create_database("kept").await.unwrap(), "the database was lost");
    // A second user does not keep the first from leaving.
    let fourth = Postgres::kept(project.path()).await.unwrap();
    third.stop().await.unwrap();
    assert!(data.join("postmaster.pid").exists());
    fourth.stop().await.unwrap();
    assert!(!data.join("postmaster.pid").exists());
    fs::remove_dir_all(room).unwrap();
}

#[tokio::test]
async fn a_server_of_its_own_survives_a_crash_and_leaves_nothing() {
    let postgres = Postgres::alone().await.unwrap();
    assert_eq!(one(&postgres, "show fsync").await, "on");
    postgres.create_database("before").await.unwrap();
    postgres.crash().await.unwrap();
    assert!(postgres.options("before").connect().await.is_err());
    postgres.restart().await.unwrap();
    assert!(postgres.options("before").connect().await.is_ok());
    let (room, data) = (postgres.room().to_owned(), postgres.data().to_owned());
    postgres.stop().await.unwrap();
    wait_until("room and data are gone", || !room.exists() && !data.exists()).await;
}

#[tokio::test]
async fn a_standby_follows_and_takes_over() {
    let primary = Postgres::alone().await.unwrap();
    let standby = primary.standby().await.unwrap();
    assert_eq!(one(&standby, "select pg_is_in_recovery()::text").await, "true");
    primary.create_database("followed").await.unwrap();
    let since = Instant::now();
    while standby.options("followed").connect().await.is_err() {
        assert!(since.elapsed() < Duration::from_secs(30), "it does not follow");
        sleep(Duration::from_millis(50)).await;
    }
    primary.crash().await.unwrap();
    standby.promote().await.unwrap();
    assert_eq!(one(&standby, "select pg_is_in_recovery()::text").await, "false");
    primary.stop().await.unwrap();
    standby.stop().await.unwrap();
}

#[tokio::test]
#[ignore = "a part of the test of fetching, run by it in a process of its own"]
async fn be_a_server_of_its_own() {
    if let Ok(major) = std::env::var("GREENROOM_MAJOR_TO_BE") {
        let postgres = Postgres::alone().await.unwrap();
        let version = one(&postgres, "show server_version").await;
        assert!(version.starts_with(&major), "{version}");
        crate::migrate(&postgres.options("postgres")).await.unwrap();
        postgres.stop().await.unwrap();
    }
}

#[test]
fn the_longest_socket_address_fits() {
    let longest = format!("/var/tmp/greenroom-{}/kept-0123456789abcdef/.s.PGSQL.5432", u32::MAX);
    assert!(longest.len() < 104, "107 bytes on Linux, 103 on macOS");
}
