//! LISTEN: hears wakes and cancellations. Economy only; polling and renewal find the same.

use std::time::Duration;

use greenroom_model::JobId;
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::wake::WAKE_CHANNEL;

/// The channel on which a job's id says that it should end.
pub(crate) const CANCEL_CHANNEL: &str = "greenroom_cancel";

const RECONNECT_WAIT: Duration = Duration::from_secs(1);

/// What was heard.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A queue has work; after a reconnect, any queue may.
    Wake(Option<String>),
    /// A job should end.
    Cancel(JobId),
}

/// Listens until the driver is gone, reconnecting for as long as it takes.
pub(crate) async fn listen(pool: PgPool, heard: mpsc::UnboundedSender<Heard>) {
    while !heard.is_closed() {
        if let Err(error) = hear(&pool, &heard).await {
            warn!(%error, "Lost the listening connection; polling until it is back");
            metrics::counter!("greenroom_db_listener_reconnects_total").increment(1);
        }
        tokio::select! {
            () = heard.closed() => return,
            () = tokio::time::sleep(RECONNECT_WAIT) => {}
        }
    }
}

async fn hear(pool: &PgPool, heard: &mpsc::UnboundedSender<Heard>) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen_all([WAKE_CHANNEL, CANCEL_CHANNEL]).await?;
    // What was said before LISTEN took hold was not heard.
    let _ = heard.send(Heard::Wake(None));
    loop {
        let notification = tokio::select! {
            () = heard.closed() => return Ok(()),
            notification = listener.try_recv() => notification?,
        };
        let Some(notification) = notification else {
            debug!("The listening connection was renewed");
            metrics::counter!("greenroom_db_listener_reconnects_total").increment(1);
            let _ = heard.send(Heard::Wake(None));
            continue;
        };
        let message = match notification.channel() {
            CANCEL_CHANNEL => notification.payload().parse().ok().map(Heard::Cancel),
            _ => Some(Heard::Wake(Some(notification.payload().to_owned()))),
        };
        if let Some(message) = message {
            let _ = heard.send(message);
        }
    }
}
