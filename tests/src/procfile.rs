//! The Procfile as a deployment uses it: one runner starts the processes over an empty database.
//!
//! Needs honcho, on the path or beside the interpreter that `GREENROOM_TEST_PYTHON` names.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use greenroom_accounts::access::{self, NewToken};
use greenroom_accounts::organizations;
use greenroom_model::JobId;
use greenroom_testkit::Database;
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{send, stop};
use crate::world::{Creator, World};

const HOUSE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const BINARIES: [&str; 7] = [
    "campaign-worker",
    "credit-worker",
    "enrichment-worker",
    "greenroom-api",
    "scheduler",
    "token-worker",
    "youtube-worker",
];
/// The processes' sessions, by the name that each gives its own.
const SESSIONS: &str = "select distinct application_name from pg_stat_activity
     where datname = current_database() and application_name in ('greenroom-api', 'scheduler', 'youtube-worker', 'token-worker', 'enrichment-worker', 'campaign-worker', 'credit-worker')
     order by 1";

/// Returns the folder of the binaries, which are built unless they are there and as new as this test.
fn binaries() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let built_at =
        |path: &Path| path.metadata().and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let folder = test.ancestors().nth(2).unwrap().to_owned();
    if BINARIES.iter().any(|name| built_at(&folder.join(name)) < built_at(&test)) {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--locked", "--target-dir"]).arg(folder.parent().unwrap());
        build.args(folder.ends_with("release").then_some("--release"));
        build.args(BINARIES.iter().flat_map(|name| ["--bin", name]));
        assert!(build.current_dir(HOUSE).status().unwrap().success(), "the binaries could not be built");
    }
    folder
}

fn honcho() -> OsString {
    let beside = std::env::var_os("GREENROOM_TEST_PYTHON")
        .map(|python| Path::new(&python).with_file_name("honcho"))
        .filter(|honcho| honcho.exists());
    beside.map_or_else(|| OsString::from("honcho"), PathBuf::into_os_string)
}

/// The runner, which is told to stop when the test is over.
struct Honcho {
    child: Child,
    folder: TempDir,
}

impl Honcho {
    /// Starts the processes of the Procfile, from the folder where this build has put them.
    fn start(world: &World, port: u16) -> Self {
        let procfile = fs::read_to_string(Path::new(HOUSE).join("Procfile")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let binaries = format!("{}/", binaries().display());
        fs::write(folder.path().join("Procfile"), procfile.replace("./target/release/", &binaries)).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let child = Command::new(honcho())
            .arg("start")
            .current_dir(folder.path())
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(world.environment())
            .env("GREENROOM__LOG__FILTER", "info,sqlx=warn")
            // honcho gives the first process this very port.
            .env("PORT", port.to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("honcho does not start ({error}): is it on the path?"));
        Self { child, folder }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for Honcho {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what the processes wrote:\n{}", self.log());
        }
        // Killed at once it would leave its processes behind; it gives them five seconds.
        if matches!(self.child.try_wait(), Ok(None)) {
            send(self.child.id(), "-TERM");
            _ = self.child.wait();
        }
        greenroom_testkit::overhear("a process of the Procfile", &self.log());
    }
}

/// A program of the creator's tenant, as it speaks to the API.
struct Program {
    http: Client,
    api: String,
    token: String,
}

impl Program {
    async fn asks(&self, method: Method, path: &str) -> (StatusCode, Value) {
        let request = self.http.request(method, format!("{}{path}", self.api)).bearer_auth(&self.token);
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }
}

/// Waits until the API says it is ready, which it is not before somebody has migrated.
async fn until_ready(http: &Client, api: &str, honcho: &mut Honcho) {
    let begun = Instant::now();
    loop {
        let answer = http.get(format!("{api}/readyz")).send().await;
        if answer.is_ok_and(|answer| answer.status() == StatusCode::OK) {
            return;
        }
        assert!(honcho.child.try_wait().unwrap().is_none(), "honcho ended");
        assert!(begun.elapsed() < Duration::from_mins(1), "the API is not ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Makes the creator's tenant, and the token of its program.
async fn token(world: &World, creator: &Creator) -> String {
    let mut conn = world.pool().acquire().await.unwrap();
    let tenant = organizations::create(&mut conn, "Acme", organizations::Kind::Agency).await.unwrap();
    sqlx::query("update users set organization_id = $1").bind(tenant.0).execute(&mut *conn).await.unwrap();
    let new = NewToken {
        organization: Some(tenant),
        name: "a program",
        scopes: &["connection.sync".to_owned(), "job.read".to_owned()],
        days: NewToken::DEFAULT_DAYS,
        created_by: Some(creator.user),
    };
    access::create(&mut conn, &new).await.unwrap().1.expose().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs honcho"]
async fn needs_honcho_the_procfile_runs_the_house() {
    // Empty: the scheduler migrates, and the others wait for it.
    let world = World::over(Database::empty().await, 20, 600).await;
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut honcho = Honcho::start(&world, port);
    let (http, api) = (Client::builder().no_proxy().build().unwrap(), format!("http://127.0.0.1:{port}"));
    until_ready(&http, &api, &mut honcho).await;
    let creator = world.creator().await;
    let program = Program { http, api, token: token(&world, &creator).await };

    let sync = format!("/v1/youtube/connections/{}/sync", creator.connection);
    let (status, accepted) = program.asks(Method::POST, &sync).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{accepted}");
    let path = format!("/v1/jobs/{}", accepted["id"].as_str().unwrap());
    let begun = Instant::now();
    let job = loop {
        let (status, job) = program.asks(Method::GET, &path).await;
        assert_eq!(status, StatusCode::OK, "{job}");
        match job["status"].as_str() {
            Some("completed") => break job,
            Some("pending" | "running") if begun.elapsed() < Duration::from_mins(1) => {}
            _ => panic!("{job}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let id: JobId = serde_json::from_value(job["id"].clone()).unwrap();
    world.was_synced_once(&creator, id).await;
    assert_eq!(world.list(SESSIONS).await, BINARIES);

    let (status, took) = stop(&mut honcho.child).await;
    assert!(took < Duration::from_secs(10), "it took {took:?}");
    assert!([0, 143].contains(&status.code().unwrap()), "{status}");
    // honcho sees only the shells that it runs them by; each process tells itself that it came to its end.
    let log = honcho.log();
    for name in ["web", "scheduler", "youtube", "tokens"] {
        let ended = log.lines().any(|line| line.contains(&format!("{name}.1")) && line.ends_with("Stopped"));
        assert!(ended && !log.contains("SIGKILL"), "{name} was cut off:\n{log}");
    }
    assert_eq!(world.list(SESSIONS).await, [""; 0]);
    assert_eq!(world.number("select count(*) from greenroom.workers").await, 0, "they signed off");
    assert!(program.http.get(&program.api).send().await.is_err(), "somebody still listens");
}
