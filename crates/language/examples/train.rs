//! Learns the weights of the reader from a folder of labelled texts, or measures them by cross-validation.
//!
//! `cargo run --release -p greenroom-language --features training --example train -- FOLDER [--measure]`
//!
//! With `--sample` and no folder it measures the weights as they are, by the comments that come with the project, and says
//! which of those that may be looked at were misread.

use std::path::Path;
use std::process::ExitCode;

use greenroom_language::training::{Measured, Sample, Texts, cross_validate, train};
use greenroom_language::{Category, Reader};

const WEIGHTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/reader.weights");

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool of the terminal")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == ["--sample"] {
        return sample();
    }
    let Some(folder) = arguments.first() else {
        eprintln!("usage: train FOLDER [--measure], or train --sample");
        return ExitCode::from(2);
    };
    let texts = match Texts::read(Path::new(folder)) {
        Ok(texts) => texts,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    if arguments.iter().any(|argument| argument == "--measure") {
        for measured in cross_validate(&texts, &mut |said| eprintln!("{said}")) {
            println!("{}", line(&measured));
        }
        return ExitCode::SUCCESS;
    }
    match std::fs::write(WEIGHTS, train(&texts)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {WEIGHTS}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn line(measured: &Measured) -> String {
    format!("{:<44} {:.4} {:>7}", measured.what, measured.value, measured.texts)
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool of the terminal")]
fn sample() -> ExitCode {
    let mut reader = match Reader::embedded() {
        Ok(reader) => reader,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    for sample in [Sample::Seen, Sample::Unseen] {
        println!("{sample:?}");
        for measured in sample.measure(&mut reader) {
            println!("{}", line(&measured));
        }
    }
    for comment in Sample::Seen.comments() {
        let reading = reader.read(&comment.row.text);
        let mut said: Vec<&str> = reading.categories().into_iter().map(Category::as_str).collect();
        let mut meant: Vec<&str> = comment.row.label.split('|').filter(|label| *label != "none").collect();
        said.sort_unstable();
        meant.sort_unstable();
        let sentiment = reading.sentiment.as_str();
        let moody = comment.sentiment.as_deref().is_some_and(|meant| meant != sentiment);
        let foreign = comment.row.lang != reading.language;
        if said != meant || moody || foreign {
            let meant_mood = comment.sentiment.as_deref().unwrap_or_default();
            println!(
                "{said:?} {sentiment} {} for {meant:?} {meant_mood} {}: {}",
                reading.language, comment.row.lang, comment.row.text
            );
        }
        if let Some(keywords) = comment.keywords.filter(|keywords| *keywords != reading.keywords) {
            println!("about {:?} for {keywords:?}: {}", reading.keywords, comment.row.text);
        }
    }
    ExitCode::SUCCESS
}
