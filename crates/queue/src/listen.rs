//! LISTEN: hears wakes and cancellations. Economy only; polling and renewal find the same.
//!
//! A link that was cut says nothing, like one on which nothing happens. So a listener that has heard
//! nothing for a while speaks itself, over its own connection, and gives that up when it does not hear its
//! own word. All listeners hear it, and what they hear counts for them too: the more there are, the less
//! each has to say, and no leader is needed.

use std::time::Duration;

use greenroom_model::JobId;
use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgNotification, PgPoolOptions};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::warn;

use crate::QueueError;
use crate::wake::WAKE_CHANNEL;

/// The channel on which a job's id says that it should end.
pub(crate) const CANCEL_CHANNEL: &str = "greenroom_cancel";
/// The channel on which listeners prove to themselves and to each other that they hear.
pub(crate) const HEARTBEAT_CHANNEL: &str = "greenroom_heartbeat";

const RECONNECT_WAIT: Duration = Duration::from_secs(1);

/// How a listener makes sure that it hears; a cut is noticed within twice the first and the second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pulse {
    /// The silence after which it speaks itself: once to twice this long, so that not all speak at once.
    pub quiet: Duration,
    /// How long its word, or a new connection, may take.
    pub answer: Duration,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { quiet: Duration::from_secs(5), answer: Duration::from_secs(5) }
    }
}

/// What was heard.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A queue has work; after a reconnect, any queue may.
    Wake(Option<String>),
    /// A job should end.
    Cancel(JobId),
}

/// Listens until the driver is gone, reconnecting for as long as it takes.
pub(crate) async fn listen(pool: PgPool, heard: mpsc::UnboundedSender<Heard>, pulse: Pulse) {
    while !heard.is_closed() {
        if let Err(error) = hear(&pool, &heard, pulse).await {
            warn!(%error, "Lost the listening connection; polling until it is back");
        }
        tokio::select! {
            () = heard.closed() => return,
            () = tokio::time::sleep(RECONNECT_WAIT) => {}
        }
        metrics::counter!("greenroom_db_listener_reconnects_total").increment(1);
    }
}

async fn hear(pool: &PgPool, heard: &mpsc::UnboundedSender<Heard>, pulse: Pulse) -> Result<(), QueueError> {
    let mut listener = within(pulse.answer, connect(pool)).await?;
    // What was said before LISTEN took hold was not heard.
    let _ = heard.send(Heard::Wake(None));
    loop {
        let notification = tokio::select! {
            () = heard.closed() => return Ok(()),
            notification = next(&mut listener) => notification?,
            () = tokio::time::sleep(pulse.quiet.mul_f64(1.0 + rand::random::<f64>())) => {
                within(pulse.answer, beat(&mut listener)).await?
            }
        };
        let message = match notification.channel() {
            HEARTBEAT_CHANNEL => None,
            CANCEL_CHANNEL => notification.payload().parse().ok().map(Heard::Cancel),
            _ => Some(Heard::Wake(Some(notification.payload().to_owned()))),
        };
        if let Some(message) = message {
            let _ = heard.send(message);
        }
    }
}

/// Opens a connection that listens, to wherever the pool leads.
///
/// Not one of the pool's own: when a listener is dropped, sqlx says UNLISTEN on its connection and waits.
/// On a dead link it waits until the kernel gives up, and would keep a place in the pool for as long.
async fn connect(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    let own =
        PgPoolOptions::new().max_connections(1).connect_lazy_with(pool.connect_options().as_ref().clone());
    let mut listener = PgListener::connect_with(&own).await?;
    // Left to itself it would wait for the server without a limit.
    listener.eager_reconnect(false);
    listener.listen_all([WAKE_CHANNEL, CANCEL_CHANNEL, HEARTBEAT_CHANNEL]).await?;
    Ok(listener)
}

/// Waits for what is said next.
async fn next(listener: &mut PgListener) -> Result<PgNotification, sqlx::Error> {
    let lost = || std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the connection was closed");
    Ok(listener.try_recv().await?.ok_or_else(lost)?)
}

/// Says something to all listeners, and returns what this one heard first.
async fn beat(listener: &mut PgListener) -> Result<PgNotification, sqlx::Error> {
    sqlx::query!("select pg_notify($1, '')", HEARTBEAT_CHANNEL).execute(&mut *listener).await?;
    next(listener).await
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, QueueError> {
    Ok(timeout(limit, work).await.map_err(|_| QueueError::Timeout(limit.as_millis()))??)
}

#[cfg(test)]
mod tests;
