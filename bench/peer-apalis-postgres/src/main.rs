//! apalis-postgres behind the command line of the comparison.

use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::{BackendExt as _, Data, TaskBuilder, WorkerBuilder, WorkerBuilderExt as _};
use apalis_postgres::{Config, PostgresStorage, queries};
use contract::{Peer, Seen};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

const QUEUE: &str = "bench";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Nothing {
    seq: u64,
}

async fn nothing(job: Nothing, seen: Data<Arc<Seen>>) {
    seen.handle(job.seq);
}

#[derive(Clone)]
struct Apalis {
    pool: PgPool,
    defaults: bool,
}

impl Apalis {
    /// Batches as large as ours, and no statement that only says that a job has begun.
    fn config(&self) -> Config {
        let config = Config::default().queue(QUEUE);
        if self.defaults { config } else { config.batch_size(500).lock_tasks(false) }
    }
}

impl Peer for Apalis {
    fn new(pool: PgPool, defaults: bool) -> Self {
        Self { pool, defaults }
    }

    async fn setup(&self) -> anyhow::Result<()> {
        Ok(PostgresStorage::setup(&self.pool).await?)
    }

    async fn enqueue(&self, seqs: Vec<u64>) -> anyhow::Result<()> {
        let tasks = seqs
            .into_iter()
            .map(|seq| Ok(TaskBuilder::new(serde_json::to_vec(&Nothing { seq })?).build()))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut conn = self.pool.acquire().await?;
        Ok(queries::push_tasks(&mut *conn, QUEUE, tasks).await?)
    }

    async fn work(&self, seen: Arc<Seen>, stop: CancellationToken) -> anyhow::Result<()> {
        // LISTEN, and a poll beside it, as its example of both has them.
        let storage = PostgresStorage::<Nothing>::new(&self.pool)
            .with_config(self.config())
            .with_pubsub()
            .poll_with_interval(Duration::from_millis(100));
        let name = format!("bench-{}", std::process::id());
        let until = async move {
            stop.cancelled().await;
            Ok::<(), std::io::Error>(())
        };
        if self.defaults {
            WorkerBuilder::new(name).backend(storage).data(seen).build(nothing).run_until(until).await?;
        } else {
            WorkerBuilder::new(name)
                .backend(storage)
                .data(seen)
                .concurrency(500)
                .build(nothing)
                .run_until(until)
                .await?;
        }
        Ok(())
    }

    async fn open(&self) -> anyhow::Result<u64> {
        let open: i64 = sqlx::query_scalar("select count(*) from apalis.jobs where status <> 'Done'")
            .fetch_one(&self.pool)
            .await?;
        Ok(u64::try_from(open)?)
    }
}

fn main() -> anyhow::Result<()> {
    contract::run::<Apalis>()
}
