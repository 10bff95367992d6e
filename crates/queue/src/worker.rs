//! A worker: the driver, the apalis runtime, the listener and the sweeper, started and stopped as one.

use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::*;
use apalis_core::worker::ext::parallelize::ParallelizeExt;
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::backend::{Handed, Handout};
use crate::claim::timed;
use crate::driver::{Channels, Driver, Stopping};
use crate::engine::Engine;
use crate::listen::{Pulse, listen};
use crate::nudge::Nudge;
use crate::settle::Verdict;
use crate::sweep::Sweeper;
use crate::workers::Served;
use crate::{Heartbeat, Jobs, Queue, QueueError, Settings, workers};

/// Why a worker could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// A setting breaks its rule.
    #[error("{0}")]
    Settings(String),
    /// No queue was named.
    #[error("a worker needs at least one queue with at least one slot")]
    NoQueues,
    /// The database could not be reached at the start.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The runtime ended by itself.
    #[error("the worker runtime ended: {0}")]
    Runtime(String),
}

/// A process's share in the work: which queues, how many jobs at once.
#[derive(Debug)]
#[must_use]
pub struct Worker {
    queue: Queue,
    jobs: Jobs,
    settings: Settings,
    served: Vec<Served>,
    engine: PgPool,
    shutdown_timeout: Duration,
    heartbeat: Heartbeat,
}

impl Worker {
    /// Makes a worker that knows these jobs and serves no queue yet.
    pub fn new(queue: Queue, jobs: Jobs, settings: Settings) -> Self {
        let (served, shutdown_timeout, heartbeat) = (Vec::new(), Duration::from_secs(25), Heartbeat::new());
        let engine = queue.pool().clone();
        Self { queue, jobs, settings, served, engine, shutdown_timeout, heartbeat }
    }

    /// Has the engine work on a pool of its own, so that handlers at work never keep a lease from being
    /// renewed. It makes single statements only and never begins a transaction.
    pub fn engine(mut self, pool: PgPool) -> Self {
        self.engine = pool;
        self
    }

    /// Serves a queue with this many jobs at once.
    pub fn serve(mut self, queue: impl Into<String>, slots: u32) -> Self {
        self.served.push(Served { name: queue.into(), slots });
        self
    }

    /// Sets how long running jobs may finish after a gentle stop.
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.shutdown_timeout = timeout;
        self
    }

    /// Returns the heartbeat of the loop that claims: it comes round several times a lease.
    pub fn heartbeat(&self) -> Heartbeat {
        self.heartbeat.clone()
    }

    /// Runs until `gently` is cancelled and the jobs in hand are finished or given back; `at_once`
    /// cuts that wait short. No stop burns an attempt.
    pub async fn run(self, gently: CancellationToken, at_once: CancellationToken) -> Result<(), WorkerError> {
        self.settings.validate().map_err(WorkerError::Settings)?;
        if !self.served.iter().any(|served| served.slots > 0) {
            return Err(WorkerError::NoQueues);
        }
        let id = Uuid::now_v7();
        // Names are unique per process start: a reused one would hide what its predecessor left.
        let name =
            format!("{}-{id}", self.served.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join("+"));
        let limit = self.settings.statement_timeout();
        let _nudge = Nudge::start();
        self.jobs.register(&self.engine).await.map_err(QueueError::from)?;
        timed(&self.engine, limit, async |conn: &mut sqlx::PgConnection| {
            workers::started(conn, id, &name, &self.served).await
        })
        .await?;

        let (handout, jobs) = mpsc::unbounded_channel();
        let (ack, acks) = mpsc::unbounded_channel();
        let (hear, heard) = mpsc::unbounded_channel();
        let listener = tokio::spawn(listen(self.engine.clone(), hear, Pulse::default()));
        let sweeping = CancellationToken::new();
        let sweeper =
            tokio::spawn(Sweeper::new(self.engine.clone(), id, &self.settings).run(sweeping.clone()));

        let engine = Engine {
            name: name.as_str().into(),
            served: self.served.clone().into(),
            ..Engine::new(id, self.engine.clone(), Arc::new(self.settings.clone()))
        };
        let driver = Driver::new(
            engine,
            self.jobs.clone(),
            self.served.clone(),
            Channels { handout, acks, heard, heartbeat: self.heartbeat.clone() },
            Stopping { gently: gently.clone(), at_once, deadline: self.shutdown_timeout },
        );
        info!(worker.id = %id, "Working on {name}");
        let driver = tokio::spawn(driver.run());
        let units = tokio::spawn(self.queue.units().clone().keep_house());
        let runtime = self.runtime(&name, Handout { jobs, acks: ack }, gently);
        let mut runtime = tokio::spawn(runtime);

        let drove = driver.await;
        // Everything is settled or given back; a handler that never yields is not waited for.
        let ended = tokio::time::timeout(limit, &mut runtime).await.unwrap_or_else(|_| {
            warn!("A handler does not end; its job was given back, so leaving without it");
            runtime.abort();
            Ok(Ok(()))
        });
        sweeping.cancel();
        let _ = sweeper.await;
        listener.abort();
        units.abort();
        self.queue.units().give_back(Duration::ZERO).await;
        let gone = timed(&self.engine, limit, async |conn: &mut sqlx::PgConnection| {
            workers::stopped(conn, id).await
        });
        if let Err(error) = gone.await {
            warn!(%error, "Could not sign the worker off");
        }
        drove.map_err(|error| WorkerError::Runtime(error.to_string()))?;
        match ended {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(WorkerError::Runtime(error.to_string())),
            Err(error) => Err(WorkerError::Runtime(error.to_string())),
        }
    }

    /// Builds the apalis worker. The first layer is the outermost: every job runs on a task of its own,
    /// so one that computes does not hold up the others, and a panic ends there as an error.
    fn runtime(
        &self,
        name: &str,
        backend: Handout,
        stopping: CancellationToken,
    ) -> impl Future<Output = Result<(), apalis_core::error::WorkerError>> + Send + use<> {
        let (jobs, queue, settings) =
            (self.jobs.clone(), self.queue.clone(), Arc::new(self.settings.clone()));
        WorkerBuilder::new(name)
            .backend(backend)
            .parallelize(tokio::spawn)
            .catch_panic()
            .build(move |handed: Handed| {
                let (jobs, queue, settings, stopping) =
                    (jobs.clone(), queue.clone(), Arc::clone(&settings), stopping.clone());
                async move {
                    if !handed.begun.begin() {
                        return Ok::<_, BoxDynError>(Verdict::Withdrawn);
                    }
                    Ok(jobs.run(handed.job, queue, handed.interrupt, stopping, &settings).await)
                }
            })
            .run()
    }
}
