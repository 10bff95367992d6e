//! `greenroom up`: the whole house in one process, for development and for small installations.

use std::path::Path;

use greenroom_boot::traces::Traces;
use greenroom_boot::{Config, SecretString, log, pool, signals};
use greenroom_model::Clock;
use greenroom_postgres::{Source, Use, find_or_start};
use greenroom_queue::Queue;
use greenroom_sandbox::{Running, Sandbox};
use greenroom_vault::{Secret, Vault, generate_key};
use greenroom_worker::House;
use sqlx::PgPool;
use tokio::net::TcpListener;

use crate::error::CliError;
use crate::processes::Processes;
use crate::stage::{assemble, outside_at};

const DATABASE: &str = "greenroom";
/// Where the key of a sandboxed house is kept, beside its data.
const SANDBOX_KEY: &str = ".greenroom/sandbox.key";

/// The options of the house in one process.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Lets the sandbox stand in for the outside world; then no secret is needed.
    #[arg(long)]
    sandbox: bool,
}

/// Runs the house until a signal, on `DATABASE_URL` or on the project's own PostgreSQL.
pub(crate) async fn run(args: &Args) -> Result<(), CliError> {
    let signals = signals::shutdown()?;
    let here = std::env::current_dir()?;
    let source = find_or_start(Use::Work, &here).await?;
    if let Source::Ours(server) = &source {
        server.create_database(DATABASE).await?;
    }
    let config = Config::load()?;
    let traces = Traces::open(&config.section("traces")?, "greenroom-up")?;
    log::init(&config.section("log")?, traces.as_ref())?;
    let url = SecretString::from(source.url(DATABASE));
    let pool = pool::connect(&url, &config.section("database")?, "greenroom-up").await?;
    greenroom_postgres::migrate(&pool.connect_options()).await?;

    let (config, house, sandbox) = if args.sandbox {
        if config.environment() == greenroom_boot::Environment::Production {
            return Err(CliError::Usage("the sandbox is not for production: leave --sandbox out".to_owned()));
        }
        let sandbox = Sandbox::start(greenroom_sandbox::Settings::default()).await?;
        let config = config.with(outside_at(&sandbox.ready()))?;
        let house = sandboxed(&config, &pool, &sandbox, &here).await?;
        (config, house, Some(sandbox))
    } else {
        let house = House::assemble(&config, &pool, &Clock::system()).await?;
        (config, house, None)
    };
    let api: greenroom_api::Settings = config.section("api")?;
    let listener = TcpListener::bind(api.address(std::env::var("PORT").ok().as_deref())?).await?;
    let engine = greenroom_worker::engine_pool(&config, &url, "greenroom-up").await?;
    let queue = Queue::new(pool.clone());
    let mut processes = Processes::start(&config, &queue, &engine, &house, listener, &signals)?;
    announce(&processes, sandbox.as_ref().map(|sandbox| sandbox.base_url.as_str()), &source);

    let ended = tokio::select! {
        ended = processes.first_end() => ended,
        () = signals.requested.cancelled() => Ok(()),
    };
    let stopped = processes.stop().await;
    pool.close().await;
    if let Source::Ours(server) = source {
        server.stop().await?;
    }
    ended.and(stopped)
}

async fn sandboxed(
    config: &Config,
    pool: &PgPool,
    sandbox: &Running,
    here: &Path,
) -> Result<House, CliError> {
    let vault = Vault::from_keys(sandbox_key(here)?.expose()).map_err(greenroom_worker::StartError::Key)?;
    assemble(config, pool, vault, &sandbox.ready()).await
}

/// Returns the key that seals the sandbox's tokens: made once, kept for the owner alone, worth nothing.
fn sandbox_key(here: &Path) -> Result<Secret, CliError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = here.join(SANDBOX_KEY);
    if let Ok(key) = std::fs::read_to_string(&path) {
        return Ok(Secret::from(key));
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let key = generate_key();
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(key.expose().as_bytes())?;
    Ok(key)
}

#[expect(clippy::print_stderr, reason = "for the person who started it; standard output is for data")]
fn announce(processes: &Processes, sandbox: Option<&str>, source: &Source) {
    eprintln!("  API        {}", processes.api_url);
    if let Some(url) = sandbox {
        eprintln!("  Sandbox    {url}");
    }
    if let Source::Ours(server) = source {
        eprintln!("  Database   psql '{}'", server.url(DATABASE));
    }
    eprintln!("\nCtrl-C stops it.");
}
