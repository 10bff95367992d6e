//! What others ask a process over HTTP: does it live, should it get work, what has it counted.
//!
//! ```text
//!   GET /healthz   the process answers; it asks nobody, since a restart heals no database
//!   GET /livez     the loops it lives by still come round: 200, or 503 with `stuck`
//!   GET /readyz    200, or 503 with `draining`, `schema_not_current` or `database_unreachable`
//!   GET /metrics   what it has counted, in Prometheus' text form
//! ```
//!
//! The API merges [`Probes::routes`] with its own. A process without an API answers them on a port of
//! its own ([`Probes::listen`]), from a thread and runtime of their own: they answer while handlers keep
//! every other thread busy.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use sqlx::PgPool;
use tokio::runtime::{self, Handle};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::error::BootError;
use crate::metrics::Metrics;

/// A probe that waits longer than this is answered no.
const PATIENCE: Duration = Duration::from_secs(2);

type Check = dyn Fn(PgPool) -> Pin<Box<dyn Future<Output = Result<bool, sqlx::Error>> + Send>> + Send + Sync;

/// Answers the probes of one process.
#[derive(Clone)]
pub struct Probes {
    metrics: Metrics,
    pool: PgPool,
    is_current: Arc<Check>,
    draining: CancellationToken,
    /// Where the process works, and its pool belongs: a check of the database runs there.
    home: Handle,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    loops: Vec<Loop>,
    engines: Vec<PgPool>,
}

struct Loop {
    name: &'static str,
    limit: Duration,
    last: Box<dyn Fn() -> Duration + Send>,
}

impl std::fmt::Debug for Probes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Probes")
    }
}

impl Probes {
    /// Makes the probes of a process that works with this pool and is about to end once `draining` is
    /// cancelled. `is_current` tells whether the database has the schema of this build. Needs a runtime.
    pub fn new<C, F>(metrics: Metrics, pool: PgPool, draining: CancellationToken, is_current: C) -> Self
    where
        C: Fn(PgPool) -> F + Send + Sync + 'static,
        F: Future<Output = Result<bool, sqlx::Error>> + Send + 'static,
    {
        let is_current: Arc<Check> = Arc::new(move |pool| Box::pin(is_current(pool)));
        Self { metrics, pool, is_current, draining, home: Handle::current(), seen: Arc::default() }
    }

    /// Has `/livez` watch a loop, which must come round within the limit; `last` tells how long ago it did.
    pub fn watch(&self, name: &'static str, limit: Duration, last: impl Fn() -> Duration + Send + 'static) {
        self.seen().loops.push(Loop { name, limit, last: Box::new(last) });
    }

    /// Counts the connections of one more pool.
    pub fn count(&self, pool: &PgPool) {
        self.seen().engines.push(pool.clone());
    }

    /// Returns the routes.
    pub fn routes<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        Router::new()
            .route("/healthz", get(async || alive()))
            .route("/livez", get(live))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .with_state(self.clone())
    }

    /// Answers on an address until the process ends, from a thread of its own.
    pub fn listen(&self, address: SocketAddr) -> Result<(), BootError> {
        let refused = |source| BootError::Listen { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(refused)?;
        let routes: Router = self.routes();
        info!(%address, "Answering probes");
        std::thread::Builder::new()
            .name("probes".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    match tokio::net::TcpListener::from_std(listener) {
                        Ok(listener) => axum::serve(listener, routes).await,
                        Err(error) => Err(error),
                    }
                })
            })
            .map_err(refused)?;
        Ok(())
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        // Whoever panicked has left nothing half done: both lists only grow.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn alive() -> Json<serde_json::Value> {
    Json(json!({"status": "alive"}))
}

async fn live(State(probes): State<Probes>) -> Response {
    for watched in &probes.seen().loops {
        let ago = (watched.last)();
        if ago > watched.limit {
            let detail =
                format!("the {} loop has not come round for {} s: restart it", watched.name, ago.as_secs());
            return refusal("stuck", "A loop of this process is stuck", &detail);
        }
    }
    alive().into_response()
}

async fn ready(State(probes): State<Probes>) -> Response {
    if probes.draining.is_cancelled() {
        return refusal("draining", "This process is about to end", "use another process");
    }
    let check = probes.home.spawn((probes.is_current)(probes.pool.clone()));
    let error = match timeout(PATIENCE, check).await {
        Ok(Ok(Ok(true))) => return Json(json!({"status": "ready"})).into_response(),
        Ok(Ok(Ok(false))) => {
            let detail = "run `greenroom migrate` of this release";
            return refusal("schema_not_current", "The database is not migrated", detail);
        }
        Ok(Ok(Err(error))) => error.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it took too long".to_owned(),
    };
    warn!(error, "The database does not answer");
    let detail = "check DATABASE_URL and that the server runs";
    refusal("database_unreachable", "The database does not answer", detail)
}

async fn metrics(State(probes): State<Probes>) -> impl IntoResponse {
    let (mut open, mut idle) = (0, 0);
    for pool in probes.seen().engines.iter().chain([&probes.pool]) {
        open += pool.size();
        idle += u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
    }
    for (state, connections) in [("busy", open.saturating_sub(idle)), ("idle", idle)] {
        metrics::gauge!("greenroom_db_pool_connections", "state" => state).set(f64::from(connections));
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], probes.metrics.render())
}

/// Says no, as a problem document (RFC 9457).
fn refusal(code: &str, title: &str, detail: &str) -> Response {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let body = json!({
        "type": format!("urn:greenroom:problem:{code}"),
        "title": title,
        "status": status.as_u16(),
        "detail": detail,
        "code": code,
    });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpStream};
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::metrics::tests::METRICS;

    /// Probes over a pool that is never asked, and the address where they answer.
    fn probes(
        is_current: impl Fn() -> Result<bool, sqlx::Error> + Send + Sync + 'static,
    ) -> (Probes, SocketAddr) {
        let pool = PgPool::connect_lazy("postgres://nobody@127.0.0.1:1/nothing").unwrap();
        let probes = Probes::new(METRICS.clone(), pool, CancellationToken::new(), move |_| {
            std::future::ready(is_current())
        });
        let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        probes.listen(free).unwrap();
        (probes, free)
    }

    /// Asks from outside of any runtime; returns the answer's first line and its end.
    fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn answers_while_every_thread_of_the_process_is_busy() {
        let (_probes, address) = probes(|| Ok(true));
        assert!(ask(address, "/readyz").contains(r#"{"status":"ready"}"#));
        // Blocks the runtime's only worker, as a handler that computes would.
        let (release, held) = std::sync::mpsc::channel::<()>();
        let busy = tokio::spawn(async move { _ = held.recv() });
        tokio::task::yield_now().await;
        for path in ["/healthz", "/livez", "/metrics"] {
            assert!(ask(address, path).starts_with("HTTP/1.1 200"), "{path}");
        }
        let answer = ask(address, "/readyz");
        assert!(answer.contains("database_unreachable"), "{answer}");
        drop(release);
        busy.await.unwrap();
        assert!(ask(address, "/readyz").starts_with("HTTP/1.1 200"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_loop_that_does_not_come_round_is_told() {
        let (probes, address) = probes(|| Ok(true));
        let silent_for = Arc::new(AtomicU64::new(0));
        let last = Arc::clone(&silent_for);
        probes.watch("claim", Duration::from_secs(3), move || {
            Duration::from_secs(last.load(Ordering::Relaxed))
        });
        assert!(ask(address, "/livez").starts_with("HTTP/1.1 200"));
        silent_for.store(4, Ordering::Relaxed);
        let answer = ask(address, "/livez");
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("stuck"), "{answer}");
        assert!(answer.contains("the claim loop has not come round for 4 s"), "{answer}");
        assert!(ask(address, "/healthz").starts_with("HTTP/1.1 200"), "only /livez asks for a restart");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn says_why_it_should_get_no_work() {
        let (probes, address) = probes(|| Ok(false));
        assert!(ask(address, "/readyz").contains("schema_not_current"));
        let (_probes, away) = self::probes(|| Err(sqlx::Error::PoolTimedOut));
        assert!(ask(away, "/readyz").contains("database_unreachable"));
        probes.draining.cancel();
        assert!(ask(address, "/readyz").contains("draining"));
        let taken = probes.listen(address).unwrap_err().to_string();
        assert!(taken.contains("give each process a port of its own"), "{taken}");
    }
}
