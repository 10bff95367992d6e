//! A worker seen from outside: what it answers to those who watch it, also while its database is away.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use greenroom_testkit::Database;
use reqwest::Client;
use sqlx::AssertSqlSafe;

use crate::process::WorkerProcess;
use crate::world::World;

struct Watcher {
    http: Client,
    url: String,
}

impl Watcher {
    /// Asks a probe; nobody listening is `(0, "")`.
    async fn ask(&self, path: &str) -> (u16, String) {
        match self.http.get(format!("{}{path}", self.url)).send().await {
            Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap()),
            Err(_) => (0, String::new()),
        }
    }

    async fn until(&self, path: &str, is_so: impl Fn(u16, &str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let (status, text) = self.ask(path).await;
            if is_so(status, &text) {
                return text;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{path} still answers {status}:\n{text}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_tells_how_it_is_and_what_it_has_counted() {
    let world = World::new(3, 10).await;
    let creator = world.creator().await;
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut worker = WorkerProcess::start_with(&world, "youtube,housekeeping", Some(port));
    let http = Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().unwrap();
    let watcher = Watcher { http, url: format!("http://127.0.0.1:{port}") };
    watcher.until("/readyz", |status, _| status == 200).await;
    assert_eq!(watcher.ask("/healthz").await.0, 200);
    assert_eq!(watcher.ask("/livez").await.0, 200);

    world.request(&creator).await;
    world.until_idle().await;
    let finished =
        r#"greenroom_jobs_finished_total{queue="youtube",job_type="youtube.sync_channel",outcome="ok"} 1"#;
    // The gauges follow the counters by some seconds.
    let gauge = r#"greenroom_queue_jobs{queue="youtube",state="ready"} 0"#;
    let told = watcher.until("/metrics", |_, text| text.contains(finished) && text.contains(gauge)).await;
    for line in [
        r#"greenroom_job_duration_seconds_count{queue="youtube",job_type="youtube.sync_channel",outcome="ok"} 1"#,
        r#"greenroom_job_wait_seconds_count{queue="youtube"} 1"#,
        r#"greenroom_leader{role="sweeper"} 1"#,
        r#"greenroom_queue_oldest_runnable_age_seconds{queue="youtube"} 0"#,
        r#"greenroom_workers{queue="youtube"} 1"#,
        r#"greenroom_worker_slots{queue="youtube",state="idle"}"#,
        r#"greenroom_db_pool_connections{state="idle"}"#,
        "# HELP greenroom_queue_jobs Jobs by state",
    ] {
        assert!(told.contains(line), "{line} is not in:\n{told}");
    }

    // The server lets nobody in any more. A restart would not help, so only /readyz says no.
    let name: String = sqlx::query_scalar("select current_database()").fetch_one(world.pool()).await.unwrap();
    let away = Away::send(&name).await;
    let answer = watcher.until("/readyz", |status, _| status == 503).await;
    assert!(answer.contains("database_unreachable"), "{answer}");
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(4) {
        for path in ["/healthz", "/livez", "/metrics"] {
            assert_eq!(watcher.ask(path).await.0, 200, "{path}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    away.back().await;
    watcher.until("/readyz", |status, _| status == 200).await;
    let (status, _) = worker.stop().await;
    assert!(status.success(), "{status}");
    assert_eq!(watcher.ask("/healthz").await.0, 0, "it has gone");
}

/// A database that lets nobody in, spoken to from another one of the same server.
struct Away {
    beside: Database,
    name: String,
}

impl Away {
    async fn send(name: &str) -> Self {
        let away = Self { beside: Database::empty().await, name: name.to_owned() };
        away.say("alter database $ with allow_connections false").await;
        away.say("select pg_terminate_backend(pid) from pg_stat_activity where datname = '$'").await;
        away
    }

    async fn back(self) {
        self.say("alter database $ with allow_connections true").await;
    }

    async fn say(&self, sql: &str) {
        let sql = sql.replace('$', &self.name);
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(self.beside.pool()).await.unwrap();
    }
}
