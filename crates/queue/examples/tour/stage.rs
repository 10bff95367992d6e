//! What the examples share: a notebook that handlers write to, and a worker that can be stopped.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use greenroom_queue::{JobId, JobRow, Queue, QueueError, Worker, WorkerError, show};
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What an example says, line by line.
#[derive(Debug, Default)]
pub(crate) struct Notes(Mutex<String>);

impl Notes {
    /// Adds a line.
    pub(crate) fn say(&self, line: impl AsRef<str>) {
        let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        text.push_str(line.as_ref());
        text.push('\n');
    }

    /// Returns all lines.
    pub(crate) fn read(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A worker at work.
pub(crate) struct AtWork {
    stop: CancellationToken,
    worker: JoinHandle<Result<(), WorkerError>>,
}

impl AtWork {
    /// Starts a worker.
    pub(crate) fn start(worker: Worker) -> Self {
        let stop = CancellationToken::new();
        let worker = tokio::spawn(worker.run(stop.clone(), CancellationToken::new()));
        Self { stop, worker }
    }

    /// Stops it, gently: what runs is finished.
    pub(crate) async fn stop(self) -> Result<(), Box<dyn std::error::Error>> {
        self.stop.cancel();
        Ok(self.worker.await??)
    }
}

/// Waits until a job stands so, and returns its row.
pub(crate) async fn until(queue: &Queue, job: JobId, status: &str) -> Result<JobRow, QueueError> {
    loop {
        let row = row(queue.pool(), job).await?;
        if row.status == status {
            return Ok(row);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Reads a job's row.
pub(crate) async fn row(pool: &PgPool, job: JobId) -> Result<JobRow, QueueError> {
    show(&mut *pool.acquire().await?, job).await
}
