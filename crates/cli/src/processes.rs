//! Everything that the Procfile would start, in one process.

use greenroom_api::Api;
use greenroom_boot::probes::Probes;
use greenroom_boot::signals::Shutdown;
use greenroom_boot::{Config, metrics};
use greenroom_queue::{Queue, Scheduler};
use greenroom_worker::{House, Served};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::error::CliError;

/// Jobs of one queue at once.
const SLOTS: u32 = 4;
/// The queues of every worker there is.
const QUEUES: [&str; 7] = ["youtube", "tokens", "enrichment", "campaigns", "mail", "credits", "housekeeping"];

/// A worker, a scheduler and an API that run until they are stopped.
pub(crate) struct Processes {
    pub api_url: String,
    stop: CancellationToken,
    tasks: JoinSet<Result<(), CliError>>,
}

impl Processes {
    /// Starts all of it; a signal stops it too. The worker's engine has a pool of its own.
    pub(crate) fn start(
        config: &Config,
        queue: &Queue,
        engine: &PgPool,
        house: &House,
        listener: TcpListener,
        signals: &Shutdown,
    ) -> Result<Self, CliError> {
        let stop = signals.requested.child_token();
        let mut tasks = JoinSet::new();
        let (pool, draining) = (queue.pool().clone(), stop.clone());
        let probes = Probes::new(metrics::install()?, pool, draining, greenroom_postgres::has_schema);
        probes.count(engine);

        let served = QUEUES.map(|queue| Served { queue: queue.to_owned(), slots: None });
        let worker = greenroom_worker::worker(config, queue.clone(), engine.clone(), house, &served, SLOTS)?;
        greenroom_worker::watch_worker(&probes, config, &worker)?;
        let (gently, at_once) = (stop.clone(), signals.insisted.clone());
        tasks.spawn(async move {
            Ok(worker.run(gently, at_once).await.map_err(greenroom_worker::StartError::from)?)
        });

        let scheduler = Scheduler::new(queue.clone(), greenroom_worker::jobs(None));
        greenroom_worker::watch_scheduler(&probes, &scheduler);
        let until = stop.clone();
        tasks.spawn(async move { Ok(scheduler.run(until).await?) });

        let api_url = format!("http://{}", listener.local_addr()?);
        let api = Api {
            queue: queue.clone(),
            consents: house.consents.clone(),
            model_prices: house.model_prices().clone(),
            unsubscribe: house.unsubscribe_keys().cloned(),
            webhooks: greenroom_api::webhooks()?,
            sns: greenroom_api::sns(config, house.http())?,
            probes,
            settings: config.section("api")?,
        };
        let shutdown = Shutdown { requested: stop.clone(), insisted: signals.insisted.clone() };
        tasks.spawn(async move { Ok(greenroom_api::serve(listener, api, shutdown).await?) });
        Ok(Self { api_url, stop, tasks })
    }

    /// Waits for the first of them to end, which none does by itself unless it failed.
    pub(crate) async fn first_end(&mut self) -> Result<(), CliError> {
        match self.tasks.join_next().await {
            Some(Ok(ended)) => ended,
            Some(Err(error)) => Err(CliError::Failed(error.to_string())),
            None => Ok(()),
        }
    }

    /// Stops all of it and waits until jobs in hand are finished or given back.
    pub(crate) async fn stop(mut self) -> Result<(), CliError> {
        self.stop.cancel();
        let mut outcome = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            let ended = ended.unwrap_or_else(|error| Err(CliError::Failed(error.to_string())));
            outcome = outcome.and(ended);
        }
        outcome
    }
}
