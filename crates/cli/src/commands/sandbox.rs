//! `greenroom sandbox`: the outside worlds on one local address, until a signal comes.

use std::net::SocketAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use greenroom_sandbox::{Sandbox, Settings};

use crate::{CliError, Terminal};

/// The world to be; the same seed, sizes and newest instant give the same bytes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to listen, as host:port; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: String,
    /// Videos of the channel, among them unlisted, private and vanished ones.
    #[arg(long, value_name = "N", default_value_t = Settings::default().videos)]
    videos: u32,
    /// Comments of the channel, replies included.
    #[arg(long, value_name = "N", default_value_t = Settings::default().comments)]
    comments: u64,
    /// Media of the Instagram account; accepted already, but Instagram is not part of the sandbox yet.
    #[arg(long, value_name = "N")]
    media: Option<u32>,
    /// From what the world is drawn.
    #[arg(long, value_name = "S", default_value_t = Settings::default().seed)]
    seed: u64,
    /// How long each answer is held back, in milliseconds.
    #[arg(long, value_name = "L", default_value_t = 0)]
    latency_ms: u64,
    /// The instant at which the drawn world ends, such as 2026-11-01T00:00:00Z.
    #[arg(long, value_name = "INSTANT", default_value_t = Settings::default().newest_at)]
    newest_at: DateTime<Utc>,
}

pub(super) async fn run(args: Args, terminal: &mut Terminal) -> Result<(), CliError> {
    terminal.config()?;
    if args.media.is_some() {
        terminal.note("note: --media has no effect: Instagram is not part of the sandbox yet");
    }
    let stop = terminal.stop()?;
    let settings = Settings {
        listen: address(&args.listen).await?,
        seed: args.seed,
        videos: args.videos,
        comments: args.comments,
        newest_at: args.newest_at,
        latency: Duration::from_millis(args.latency_ms),
        ..Settings::default()
    };
    let running = Sandbox::start(settings).await.map_err(|error| {
        CliError::Failed(format!("the sandbox cannot listen on {}: {error}", args.listen))
    })?;
    // One line whoever reads it: programs wait for it.
    terminal.print(&serde_json::to_string(&running.ready())?)?;
    stop.cancelled().await;
    Ok(())
}

async fn address(text: &str) -> Result<SocketAddr, CliError> {
    let mut found = tokio::net::lookup_host(text).await.map_err(|error| {
        CliError::Usage(format!(
            "--listen {text}: {error}; write host:port, such as 127.0.0.1:8090, or 127.0.0.1:0 for a free port"
        ))
    })?;
    found.next().ok_or_else(|| CliError::Usage(format!("--listen {text}: this name has no address")))
}

#[cfg(test)]
mod tests {
    use greenroom_sandbox::Ready;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use crate::testing::Call;

    /// Starts a sandbox, reads its line, asks it for a path, and ends it.
    async fn ask(args: &[&str], path: &str) -> (Ready, String, String) {
        let call = Call::new(args);
        let (out, err) = (call.out.clone(), call.err.clone());
        let served = tokio::spawn(call.run());
        while !out.text().ends_with('\n') {
            assert!(!served.is_finished(), "{}", err.text());
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert_eq!(out.text().lines().count(), 1);
        let ready: Ready = serde_json::from_str(&out.text()).unwrap();
        let mut stream = TcpStream::connect(ready.base_url.trim_start_matches("http://")).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        served.abort();
        let body = answer.split_once("\r\n\r\n").unwrap().1.to_owned();
        (ready, body, err.text())
    }

    #[tokio::test]
    async fn prints_one_line_and_serves_the_world_that_was_asked_for() {
        let args = ["sandbox", "--listen", "localhost:0", "--videos", "7", "--comments", "30", "--seed", "5"];
        let (ready, totals, err) = ask(&args, "/_sandbox/totals").await;
        let channel: serde_json::Value = serde_json::from_str(&totals).unwrap();
        assert_eq!(channel[0]["channel_id"], ready.google.channel_id.as_str(), "{totals}");
        assert!(err.is_empty(), "{err}");
        let (again, totals_again, err) =
            ask(&[&args[..], &["--media", "9"]].concat(), "/_sandbox/totals").await;
        assert_eq!((again.google, totals_again), (ready.google.clone(), totals));
        assert!(err.contains("--media has no effect"), "{err}");
        let (other, ..) = ask(&["sandbox", "--seed", "6"], "/_sandbox/totals").await;
        assert_ne!(other.google.channel_id, ready.google.channel_id);
    }

    #[tokio::test]
    async fn refuses_an_address_that_is_none_or_taken() {
        let said = Call::new(&["sandbox", "--listen", "8090"]).run().await;
        assert_eq!((said.code(), said.out.as_str()), (2, ""));
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let said = Call::new(&["sandbox", "--listen", &address]).run().await;
        assert_eq!((said.code(), said.out.as_str()), (1, ""));
        assert!(said.err.contains(&address), "{}", said.err);
    }
}
