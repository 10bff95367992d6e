//! The jobs that the faults strike, and the process that runs them.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use greenroom_boot::{Config, log, pool, secrets, signals};
use greenroom_queue::{Backoff, Context, Done, Job, Jobs, Policy, Queue, Stop, Worker};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

/// How many errands the process runs at once; where it is not set, there is none to be.
pub(super) const SLOTS: &str = "GREENROOM_TESTS_ERRANDS";
/// The queue it serves.
pub(super) const QUEUE: &str = "GREENROOM_TESTS_ERRANDS_OF";
/// The address by which handlers reach the database, where it is not the engine's.
pub(super) const HANDLERS_URL: &str = "GREENROOM_TESTS_HANDLERS_URL";

/// What its handler does before it leaves its mark.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Does {
    /// Waits, in milliseconds.
    Wait(u64),
    /// Takes that many steps, each with a checkpoint and of so many milliseconds.
    Steps(u32, u64),
    Panic,
    Abort,
    /// Computes without an end and without a pause.
    Spin,
    /// Reports so many bytes.
    Report(usize),
    ReportNul,
    /// Fails with what the database says of a row that it refuses.
    BeRefused(String),
    /// Reports this, and leaves it as its checkpoint.
    Say(String),
}

/// A job of nobody's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Errand {
    pub does: Does,
}

/// A job of somebody's, of whose jobs one runs at a time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Turn {
    pub whose: String,
    pub does: Does,
}

const POLICY: Policy = Policy::on("errands")
    .max_attempts(100)
    .timeout(Duration::from_mins(2))
    .backoff(Backoff::new(Duration::from_millis(500), Duration::from_secs(2)));

impl Job for Errand {
    const KIND: &'static str = "errand";
    const POLICY: Policy = POLICY;
    type State = PgPool;
    type Report = String;

    async fn run(self, pool: &PgPool, ctx: &Context) -> Result<Done<String>, Stop> {
        run(self.does, pool, ctx).await
    }
}

impl Job for Turn {
    const KIND: &'static str = "turn";
    const POLICY: Policy = POLICY.lane("whose", 1);
    type State = PgPool;
    type Report = String;

    async fn run(self, pool: &PgPool, ctx: &Context) -> Result<Done<String>, Stop> {
        run(self.does, pool, ctx).await
    }
}

pub(super) fn jobs(state: &PgPool) -> Jobs {
    let state = Arc::new(state.clone());
    Jobs::new().with::<Errand>(Some(&state)).with::<Turn>(Some(&state))
}

/// Leaves word that it was begun, whatever becomes of it; then does it; then leaves its mark and ends.
async fn run(does: Does, pool: &PgPool, ctx: &Context) -> Result<Done<String>, Stop> {
    sqlx::query("insert into runs (job) values ($1)").bind(ctx.id()).execute(pool).await?;
    let mut report = String::new();
    match does {
        Does::Wait(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
        Does::Steps(steps, millis) => take_steps(steps, millis, pool, ctx).await?,
        #[expect(clippy::panic, reason = "this is what is tested")]
        Does::Panic => panic!("out of its mind"),
        Does::Abort => std::process::abort(),
        Does::Spin => loop {
            std::hint::spin_loop();
        },
        Does::Report(bytes) => return Ok("x".repeat(bytes).into()),
        Does::ReportNul => return Ok("\0".to_owned().into()),
        Does::BeRefused(word) => {
            sqlx::query("insert into refusals (word) values ($1)").bind(word).execute(pool).await?;
        }
        Does::Say(word) => {
            ctx.save_checkpoint(&mut *pool.acquire().await?, &word).await?;
            report = word;
        }
    }
    let mut tx = pool.begin().await?;
    sqlx::query("insert into effects (job) values ($1)").bind(ctx.id()).execute(&mut *tx).await?;
    let done = ctx.complete(&mut tx, report).await?;
    tx.commit().await?;
    Ok(done)
}

async fn take_steps(steps: u32, millis: u64, pool: &PgPool, ctx: &Context) -> Result<(), Stop> {
    for step in ctx.checkpoint()?.unwrap_or(0)..steps {
        ctx.check()?;
        tokio::time::sleep(Duration::from_millis(millis)).await;
        let mut tx = pool.begin().await?;
        ctx.save_checkpoint(&mut tx, &(step + 1)).await?;
        sqlx::query("insert into steps (job, step) values ($1, $2)")
            .bind(ctx.id())
            .bind(step.cast_signed())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of other tests: the process that runs their jobs"]
async fn a_process() {
    let Ok(slots) = std::env::var(SLOTS) else { return };
    // A test that is itself killed leaves no worker behind: standard input ends with it.
    std::thread::spawn(|| {
        _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
    let config = Config::load().unwrap();
    log::init(&config.section("log").unwrap(), None).unwrap();
    let shutdown = signals::shutdown().unwrap();
    let url = secrets::required("DATABASE_URL").unwrap();
    let settings = config.section("database").unwrap();
    let engine = pool::connect_for_engine(&url, &settings, "errands-engine").await.unwrap();
    let url = std::env::var(HANDLERS_URL).map_or(url, Into::into);
    let handlers = pool::connect(&url, &settings, "errands-handlers").await.unwrap();
    let worker = Worker::new(Queue::new(handlers.clone()), jobs(&handlers), config.section("queue").unwrap())
        .engine(engine)
        .serve(std::env::var(QUEUE).unwrap(), slots.parse().unwrap())
        .shutdown_timeout(Duration::from_secs(4));
    let ended = worker.run(shutdown.requested, shutdown.insisted).await;
    // As the house's own workers do: a handler that never yields must not keep the process.
    std::process::exit(i32::from(ended.is_err()));
}
