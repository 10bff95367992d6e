//! What every process of the pool does, from its first line to its last.

use std::net::Ipv4Addr;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use greenroom_boot::probes::Probes;
use greenroom_boot::signals::Shutdown;
use greenroom_boot::traces::Traces;
use greenroom_boot::{Config, SecretString, log, metrics, pool, secrets, signals};
use greenroom_model::Clock;
use greenroom_queue::{Queue, Scheduler, Worker};
use sqlx::PgPool;
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
    /// Where it answers probes.
    #[command(flatten)]
    pub probe: ProbeArgs,
}

/// Where a process without an API answers those who watch it.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct ProbeArgs {
    /// Answers /healthz, /livez, /readyz and /metrics on this port, of every interface; 0 on none.
    #[arg(long, value_name = "PORT", env = "GREENROOM_PROBE_PORT", default_value_t = 0)]
    pub probe_port: u16,
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
    /// Where it answers probes.
    #[command(flatten)]
    pub probe: ProbeArgs,
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

/// What every process of the pool has once its schema is there.
struct Process {
    config: Config,
    pool: PgPool,
    shutdown: Shutdown,
    probes: Option<Probes>,
    /// Sends its last spans when it goes.
    traces: Option<Traces>,
}

impl Process {
    /// Reads settings, starts the log, connects, answers probes, and waits until the schema is this
    /// build's; returns nothing if it was told to stop meanwhile.
    async fn start(name: &str, schema: SchemaArgs, probe: ProbeArgs) -> Result<Option<Self>, StartError> {
        let config = Config::load()?;
        let traces = Traces::open(&config.section("traces")?, name)?;
        log::init(&config.section("log")?, traces.as_ref())?;
        let shutdown = signals::shutdown()?;
        let url = secrets::required("DATABASE_URL")?;
        let pool = pool::connect(&url, &config.section("database")?, name).await?;
        // Before the wait for the schema: who waits lives.
        let probes =
            NonZeroU16::new(probe.probe_port).map(|port| probes(&pool, &shutdown, port)).transpose()?;
        if schema.migrate {
            greenroom_postgres::migrate(&pool.connect_options()).await?;
        }
        tokio::select! {
            current = greenroom_postgres::wait_until_current(&pool, SCHEMA_PATIENCE) => current?,
            () = shutdown.requested.cancelled() => return Ok(None),
        }
        Ok(Some(Self { config, pool, shutdown, probes, traces }))
    }
}

fn probes(pool: &PgPool, shutdown: &Shutdown, port: NonZeroU16) -> Result<Probes, StartError> {
    let draining = shutdown.requested.clone();
    let probes = Probes::new(metrics::install()?, pool.clone(), draining, greenroom_postgres::has_schema);
    probes.listen((Ipv4Addr::UNSPECIFIED, port.get()).into())?;
    Ok(probes)
}

/// Has `/livez` watch the loop of a worker that claims. It comes round at least every sixth of a lease,
/// when it renews; after three of them without it, what the worker holds is about to be others'.
pub fn watch_worker(probes: &Probes, config: &Config, worker: &Worker) -> Result<(), StartError> {
    let settings: greenroom_queue::Settings = config.section("queue")?;
    let heartbeat = worker.heartbeat();
    probes.watch("claim", Duration::from_secs(settings.lease_secs) / 2, move || heartbeat.last());
    Ok(())
}

/// Has `/livez` watch the loop of a scheduler that ticks.
pub fn watch_scheduler(probes: &Probes, scheduler: &Scheduler) {
    let heartbeat = scheduler.heartbeat();
    probes.watch("tick", TICK_PATIENCE, move || heartbeat.last());
}

/// Three ticks of a scheduler whose database takes as long as it may to answer each.
const TICK_PATIENCE: Duration = Duration::from_secs(30);

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
    engine: PgPool,
    house: &House,
    served: &[Served],
    slots: u32,
) -> Result<Worker, StartError> {
    let settings: greenroom_queue::Settings = config.section("queue")?;
    settings.validate().map_err(StartError::Setting)?;
    let own: Settings = config.section("worker")?;
    let worker = Worker::new(queue, jobs(Some(house)), settings)
        .engine(engine)
        .shutdown_timeout(Duration::from_secs(own.shutdown_timeout_secs));
    Ok(served
        .iter()
        .fold(worker, |worker, served| worker.serve(&served.queue, served.slots.unwrap_or(slots))))
}

/// Runs a worker process until it is told to stop.
pub async fn run_worker(name: &str, own_queues: &[&str], args: Args) -> Result<(), StartError> {
    let Some(Process { config, pool, shutdown, probes, traces: _traces }) =
        Process::start(name, SchemaArgs { migrate: false }, args.probe).await?
    else {
        return Ok(());
    };
    let house = House::assemble(&config, &pool, &Clock::system()).await?;
    let served = if args.queues.is_empty() {
        own_queues.iter().map(|queue| Served { queue: (*queue).to_owned(), slots: None }).collect()
    } else {
        args.queues
    };
    let engine = engine_pool(&config, &secrets::required("DATABASE_URL")?, name).await?;
    let queue = Queue::new(pool.clone());
    let worker = worker(&config, queue, engine.clone(), &house, &served, args.concurrency)?;
    if let Some(probes) = &probes {
        probes.count(&engine);
        watch_worker(probes, &config, &worker)?;
    }
    worker.run(shutdown.requested, shutdown.insisted).await?;
    info!("Stopped");
    Ok(())
}

/// Runs the scheduler process until it is told to stop.
pub async fn run_scheduler(args: SchedulerArgs) -> Result<(), StartError> {
    let Some(Process { pool, shutdown, probes, traces: _traces, .. }) =
        Process::start("scheduler", args.schema, args.probe).await?
    else {
        return Ok(());
    };
    let scheduler = Scheduler::new(Queue::new(pool), jobs(None));
    if let Some(probes) = &probes {
        watch_scheduler(probes, &scheduler);
    }
    scheduler.run(shutdown.requested).await?;
    info!("Stopped");
    Ok(())
}
