//! Where a command reads and writes, and what it may know of its surroundings.
//!
//! Everything a command touches outside the database goes through here, so that a test can hand it other
//! streams and other secrets.

use std::io::{BufRead as _, BufReader, BufWriter, ErrorKind, IsTerminal, Read, Write};
use std::time::Duration;

use greenroom_boot::{BootError, Config, SecretString, log, pool, secrets, signals};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::json;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::{CliError, Exit};

type FindSecret = dyn Fn(&str) -> Result<Option<SecretString>, BootError> + Send + Sync;

/// The streams, secrets and manners of one command.
pub struct Terminal {
    /// Whether the answer is one JSON document.
    pub json: bool,
    input: Box<dyn Read + Send + Sync>,
    out: Box<dyn Write + Send + Sync>,
    err: Box<dyn Write + Send + Sync>,
    /// Whether somebody reads standard output, rather than a program.
    out_is_seen: bool,
    /// Whether somebody watches standard error.
    err_is_seen: bool,
    /// Whether the process is this command's own, with its log and its signals.
    is_process: bool,
    secrets: Box<FindSecret>,
}

impl Terminal {
    /// Returns the streams and the environment of this process.
    pub fn of_process() -> Self {
        Self {
            json: false,
            input: Box::new(std::io::stdin()),
            out: Box::new(std::io::stdout()),
            err: Box::new(std::io::stderr()),
            out_is_seen: std::io::stdout().is_terminal(),
            err_is_seen: std::io::stderr().is_terminal(),
            is_process: true,
            secrets: Box::new(secrets::optional),
        }
    }

    /// Returns streams and secrets of a test's own.
    #[cfg(test)]
    pub(crate) fn of_test(
        input: Vec<u8>,
        out: impl Write + Send + Sync + 'static,
        err: impl Write + Send + Sync + 'static,
        out_is_seen: bool,
        secrets: std::collections::HashMap<String, String>,
    ) -> Self {
        Self {
            json: false,
            input: Box::new(std::io::Cursor::new(input)),
            out: Box::new(out),
            err: Box::new(err),
            out_is_seen,
            err_is_seen: false,
            is_process: false,
            secrets: Box::new(move |name| Ok(secrets.get(name).map(|value| value.as_str().into()))),
        }
    }

    /// Reads the settings and opens the log.
    pub fn config(&self) -> Result<Config, CliError> {
        let config = Config::load()?;
        if self.is_process {
            log::init(&config.section("log")?, None)?;
        }
        Ok(config)
    }

    /// Listens for signals from now on; what is returned is cancelled by the first one.
    pub fn stop(&self) -> Result<CancellationToken, CliError> {
        if self.is_process { Ok(signals::shutdown()?.requested) } else { Ok(CancellationToken::new()) }
    }

    /// Returns a secret that the command cannot do without.
    pub fn secret(&self, name: &str) -> Result<SecretString, CliError> {
        Ok((self.secrets)(name)?.ok_or_else(|| BootError::MissingSecret(name.to_owned()))?)
    }

    /// Returns a secret, if there is one.
    pub fn optional_secret(&self, name: &str) -> Result<Option<SecretString>, CliError> {
        Ok((self.secrets)(name)?)
    }

    /// Connects to `DATABASE_URL`, whatever its schema.
    pub async fn connect(&self) -> Result<PgPool, CliError> {
        let config = self.config()?;
        let url = self.secret("DATABASE_URL")?;
        Ok(pool::connect(&url, &config.section("database")?, "greenroom").await?)
    }

    /// Connects to `DATABASE_URL`, which must have the schema of this build: an operator is told, not kept waiting.
    pub async fn database(&self) -> Result<PgPool, CliError> {
        let pool = self.connect().await?;
        if greenroom_postgres::is_current(&pool).await? { Ok(pool) } else { Err(CliError::NotMigrated) }
    }

    /// Returns whether somebody reads standard output.
    pub fn is_seen(&self) -> bool {
        self.out_is_seen
    }

    /// Reads standard input to its end, up to a limit, as text.
    pub fn read_all(&mut self, limit: u64) -> Result<String, CliError> {
        let bytes = self.read_bytes(limit)?;
        String::from_utf8(bytes).map_err(|_| CliError::Refused("standard input is not UTF-8 text"))
    }

    /// Reads standard input to its end, up to a limit.
    pub fn read_bytes(&mut self, limit: u64) -> Result<Vec<u8>, CliError> {
        let mut bytes = Vec::new();
        let read = (&mut self.input).take(limit + 1).read_to_end(&mut bytes)?;
        if read as u64 > limit {
            return Err(CliError::Usage(format!("standard input is longer than {limit} bytes")));
        }
        Ok(bytes)
    }

    /// Answers each line of standard input with a line of standard output, in the same order; lines are counted from 1.
    ///
    /// What was answered before an error stays written.
    pub fn answer_lines(
        &mut self,
        limit: u64,
        mut answer: impl FnMut(usize, &str) -> Result<String, CliError>,
    ) -> Result<(), CliError> {
        let mut input = BufReader::new(&mut self.input);
        let mut out = BufWriter::new(&mut self.out);
        let (mut line, mut number) = (Vec::new(), 0);
        let done = loop {
            line.clear();
            number += 1;
            match (&mut input).take(limit + 1).read_until(b'\n', &mut line) {
                Ok(0) => break Ok(()),
                Ok(bytes) if bytes as u64 > limit => {
                    break Err(CliError::Usage(format!("line {number} is longer than {limit} bytes")));
                }
                Ok(_) => {}
                Err(error) => break Err(error.into()),
            }
            let Ok(text) = std::str::from_utf8(&line) else {
                break Err(CliError::Usage(format!("line {number} is not UTF-8 text")));
            };
            let said = match answer(number, text) {
                Ok(said) => said,
                Err(error) => break Err(error),
            };
            // Who asks line by line is answered line by line.
            let rest = if input.buffer().is_empty() { Write::flush } else { |_: &mut _| Ok(()) };
            match writeln!(out, "{said}").and_then(|()| rest(&mut out)) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => break Ok(()),
                Err(error) => break Err(error.into()),
                Ok(()) => {}
            }
        };
        match out.flush() {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
            _ => done,
        }
    }

    /// Writes data to standard output, at once and with a line's end.
    pub fn print(&mut self, data: &str) -> Result<(), CliError> {
        let end = if data.ends_with('\n') { "" } else { "\n" };
        match write!(self.out, "{data}{end}").and_then(|()| self.out.flush()) {
            // Who closes a pipe early, as `head` does, has what he wanted.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            done => Ok(done?),
        }
    }

    /// Writes one JSON document to standard output.
    pub fn document(&mut self, document: &impl Serialize) -> Result<(), CliError> {
        let text = if self.out_is_seen {
            serde_json::to_string_pretty(document)
        } else {
            serde_json::to_string(document)
        };
        self.print(&text?)
    }

    /// Answers with a document under `--json`, with text otherwise.
    pub fn answer(
        &mut self,
        document: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), CliError> {
        if self.json { self.document(document) } else { self.print(&text()) }
    }

    /// Answers with a document under `--json`, with a table otherwise.
    pub fn answer_table<const N: usize>(
        &mut self,
        document: &impl Serialize,
        head: [&str; N],
        rows: &[[String; N]],
    ) -> Result<(), CliError> {
        match (self.json, self.out_is_seen) {
            (true, _) => self.document(document),
            (false, _) if rows.is_empty() => Ok(()),
            (false, true) => self.print(&aligned(head, rows)),
            (false, false) => self.print(&tabbed(rows)),
        }
    }

    /// Tells something on standard error that is no part of the answer.
    pub fn note(&mut self, text: &str) {
        // Nobody can be told that nobody can be told.
        let _ = writeln!(self.err, "{text}");
    }

    /// Returns a line of progress on standard error; nothing is drawn where nobody watches, or for `--json`.
    pub fn progress(&self) -> ProgressBar {
        if self.json || !self.err_is_seen {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed_precise} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }

    /// Tells why a command did not do what it was asked, and returns how it ends.
    pub(crate) fn refuse(&mut self, error: &CliError) -> Exit {
        let (exit, message) = (error.exit(), error.to_string());
        if self.json {
            self.note(&json!({"code": error.code(), "message": message}).to_string());
        } else {
            self.note(&format!("error: {message}"));
        }
        exit
    }
}

/// Draws columns for people.
fn aligned<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_uppercase))
        .chain(rows.iter().map(|row| row.clone().map(|cell| plain(&cell))))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Writes rows for programs.
fn tabbed<const N: usize>(rows: &[[String; N]]) -> String {
    let line = |row: &[String; N]| format!("{}\n", row.clone().map(|cell| plain(&cell)).join("\t"));
    rows.iter().map(line).collect()
}

/// Takes out what would break a table or drive a terminal: errors of the outside world stand in cells.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}
