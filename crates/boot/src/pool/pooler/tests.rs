//! A real pgbouncer in each of its modes, between us and a database.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::str::FromStr as _;
use std::time::Instant;

use greenroom_testkit::Database;

use super::*;

struct Bouncer {
    child: Child,
    folder: tempfile::TempDir,
    database: String,
}

impl Bouncer {
    /// Starts a pgbouncer with this configuration before a database.
    async fn before(db: &Database, how: &str) -> Self {
        let server = PgConnectOptions::from_str(&db.url()).unwrap();
        let host =
            server.get_socket().map_or(server.get_host().to_owned(), |path| path.display().to_string());
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "[databases]\n* = host={host} port={} user={}\n\
             [pgbouncer]\nunix_socket_dir = {}\nlisten_port = 6432\nauth_type = any\n\
             ignore_startup_parameters = options,extra_float_digits\n{how}\n",
            server.get_port(),
            server.get_username(),
            folder.path().display(),
        );
        let path = folder.path().join("pgbouncer.ini");
        std::fs::write(&path, config).unwrap();
        let mut command = Command::new("pgbouncer");
        // It refuses to run as root, and only the server's own account may use its socket.
        if let Some(owner) = server.get_socket().and_then(|socket| std::fs::metadata(socket).ok()) {
            std::os::unix::fs::chown(folder.path(), Some(owner.uid()), Some(owner.gid())).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
            command.uid(owner.uid()).gid(owner.gid());
        }
        let child = command
            .arg(&path)
            .current_dir("/")
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("pgbouncer does not start ({error}): is it installed?"));
        let begun = Instant::now();
        while !folder.path().join(".s.PGSQL.6432").exists() {
            assert!(begun.elapsed() < Duration::from_secs(10), "pgbouncer does not come up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { child, folder, database: server.get_database().unwrap().to_owned() }
    }

    fn url(&self) -> String {
        format!(
            "postgres://anybody@localhost:6432/{}?host={}&sslmode=disable",
            self.database,
            self.folder.path().display()
        )
    }

    /// Looks through it as a process does that starts.
    async fn connect(&self, patience_ms: &str) -> Result<sqlx::PgPool, BootError> {
        let config = crate::Config::load().unwrap();
        let config = config.with([("database.acquire_timeout_ms", patience_ms.to_owned())]).unwrap();
        crate::pool::connect(&self.url().into(), &config.section("database").unwrap(), "test").await
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("log"));
            eprintln!("what pgbouncer wrote:\n{}", log.unwrap_or_default());
        }
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pgbouncer"]
async fn needs_pgbouncer_transaction_mode_is_refused() {
    let db = Database::new().await;
    for how in [
        "default_pool_size = 20",
        // The second connection would wait for the only server.
        "default_pool_size = 1",
        "default_pool_size = 2\nserver_round_robin = 1",
        "default_pool_size = 5\nmin_pool_size = 5\nserver_round_robin = 1",
    ] {
        let bouncer = Bouncer::before(&db, &format!("pool_mode = transaction\n{how}")).await;
        let begun = Instant::now();
        let error = bouncer.connect("10000").await.unwrap_err();
        assert!(matches!(error, BootError::TransactionPooler), "{how}: {error}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{how}: it waited for {:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pgbouncer"]
async fn needs_pgbouncer_transaction_mode_is_refused_while_others_use_it() {
    let db = Database::new().await;
    let bouncer = Bouncer::before(&db, "pool_mode = transaction\ndefault_pool_size = 4").await;
    let options = PgConnectOptions::from_str(&bouncer.url()).unwrap();
    let mut others = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let options = options.clone();
        others.spawn(async move {
            let mut conn = PgConnection::connect_with(&options).await.unwrap();
            loop {
                sqlx::raw_sql("select pg_sleep(random() * 0.003)").execute(&mut conn).await.unwrap();
            }
        });
    }
    for _ in 0..10 {
        let error = bouncer.connect("10000").await.unwrap_err();
        assert!(matches!(error, BootError::TransactionPooler), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pgbouncer"]
async fn needs_pgbouncer_session_mode_passes_and_a_pool_of_one_is_told() {
    let db = Database::new().await;
    let wide = Bouncer::before(&db, "pool_mode = session\ndefault_pool_size = 20").await;
    let pool = wide.connect("10000").await.unwrap();
    let one: i32 = sqlx::query_scalar("select 1").fetch_one(&pool).await.unwrap();
    assert_eq!(one, 1);
    let narrow = Bouncer::before(&db, "pool_mode = session\ndefault_pool_size = 1").await;
    let error = narrow.connect("500").await.unwrap_err();
    assert!(matches!(error, BootError::OneConnection { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_server_is_no_pooler() {
    let db = Database::new().await;
    let server = PgConnectOptions::from_str(&db.url()).unwrap();
    let busy: Vec<_> = (0..6)
        .map(|_| {
            let pool = db.pool().clone();
            tokio::spawn(async move {
                sqlx::query("select count(*) from generate_series(1, 2000000)").execute(&pool).await.unwrap();
            })
        })
        .collect();
    for _ in 0..20 {
        let mut ours = PgConnection::connect_with(&server).await.unwrap();
        refuse(&server, &mut ours, Duration::from_secs(30)).await.unwrap();
    }
    for query in busy {
        query.await.unwrap();
    }
}
