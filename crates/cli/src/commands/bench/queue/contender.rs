//! A queue in the comparison: a program that does one thing a call and says in one line of JSON how it went.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;

use crate::CliError;
use crate::commands::bench::adapter::Percentiles;

/// The name of our own rows.
pub(super) const GREENROOM: &str = "greenroom";
/// The peers, as their rows and, behind `peer-`, their programs are called.
pub(super) const APALIS: &str = "apalis-postgres";
pub(super) const GRAPHILE: &str = "graphile-worker";

/// How long a call may take in its own count, and how much longer in ours before it is ended.
const PATIENCE: Duration = Duration::from_mins(3);
const GRACE: Duration = Duration::from_mins(1);

/// A queue to measure.
#[derive(Clone, Debug)]
pub(super) struct Contender {
    pub name: &'static str,
    program: PathBuf,
    words: &'static [&'static str],
}

/// What a call said of itself.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Answer {
    pub done: u64,
    pub secs: f64,
    #[serde(default)]
    pub handled: u64,
    #[serde(default)]
    pub timed_out: bool,
    #[serde(default)]
    pub lost: u64,
    #[serde(default)]
    pub pick_ms: Percentiles,
    pub cpu_s: f64,
}

/// The circumstances of a call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub url: String,
    /// Whether every queue has its own default settings, rather than the best that are documented.
    pub defaults: bool,
    pub timeout: Duration,
}

impl Call {
    pub(super) fn on(url: String) -> Self {
        Self { url, defaults: false, timeout: PATIENCE }
    }
}

impl Contender {
    /// Returns ourselves, and the peers whose programs are in this folder.
    pub(super) fn all(peers: Option<&Path>) -> Result<Vec<Self>, CliError> {
        let mut all =
            vec![Self { name: GREENROOM, program: std::env::current_exe()?, words: &["bench", "adapter"] }];
        let Some(folder) = peers else { return Ok(all) };
        for name in [APALIS, GRAPHILE] {
            let program = folder.join(format!("peer-{name}"));
            if !program.exists() {
                let message = format!(
                    "{} is not there: build the peers by `cargo build --release --manifest-path bench/Cargo.toml`",
                    program.display()
                );
                return Err(CliError::NotFound(message));
            }
            all.push(Self { name, program, words: &[] });
        }
        Ok(all)
    }

    pub(super) fn is_ours(&self) -> bool {
        self.name == GREENROOM
    }

    /// Has the program do one thing.
    pub(super) async fn call(&self, call: &Call, words: &[&str]) -> Result<Answer, CliError> {
        let failed = |why: String| CliError::Failed(format!("{} {}: {why}", self.name, words.join(" ")));
        let mut command = Command::new(&self.program);
        command.args(self.words).args(words);
        command.env("DATABASE_URL", &call.url).env("BENCH_TIMEOUT", call.timeout.as_secs().to_string());
        command.env("GREENROOM__LOG__FILTER", "error").env_remove("BENCH_DEFAULTS");
        if call.defaults {
            command.env("BENCH_DEFAULTS", "1");
        }
        command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let ended = tokio::time::timeout(call.timeout + GRACE, command.output())
            .await
            .map_err(|_| failed("it does not end".to_owned()))??;
        if !ended.status.success() {
            return Err(failed(String::from_utf8_lossy(&ended.stderr).trim().to_owned()));
        }
        let text = String::from_utf8_lossy(&ended.stdout);
        let line = text.lines().last().unwrap_or_default();
        serde_json::from_str(line)
            .map_err(|error| failed(format!("its answer is not understood: {error}: {line}")))
    }
}
