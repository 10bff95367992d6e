//! What every process of the pool does, from its first line to its last.

use std::num::NonZeroU32;
use std::time::Duration;

use greenroom_boot::{Config, SecretString, log, pool, secrets, signals};
use greenroom_model::Clock;
use greenroom_queue::{Queue, Scheduler, Worker};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{House, Served, StartError, jobs};

/// How long a process waits for somebody to migrate the database before it gives up.
const SCHEMA_PATIENCE: Duration = Duration::from_mins(10);

/// The options of a worker binary.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Queues to serve instead of this worker's own, as name or name:slots.
    #[arg(long, value_delimiter = ',', env = "GREENROOM_QUEUES")]
    pub queues: Vec<Served>,
    /// Jobs of a queue that run at once, where the queue does not say.
    #[arg(long, env = "GREENROOM_CONCURRENCY", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub concurrency: u32,
}

/// Whether a process brings the schema up to date itself.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct SchemaArgs {
    /// Brings the database to this build's schema before starting.
    #[arg(long)]
    pub migrate: bool,
}

/// The options of the scheduler binary.
#[derive(Debug, clap::Args)]
pub struct SchedulerArgs {
    /// Who migrates.
    #[command(flatten)]
    pub schema: SchemaArgs,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    shutdown_timeout_secs: u64,
}

/// Turns a process's end into its exit code, and says why on standard error.
#[expect(clippy::print_stderr, reason = "the log may be what could not be started")]
pub fn exit(outcome: Result<(), StartError>) -> std::process::ExitCode {
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            error.exit_code()
        }
    }
}

/// Reads settings, starts the log, connects, and waits until the schema is this build's.
pub async fn prepare(name: &str, schema: SchemaArgs) -> Result<(Config, PgPool), StartError> {
    let config = Config::load()?;
    log::init(&config.section("log")?)?;
    let url = secrets::required("DATABASE_URL")?;
    let pool = pool::connect(&url, &config.section("database")?, name).await?;
    if schema.migrate {
        greenroom_postgres::migrate(&pool.connect_options()).await?;
    }
    greenroom_postgres::wait_until_current(&pool, SCHEMA_PATIENCE).await?;
    Ok((config, pool))
}

/// Connections that a worker's engine has for itself, to claim, settle, renew and sweep; one more listens.
const ENGINE_CONNECTIONS: NonZeroU32 = NonZeroU32::new(3).unwrap();

/// Opens a pool for the engine alone, so that handlers at work never keep a lease from being renewed.
pub async fn engine_pool(config: &Config, url: &SecretString, name: &str) -> Result<PgPool, StartError> {
    let settings: pool::DatabaseSettings = config.section("database")?;
    let settings = pool::DatabaseSettings { max_connections: ENGINE_CONNECTIONS, ..settings };
    Ok(pool::connect_for_engine(url, &settings, &format!("{name}-engine")).await?)
}

/// Makes a worker for these queues, from the settings.
pub fn worker(
    config: &Config,
    queue: Queue,
    house: &House,
    served: &[Served],
    slots: u32,
) -> Result<Worker, StartError> {
    let settings: greenroom_queue::Settings = config.section("queue")?;
    settings.validate().map_err(StartError::Setting)?;
    let own: Settings = config.section("worker")?;
    let worker = Worker::new(queue, jobs(Some(house)), settings)
        .shutdown_timeout(Duration::from_secs(own.shutdown_timeout_secs));
    Ok(served
        .iter()
        .fold(worker, |worker, served| worker.serve(&served.queue, served.slots.unwrap_or(slots))))
}

/// Runs a worker process until it is told to stop.
pub async fn run_worker(name: &str, own_queues: &[&str], args: Args) -> Result<(), StartError> {
    let (config, pool) = prepare(name, SchemaArgs { migrate: false }).await?;
    let shutdown = signals::shutdown()?;
    let house = House::assemble(&config, &pool, &Clock::system())?;
    let served = if args.queues.is_empty() {
        own_queues.iter().map(|queue| Served { queue: (*queue).to_owned(), slots: None }).collect()
    } else {
        args.queues
    };
    let engine = engine_pool(&config, &secrets::required("DATABASE_URL")?, name).await?;
    let worker = worker(&config, Queue::new(engine), &house, &served, args.concurrency)?;
    worker.run(shutdown.requested, shutdown.insisted).await?;
    info!("Stopped");
    Ok(())
}

/// Runs the scheduler process until it is told to stop.
pub async fn run_scheduler(args: SchedulerArgs) -> Result<(), StartError> {
    let (_config, pool) = prepare("scheduler", args.schema).await?;
    let shutdown = signals::shutdown()?;
    schedule(pool, shutdown.requested).await?;
    info!("Stopped");
    Ok(())
}

async fn schedule(pool: PgPool, stop: CancellationToken) -> Result<(), StartError> {
    Ok(Scheduler::new(Queue::new(pool), jobs(None)).run(stop).await?)
}
