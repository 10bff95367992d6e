//! `greenroom bench enrich`: how fast the reader of comments is, with labelled texts how often it is right, and with
//! `--stored` how fast a worker reads comments that are stored.

mod peer;
mod stored;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use greenroom_language::Reader;
use greenroom_language::training::{Measured, Sample, Texts, cross_validate};
use serde::Serialize;

use crate::{CliError, Terminal};

#[derive(Debug, clap::Args)]
pub(crate) struct EnrichArgs {
    /// A folder of labelled texts (the model card of the reader says which), for accuracy by cross-validation.
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// The folder with the programs of the peers (`bench/target/release`), which say beside us what they read in the texts.
    #[arg(long, value_name = "DIR", requires = "data")]
    peers: Option<PathBuf>,
    /// How long reading is measured, in seconds.
    #[arg(long, default_value_t = 5)]
    secs: u64,
    /// Stores so many comments in a database of its own, and has a worker read them.
    #[arg(long, value_name = "N", default_value_t = 0)]
    stored: u32,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    /// From nothing to the first reading, in milliseconds.
    start_ms: f64,
    /// Comments read a second, by one thread.
    comments_per_sec: f64,
    /// Their length, in letters, on average.
    letters: f64,
    /// What is right of the comments that come with the project and by which nothing was mended.
    sample: Vec<Measured>,
    /// By cross-validation on the folder.
    accuracy: Vec<Measured>,
    /// What VADER and whatlang are right in, on all of the texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<peer::Peer>,
    /// What a worker made of stored comments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stored: Vec<stored::Measured>,
}

/// Measures, and tells.
pub(super) async fn run(args: &EnrichArgs, terminal: &mut Terminal) -> Result<(), CliError> {
    let begun = Instant::now();
    let mut reader = Reader::embedded().map_err(failed)?;
    reader.read("What camera did you use for this?");
    let start_ms = begun.elapsed().as_secs_f64() * 1_000.0;
    let texts = args
        .data
        .as_deref()
        .map(Texts::read)
        .transpose()
        .map_err(|error| CliError::Usage(error.to_string()))?;
    let sample: Vec<_> = [Sample::Seen, Sample::Unseen].into_iter().flat_map(Sample::comments).collect();
    let comments: Vec<&str> = match &texts {
        Some(texts) => texts.spam.iter().chain(&texts.sentiment_en).map(|row| row.text.as_str()).collect(),
        None => sample.iter().map(|comment| comment.row.text.as_str()).collect(),
    };
    let bar = terminal.progress();
    bar.set_message("reading");
    let (begun, mut read, mut letters) = (Instant::now(), 0_u32, 0_usize);
    for comment in comments.iter().cycle() {
        reader.read(comment);
        (read, letters) = (read + 1, letters + comment.chars().count());
        if read.is_multiple_of(1_000) && begun.elapsed() >= Duration::from_secs(args.secs) {
            break;
        }
    }
    let secs = begun.elapsed().as_secs_f64();
    let sample = Sample::Unseen.measure(&mut reader);
    let accuracy = texts
        .as_ref()
        .map(|texts| cross_validate(texts, &mut |said| bar.set_message(said.to_owned())))
        .unwrap_or_default();
    let peer = match (&texts, &args.peers) {
        (Some(texts), Some(folder)) => Some(peer::measure(folder, texts, &bar)?),
        _ => None,
    };
    let stored = if args.stored > 0 { stored::run(args.stored, &comments, &bar).await? } else { Vec::new() };
    bar.finish_and_clear();
    #[expect(clippy::cast_precision_loss, reason = "letters of comments")]
    let letters = letters as f64 / f64::from(read);
    let report = Report {
        start_ms,
        comments_per_sec: f64::from(read) / secs,
        letters,
        sample,
        accuracy,
        peer,
        stored,
    };
    terminal.answer(&report, || table(&report))
}

fn failed(error: impl std::fmt::Display) -> CliError {
    CliError::Failed(error.to_string())
}

fn table(report: &Report) -> String {
    let mut text = format!("{:<44} {:>9.1} ms\n", "from nothing to the first reading", report.start_ms);
    let _ = writeln!(text, "{:<44} {:>9.0} a second", "comments, one thread", report.comments_per_sec);
    let _ = writeln!(text, "{:<44} {:>9.0} letters", "of", report.letters);
    for (whose, all) in [("of its own comments", &report.sample), ("by cross-validation", &report.accuracy)] {
        if !all.is_empty() {
            let _ = writeln!(text, "{whose}:");
        }
        for measured in all {
            let _ =
                writeln!(text, "{:<44} {:>9.3} {:>7} texts", measured.what, measured.value, measured.texts);
        }
    }
    if let Some(peer) = &report.peer {
        let _ = writeln!(
            text,
            "{:<44} {:>9.0} a second",
            "VADER and whatlang, one thread", peer.comments_per_sec
        );
        for measured in &peer.accuracy {
            let _ =
                writeln!(text, "{:<44} {:>9.3} {:>7} texts", measured.what, measured.value, measured.texts);
        }
    }
    for measured in &report.stored {
        let _ = writeln!(
            text,
            "{:<44} {:>9.0} a second, {} in {:.1} s",
            measured.what, measured.per_sec, measured.comments, measured.secs
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::testing::Call;

    #[tokio::test]
    async fn it_measures_without_any_data_and_names_a_folder_that_is_none() {
        let report = Call::new(&["bench", "enrich", "--secs", "0", "--json"]).run().await.document();
        assert!(report["comments_per_sec"].as_f64().unwrap() > 0.0, "{report}");
        assert!(report["sample"].as_array().unwrap().len() > 10, "{report}");
        assert_eq!(report["accuracy"], serde_json::json!([]));
        let said = Call::new(&["bench", "enrich", "--data", "/nowhere"]).run().await;
        assert_eq!(said.code(), 2);
        assert!(said.err.contains("/nowhere/sentiment_en.csv.gz cannot be opened"), "{}", said.err);
    }
}
