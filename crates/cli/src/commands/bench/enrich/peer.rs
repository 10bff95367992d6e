//! VADER and whatlang on the same texts: a program that is built from `bench/`, with the command line of `greenroom enrich`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use greenroom_language::training::{Measured, Texts, measure_peer};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::failed;
use crate::CliError;

const PROGRAM: &str = "peer-language";

/// What the peer said, and how fast.
#[derive(Debug, Serialize)]
pub(super) struct Peer {
    pub(super) comments_per_sec: f64,
    pub(super) accuracy: Vec<Measured>,
}

#[derive(Deserialize)]
struct Said {
    id: usize,
    sentiment: String,
    language: String,
}

/// Has the peer read every text of the folder.
pub(super) fn measure(folder: &Path, texts: &Texts, bar: &ProgressBar) -> Result<Peer, CliError> {
    bar.set_message("VADER and whatlang");
    let program = folder.join(PROGRAM);
    if !program.exists() {
        return Err(CliError::Usage(format!(
            "{} is not there: build the peers by `cargo build --release --manifest-path bench/Cargo.toml`",
            program.display()
        )));
    }
    let mut comments_per_sec = 0.0;
    let accuracy = measure_peer(texts, |asked| -> Result<_, CliError> {
        let begun = Instant::now();
        let said = ask(&program, asked)?;
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = asked.len() as f64 / begun.elapsed().as_secs_f64();
        comments_per_sec = rate;
        Ok(said)
    })?;
    Ok(Peer { comments_per_sec, accuracy })
}

fn ask(program: &Path, texts: &[&str]) -> Result<Vec<(String, String)>, CliError> {
    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let (Some(mut input), Some(output)) = (input, output) else {
        return Err(CliError::Failed(format!("{PROGRAM} has no input or output")));
    };
    let said = std::thread::scope(|scope| {
        let written = scope.spawn(move || {
            texts
                .iter()
                .enumerate()
                .try_for_each(|(id, text)| writeln!(input, "{}", json!({"id": id, "text": text})))
        });
        let said: Vec<Said> = BufReader::new(output)
            .lines()
            .map(|line| serde_json::from_str(&line?).map_err(failed))
            .collect::<Result<_, CliError>>()?;
        written.join().map_err(|_| failed("the texts could not be sent"))??;
        Ok::<_, CliError>(said)
    })?;
    child.wait()?;
    if said.len() != texts.len() || said.iter().enumerate().any(|(place, said)| said.id != place) {
        return Err(CliError::Failed(format!(
            "{PROGRAM} has answered {} of {} texts",
            said.len(),
            texts.len()
        )));
    }
    Ok(said.into_iter().map(|said| (said.sentiment, said.language)).collect())
}
