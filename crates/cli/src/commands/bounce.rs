//! `greenroom bounce ingest`: takes what comes back as mail, from a mail server's pipe, a file or a maildir.
//!
//! A message leaves the maildir's `new` only when what it says is stored. At the end of a pipe, whatever keeps it from being
//! stored ends with 75, on which a mail server hands it over again; a message that is about nobody ends well, or it
//! would come back to its sender, who is a machine.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use greenroom_boot::Config;
use greenroom_mail::events::{DSN, Verified, store};
use greenroom_mail::{Report, ReturnPaths, take_events};
use greenroom_queue::Queue;
use serde::Serialize;
use sqlx::PgPool;

use super::campaign::mail_told;
use crate::{CliError, Terminal};

/// Far more than a report has, which returns at most the head of a message or all of it.
const LONGEST: u64 = 64 * 1024 * 1024;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Reads reports of mail that could not be delivered, or was complained of, and notes what they say.
    Ingest {
        /// A message, or a maildir, whose new messages are read; standard input without it.
        path: Option<PathBuf>,
        /// The domain of return paths; that of `[mail]` without it.
        #[arg(long, value_name = "NAME")]
        domain: Option<String>,
        /// Where the message came to, where whoever hands it over knows (in Postfix `${original_recipient}`).
        #[arg(long, value_name = "ADDRESS")]
        to: Option<String>,
    },
}

/// What was taken.
#[derive(Debug, Default, Serialize)]
struct Ingested {
    /// Reports about messages of ours.
    about: u64,
    /// Of these, such that were new.
    new: u64,
    /// Messages about nobody, and why.
    nothing: Vec<Nothing>,
}

#[derive(Debug, Serialize)]
struct Nothing {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    why: &'static str,
}

pub(super) async fn run(command: Command, terminal: &mut Terminal) -> Result<(), CliError> {
    let Command::Ingest { path, domain, to } = command;
    let how = How { domain, to };
    let mut ingested = Ingested::default();
    match path {
        None => {
            let bytes = terminal.read_bytes(LONGEST)?;
            piped(&bytes, &how, &mut ingested, terminal)
                .await
                .map_err(|error| CliError::TryAgain(error.to_string()))?;
        }
        Some(path) if path.is_dir() => maildir(&path, &how, &mut ingested, terminal).await?,
        Some(path) => {
            let door = Door::open(&how, terminal).await?;
            door.take(&read(&path)?, Some(&path), &mut ingested).await?;
        }
    }
    let text = || {
        let nothing = ingested.nothing.iter().map(|nothing| {
            let file = nothing.file.as_ref().map_or_else(String::new, |file| format!("{file}: "));
            format!("\n  {file}{}", nothing.why)
        });
        let counts = format!(
            "{} reports about messages of ours, {} of them new; {} messages about nobody",
            ingested.about,
            ingested.new,
            ingested.nothing.len()
        );
        counts + &nothing.collect::<String>()
    };
    terminal.answer(&ingested, text)
}

/// What a message is read by, beside the settings.
struct How {
    domain: Option<String>,
    to: Option<String>,
}

/// What takes messages.
struct Door<'a> {
    pool: PgPool,
    paths: ReturnPaths,
    to: Option<&'a str>,
}

async fn piped(
    bytes: &[u8],
    how: &How,
    ingested: &mut Ingested,
    terminal: &Terminal,
) -> Result<(), CliError> {
    Door::open(how, terminal).await?.take(bytes, None, ingested).await
}

async fn maildir(
    folder: &Path,
    how: &How,
    ingested: &mut Ingested,
    terminal: &Terminal,
) -> Result<(), CliError> {
    let (new, cur) = (folder.join("new"), folder.join("cur"));
    if !new.is_dir() || !cur.is_dir() {
        let says = format!("{} is no maildir: it has no new and cur", folder.display());
        return Err(CliError::Usage(says));
    }
    let door = Door::open(how, terminal).await?;
    let mut files: Vec<_> = std::fs::read_dir(&new)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    let bar = terminal.progress();
    bar.set_message("reading what came back");
    bar.set_length(files.len() as u64);
    for file in files {
        door.take(&read(&file)?, Some(&file), ingested).await?;
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        std::fs::rename(&file, cur.join(format!("{name}:2,S")))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    std::fs::read(path)
        .map_err(|error| CliError::NotFound(format!("{} cannot be read: {error}", path.display())))
}

impl<'a> Door<'a> {
    /// Reads what return paths are made with, and connects.
    async fn open(how: &'a How, terminal: &Terminal) -> Result<Self, CliError> {
        let pool = terminal.database().await?;
        let settings: greenroom_mail::Settings = Config::load()?.section("mail")?;
        let domain = how.domain.as_ref().unwrap_or(&settings.bounce_domain);
        let keys = terminal.optional_secret("BOUNCE_KEY")?;
        let (false, Some(keys)) = (domain.is_empty(), keys) else {
            let says = "set mail.bounce_domain and BOUNCE_KEY to those of the workers: without them no report can be \
                        believed";
            return Err(CliError::Usage(says.to_owned()));
        };
        let paths = ReturnPaths::new(domain, &keys).map_err(mail_told)?;
        Ok(Self { pool, paths, to: how.to.as_deref() })
    }

    /// Stores what one message says, and has it worked off.
    async fn take(&self, bytes: &[u8], file: Option<&Path>, ingested: &mut Ingested) -> Result<(), CliError> {
        let event = match self.paths.read(bytes, self.to) {
            Report::About(event) => event,
            Report::Nothing(why) => {
                let file = file.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
                ingested.nothing.push(Nothing { file, why });
                return Ok(());
            }
        };
        let mut tx = self.pool.begin().await?;
        let stored = store(&mut tx, DSN, &Verified::of(vec![event])).await.map_err(mail_told)?;
        let new = stored.map_err(|error| CliError::Failed(error.to_string()))?;
        let jobs = take_events(&mut tx).await.map_err(mail_told)?;
        tx.commit().await?;
        Queue::new(self.pool.clone()).wake(&jobs);
        ingested.about += 1;
        ingested.new += new;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
