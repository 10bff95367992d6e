//! Learns the weights of the reader from a folder of labelled texts, or measures them by cross-validation.
//!
//! `cargo run --release -p greenroom-language --features training --example train -- FOLDER [--measure]`

use std::path::Path;
use std::process::ExitCode;

use greenroom_language::training::{Texts, cross_validate, train};

const WEIGHTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/reader.weights");

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool of the terminal")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(folder) = arguments.first() else {
        eprintln!("usage: train FOLDER [--measure]");
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
            println!("{:<44} {:.3} {:>7}", measured.what, measured.value, measured.texts);
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
