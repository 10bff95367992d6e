//! Runs a program to its end and turns a failure into something a person can read.

use std::io::ErrorKind;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use crate::Error;

/// Returns what the program printed, or what it complained about.
pub(crate) async fn run(command: &mut Command, what: &str) -> Result<String, Error> {
    let failed = |output: String| Error::Program { what: what.into(), output };
    let output = output(command)
        .await
        .map_err(|error| failed(format!("{}: {error}", command.as_std().get_program().to_string_lossy())))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    Err(failed(format!("{} ({})", said.trim(), output.status)))
}

/// Runs a program that may just have been written.
///
/// While this process still held the file open, another of its threads may have begun a child, which holds it
/// too until it has become the program it is to be. Until then the system refuses to run the file as busy.
async fn output(command: &mut Command) -> std::io::Result<Output> {
    let mut patience = Duration::from_secs(2);
    let pause = Duration::from_millis(20);
    command.stdin(Stdio::null());
    loop {
        match command.output().await {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy && !patience.is_zero() => {
                patience = patience.saturating_sub(pause);
                tokio::time::sleep(pause).await;
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_program_that_is_still_held_open_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("script");
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(b"#!/bin/sh\necho ran\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let let_go = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            drop(file);
        };
        let mut script = Command::new(&path);
        let (printed, ()) = tokio::join!(run(&mut script, "running"), let_go);
        assert_eq!(printed.unwrap(), "ran\n");
    }
}
