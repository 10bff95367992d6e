//! graphile_worker behind the command line of the comparison.

use std::sync::Arc;
use std::time::Duration;

use contract::{Peer, Seen};
use graphile_worker::{
    IntoTaskHandlerResult, JobSpec, LocalQueueConfig, RawJobSpec, TaskHandler, WorkerContext, WorkerOptions,
    WorkerUtils,
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

const SCHEMA: &str = "graphile_worker";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Nothing {
    seq: u64,
}

impl TaskHandler for Nothing {
    const IDENTIFIER: &'static str = "nothing";

    async fn run(self, ctx: WorkerContext) -> impl IntoTaskHandlerResult {
        if let Some(seen) = ctx.get_ext::<Arc<Seen>>() {
            seen.handle(self.seq);
        }
        Ok::<(), String>(())
    }
}

#[derive(Clone)]
struct Graphile {
    pool: PgPool,
    defaults: bool,
}

impl Graphile {
    fn options(&self) -> WorkerOptions {
        let options = WorkerOptions::default()
            .pg_pool(self.pool.clone())
            .schema(SCHEMA)
            .listen_os_shutdown_signals(false)
            .define_job::<Nothing>();
        if self.defaults {
            return options;
        }
        options
            .concurrency(500)
            .local_queue(LocalQueueConfig::default().with_size(5_000))
            .complete_job_batch_delay(Duration::from_millis(5))
    }
}

impl Peer for Graphile {
    fn new(pool: PgPool, defaults: bool) -> Self {
        Self { pool, defaults }
    }

    async fn setup(&self) -> anyhow::Result<()> {
        WorkerUtils::new(self.pool.clone(), SCHEMA).migrate().await?;
        Ok(())
    }

    async fn enqueue(&self, seqs: Vec<u64>) -> anyhow::Result<()> {
        let utils = WorkerUtils::new(self.pool.clone(), SCHEMA);
        if let [seq] = seqs[..] {
            utils.add_job(Nothing { seq }, JobSpec::default()).await?;
            return Ok(());
        }
        let job = |seq| RawJobSpec {
            identifier: Nothing::IDENTIFIER.to_owned(),
            payload: serde_json::json!({ "seq": seq }),
            spec: JobSpec::default(),
        };
        utils.add_raw_jobs(&seqs.into_iter().map(job).collect::<Vec<_>>()).await?;
        Ok(())
    }

    async fn work(&self, seen: Arc<Seen>, stop: CancellationToken) -> anyhow::Result<()> {
        let worker = self.options().add_extension(seen).init().await?;
        let run = worker.run();
        tokio::pin!(run);
        tokio::select! {
            ended = &mut run => return Ok(ended?),
            () = stop.cancelled() => worker.request_shutdown(),
        }
        Ok(run.await?)
    }

    async fn open(&self) -> anyhow::Result<u64> {
        let open: i64 = sqlx::query_scalar("select count(*) from graphile_worker._private_jobs")
            .fetch_one(&self.pool)
            .await?;
        Ok(u64::try_from(open)?)
    }
}

fn main() -> anyhow::Result<()> {
    contract::run::<Graphile>()
}
