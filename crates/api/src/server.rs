//! Listening, and ending well.
//!
//! `axum::serve` sets no limit to how long a client may take to send its headers, nor to how many clients
//! there are, so hyper is driven here. After a first signal `/readyz` says no while requests are still
//! taken for a moment, so that load balancers look elsewhere; then nothing is accepted, and what has
//! begun is finished.

use std::sync::Arc;
use std::time::Duration;

use greenroom_boot::signals::Shutdown;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::{Api, StartError, router};

/// The most bytes that a request's line and headers may have.
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// How long to wait when the system has no socket to give.
const NO_SOCKET_PAUSE: Duration = Duration::from_millis(100);

/// Serves until the shutdown is requested and the last answer is given.
pub async fn serve(listener: TcpListener, api: Api, shutdown: Shutdown) -> Result<(), StartError> {
    let settings = api.settings.clone();
    let service = TowerToHyperService::new(router(api));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout())
        .max_buf_size(MAX_HEADER_BYTES);
    let slots = usize::try_from(settings.max_connections.get()).unwrap_or(Semaphore::MAX_PERMITS);
    let slots = Arc::new(Semaphore::new(slots.min(Semaphore::MAX_PERMITS)));
    let graceful = GracefulShutdown::new();
    // Connections end with this set: a caller that goes on living keeps none.
    let mut connections = JoinSet::new();
    if let Ok(address) = listener.local_addr() {
        info!(%address, "Listening");
    }

    let closing = async {
        shutdown.requested.cancelled().await;
        sleep(settings.drain_delay().min(settings.shutdown_timeout())).await;
    };
    tokio::pin!(closing);
    loop {
        let (stream, slot) = tokio::select! {
            biased;
            () = shutdown.insisted.cancelled() => return Err(StartError::Insisted),
            () = &mut closing => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &slots) => accepted,
        };
        let connection = http.serve_connection(TokioIo::new(stream), service.clone());
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "A connection ended early");
            }
            drop(slot);
        });
    }
    drop(listener);

    let left = settings.shutdown_timeout().saturating_sub(settings.drain_delay());
    tokio::select! {
        () = graceful.shutdown() => {}
        () = sleep(left) => warn!("Requests that took too long to finish were given up"),
        () = shutdown.insisted.cancelled() => return Err(StartError::Insisted),
    }
    Ok(())
}

/// Returns the next client, once there is room for one.
async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // Nobody closes the semaphore; without it there would be no limit, and still service.
    let slot = Arc::clone(slots).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // An answer is written in one piece; waiting to fill a packet would only add to the latency.
                let _ = stream.set_nodelay(true);
                return (stream, slot);
            }
            Err(error) => {
                warn!(%error, "A client could not be let in");
                sleep(NO_SOCKET_PAUSE).await;
            }
        }
    }
}
