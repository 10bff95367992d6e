//! `greenroom sandbox`: the outside worlds on one local address, until a signal comes.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use greenroom_sandbox::{Ready, Sandbox, Settings};

use crate::stage::outside_at;
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
    /// Media of the Instagram account; accepted already, but of Instagram the sandbox plays only consents and tokens.
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
    /// Writes a file of environment variables by which every process of the house takes the sandbox for the outside.
    #[arg(long, value_name = "FILE")]
    env: Option<PathBuf>,
}

pub(super) async fn run(args: Args, terminal: &mut Terminal) -> Result<(), CliError> {
    terminal.config()?;
    if args.media.is_some() {
        terminal.note("note: --media has no effect: of Instagram the sandbox plays only consents and tokens");
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
    if let Some(file) = &args.env {
        std::fs::write(file, environment(&running.ready()))?;
    }
    // One line whoever reads it: programs wait for it.
    terminal.print(&serde_json::to_string(&running.ready())?)?;
    stop.cancelled().await;
    Ok(())
}

/// Writes the variables as `.env` files have them.
fn environment(ready: &Ready) -> String {
    let mut lines = String::new();
    for (setting, value) in outside_at(ready) {
        let _ = writeln!(lines, "GREENROOM__{}={value}", setting.to_uppercase().replace('.', "__"));
    }
    for (name, id, secret) in [
        ("GOOGLE", &ready.google.client_id, &ready.google.client_secret),
        ("INSTAGRAM", &ready.instagram.client_id, &ready.instagram.client_secret),
        ("TWITTER", &ready.twitter.client_id, &ready.twitter.client_secret),
    ] {
        let _ = writeln!(lines, "{name}_CLIENT_ID={id}\n{name}_CLIENT_SECRET={secret}");
    }
    // Not the provider: whether a model is called is for whoever runs the house to say.
    let _ = writeln!(lines, "GREENROOM__LLM__MODEL={}\nLLM_API_KEY={}", ready.llm.model, ready.llm.api_key);
    lines
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::testing::Call;

    /// Starts a sandbox, reads its line, asks it for a path, and ends it.
    async fn ask(args: &[&str], path: &str) -> (Ready, String, String) {
        let call = Call::new(args);
        let (out, err) = (call.out.clone(), call.err.clone());
        let served = tokio::spawn(call.run());
        while !out.text().ends_with('\n') {
            assert!(!served.is_finished(), "{}", err.text());
            tokio::time::sleep(Duration::from_millis(5)).await;
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
    async fn writes_what_the_processes_of_the_house_need() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (ready, ..) = ask(&["sandbox", "--env", file.path().to_str().unwrap()], "/_sandbox/stats").await;
        let written = std::fs::read_to_string(file.path()).unwrap();
        for line in [
            format!("GREENROOM__OAUTH__GOOGLE_TOKEN_URL={}/token", ready.base_url),
            format!("GREENROOM__YOUTUBE__API_BASE_URL={}", ready.base_url),
            format!("INSTAGRAM_CLIENT_ID={}", ready.instagram.client_id),
            format!("LLM_API_KEY={}", ready.llm.api_key),
        ] {
            assert!(written.lines().any(|written| written == line), "{line} is not in {written}");
        }
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
