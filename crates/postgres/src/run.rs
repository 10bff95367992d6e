//! Runs a program to its end and turns a failure into something a person can read.

use std::process::Stdio;

use tokio::process::Command;

use crate::Error;

/// Returns what the program printed, or what it complained about.
pub(crate) async fn run(command: &mut Command, what: &str) -> Result<String, Error> {
    let failed = |output: String| Error::Program { what: what.into(), output };
    let output =
        command.stdin(Stdio::null()).output().await.map_err(|error| {
            failed(format!("{}: {error}", command.as_std().get_program().to_string_lossy()))
        })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    Err(failed(format!("{} ({})", said.trim(), output.status)))
}
