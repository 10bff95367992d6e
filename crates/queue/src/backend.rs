//! The apalis side: a backend that is only the end of a channel, and the layer that acknowledges.
//!
//! Claiming, leases and settling live in the driver's own task, because apalis polls a backend's
//! close only after all work in flight has ended. A poll error would end the worker, so there is none.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context as Poller, Poll};
use std::time::Instant;

use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::error::BoxDynError;
use apalis_core::task::Task;
use apalis_core::task::builder::TaskBuilder;
use apalis_core::task::task_id::TaskId;
use apalis_core::worker::context::WorkerContext;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tower::{Layer, Service};
use uuid::Uuid;

use crate::claim::Claimed;
use crate::context::Interrupt;
use crate::settle::Verdict;
use crate::tell;

/// A claimed job on its way to the handler.
#[derive(Clone, Debug)]
pub(crate) struct Handed {
    pub job: Arc<Claimed>,
    pub interrupt: watch::Receiver<Option<Interrupt>>,
    pub begun: Begun,
}

/// Whether a handed job has begun; decided once, by whoever comes first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Begun(Arc<AtomicU8>);

impl Begun {
    const BEGUN: u8 = 1;
    const WITHDRAWN: u8 = 2;

    /// Begins, unless it was withdrawn.
    pub(crate) fn begin(&self) -> bool {
        self.0.compare_exchange(0, Self::BEGUN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Tells whether it has begun.
    pub(crate) fn has_begun(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::BEGUN
    }

    /// Withdraws, unless it has begun.
    pub(crate) fn withdraw(&self) -> bool {
        self.0.compare_exchange(0, Self::WITHDRAWN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// What became of a handed job.
#[derive(Debug)]
pub(crate) struct Ack {
    pub job: Arc<Claimed>,
    /// An error is a panic that the layers caught.
    pub verdict: Result<Verdict, String>,
}

/// The backend: hands out what the driver claimed, in order.
#[derive(Debug)]
pub(crate) struct Handout {
    pub jobs: mpsc::UnboundedReceiver<Handed>,
    pub acks: mpsc::UnboundedSender<Ack>,
}

impl Backend for Handout {
    type Task = Task<Handed>;
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Poller<'_>, _: &WorkerContext) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        cx: &mut Poller<'_>,
        worker: &WorkerContext,
    ) -> Poll<Option<Result<Self::Task, Self::Error>>> {
        self.jobs.poll_recv(cx).map(|next| {
            if next.is_none() {
                // The end of the backend alone does not end an apalis worker; it fails only when it
                // has not started or is stopped already.
                let _ = worker.stop();
            }
            next.map(|handed| {
                // apalis counts the attempt when it first polls the task; the claim has counted it.
                let attempts_before = usize::try_from(handed.job.attempt - 1).unwrap_or(0);
                let id = TaskId::from_string(handed.job.id.to_string());
                Ok(TaskBuilder::new(handed).task_id(id).attempt(attempts_before).build())
            })
        })
    }

    fn poll_close(&mut self, _: &mut Poller<'_>, _: &WorkerContext) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }
}

impl BackendConfig for Handout {
    type Args = Handed;
    type Id = Uuid;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = AckLayer;

    fn config(&self) -> &Self::Config {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Self::Layer {
        AckLayer { acks: self.acks.clone() }
    }
}

/// Acknowledges outside all other layers, so it sees panics and timeouts as they came out.
#[derive(Clone, Debug)]
pub(crate) struct AckLayer {
    acks: mpsc::UnboundedSender<Ack>,
}

impl<S> Layer<S> for AckLayer {
    type Service = AckService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AckService { inner, acks: self.acks.clone() }
    }
}

/// The service of [`AckLayer`].
#[derive(Clone, Debug)]
pub(crate) struct AckService<S> {
    inner: S,
    acks: mpsc::UnboundedSender<Ack>,
}

impl<S> Service<Task<Handed>> for AckService<S>
where
    S: Service<Task<Handed>, Response = Verdict>,
    S::Error: Into<BoxDynError>,
    S::Future: Send + 'static,
{
    type Response = ();
    type Error = BoxDynError;
    type Future = BoxFuture<'static, Result<(), BoxDynError>>;

    fn poll_ready(&mut self, cx: &mut Poller<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, task: Task<Handed>) -> Self::Future {
        let (job, begun) = (Arc::clone(&task.args.job), task.args.begun.clone());
        let acks = self.acks.clone();
        let work = self.inner.call(task);
        let since = Instant::now();
        Box::pin(async move {
            let verdict = work.await.map_err(|error| error.into().to_string());
            if begun.has_begun() {
                tell::ran(&job, verdict.as_ref().ok(), since.elapsed());
            }
            // The driver is gone only when the process is: then the lease runs out.
            let _ = acks.send(Ack { job, verdict });
            Ok(())
        })
    }
}
