//! Signals, turned into tokens that tasks can wait for.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error::BootError;

/// What the operating system has asked for so far.
#[derive(Debug, Clone)]
pub struct Shutdown {
    /// Cancelled by the first TERM or INT: stop taking work, finish what runs.
    pub requested: CancellationToken,
    /// Cancelled by the second one: give back what runs, and go.
    pub insisted: CancellationToken,
}

/// Listens for TERM and INT from now on; needs a runtime.
pub fn shutdown() -> Result<Shutdown, BootError> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let shutdown = Shutdown { requested: CancellationToken::new(), insisted: CancellationToken::new() };
    let told = shutdown.clone();
    tokio::spawn(async move {
        for (token, answer) in [
            (told.requested, "finishing what runs; a second signal gives it back"),
            (told.insisted, "giving back what runs"),
        ] {
            let name = tokio::select! {
                _ = term.recv() => "TERM",
                _ = int.recv() => "INT",
            };
            tracing::info!(signal = name, "{name} received: {answer}");
            token.cancel();
        }
    });
    Ok(shutdown)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, id};

    use super::*;

    fn send(name: &str) {
        Command::new("kill").args([name, &id().to_string()]).status().unwrap();
    }

    #[tokio::test]
    async fn the_first_signal_asks_and_the_second_insists() {
        let shutdown = shutdown().unwrap();
        assert!(!shutdown.requested.is_cancelled());
        send("-TERM");
        shutdown.requested.cancelled().await;
        assert!(!shutdown.insisted.is_cancelled());
        send("-INT");
        shutdown.insisted.cancelled().await;
    }
}
