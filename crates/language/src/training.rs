//! Learning the weights from labelled texts, and measuring them.
//!
//! One thread a head, a seed, and sums and products only: the same folder gives the same file, bit for bit. What is
//! measured is the whole reader as it is used, its weights in bytes and its rules on top.

mod data;
mod learn;
mod measure;
#[cfg(test)]
mod tests;

pub use data::{DataError, Row, Texts};
pub use measure::{Measured, cross_validate, measure_peer};

use crate::features::{ENGLISH_SHARES, Features, OTHER_SHARES};
use crate::linear::{Table, Weights, count};
use crate::normalise::Text;
use crate::reader::{MULTI, SENSE, TONGUE};
use crate::tongue::{self, TONGUES};

use learn::{Example, Plan, learn};

/// The version of what is learned: raise it whenever the weights change.
const VERSION: u32 = 3;

/// By how much neither and displeased are raised over pleased.
const CALMER: f32 = 0.2;

/// Learns all heads and returns their file.
pub fn train(texts: &Texts) -> Vec<u8> {
    weights(texts, &|_| true).write()
}

/// Learns all heads from the rows that are kept.
fn weights(texts: &Texts, keep: &(dyn Fn(&Row) -> bool + Sync)) -> Weights {
    let kept = |rows: &'_ [Row]| -> Vec<Row> { rows.iter().filter(|row| keep(row)).cloned().collect() };
    let english = kept(&texts.sentiment_en);
    let (sense, (multi, tongue)) = std::thread::scope(|scope| {
        let heads = scope.spawn(|| {
            (
                multi(&kept(&texts.sentiment_multi), &english),
                tongues(&kept(&texts.langid), &kept(&texts.sentiment_multi), &english),
            )
        });
        let sentiment = sentiment(&english);
        let spam = binary(&kept(&texts.spam), "spam", 4e-3);
        let toxic = binary(&kept(&texts.toxic), "toxic", 1e-3);
        let question = binary(&kept(&texts.question_th), "question", 0.0);
        let sense = learn::join(SENSE.bits, &[sentiment, spam, toxic, question]);
        // A thread that panics has said why.
        (sense, heads.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    Weights { version: VERSION, tables: vec![sense, multi, tongue] }
}

fn examples(rows: &[Row], plan: &Plan, tongue: impl Fn(&Row) -> Option<String>) -> Vec<Example> {
    let (mut text, mut features) = (Text::default(), Features::default());
    let shares = plan.weights(rows);
    rows.iter()
        .zip(shares)
        .map(|(row, weight)| {
            text.read(&row.text);
            features.collect(&text);
            let tongue = tongue(row);
            tongue.iter().for_each(|tongue| features.add_tongue(tongue));
            let mut counted = Vec::new();
            features.count(if tongue.is_some() { OTHER_SHARES } else { ENGLISH_SHARES }, &mut counted);
            Example { features: counted, label: plan.label(row), weight }
        })
        .collect()
}

/// Negative, neutral and positive, in English.
fn sentiment(rows: &[Row]) -> Table {
    let plan = Plan {
        labels: &["negative", "neutral", "positive"],
        bits: SENSE.bits,
        epochs: 6,
        balance: 0.5,
        calm: 0.3,
        pull: 1e-3,
    };
    let mut table = learn(&examples(rows, &plan, |_| None), &plan);
    // Chosen by cross-validation: joy is said too readily.
    table.biases[0] += CALMER;
    table.biases[1] += CALMER;
    table
}

/// The same in all languages, English among them, each with its own beginning.
fn multi(rows: &[Row], english: &[Row]) -> Table {
    let plan = Plan {
        labels: &["negative", "neutral", "positive"],
        bits: MULTI.bits,
        epochs: 6,
        balance: 0.3,
        calm: 0.1,
        pull: 3e-4,
    };
    // As much of English as of a few others, or it would take all the buckets.
    let some = english.iter().step_by(4);
    let rows: Vec<Row> = rows.iter().chain(some).cloned().collect();
    learn(&examples(&rows, &plan, |row| Some(row.lang.clone())), &plan)
}

/// Whether a text is of a kind, as one output: how much more so than not.
fn binary(rows: &[Row], label: &'static str, pull: f32) -> Table {
    let labels: &[&str] = if label == "spam" { &["ham", "spam"] } else { &["none", label] };
    let plan = Plan { labels, bits: SENSE.bits, epochs: 12, balance: 0.3, calm: 0.1, pull };
    learn::difference(&learn(&examples(rows, &plan, |_| None), &plan))
}

/// Which language, from sentences, pairs of words and subtitles.
fn tongues(rows: &[Row], subtitles: &[Row], english: &[Row]) -> Table {
    let plan = Plan { labels: &TONGUES, bits: TONGUE.bits, epochs: 8, balance: 0.5, calm: 0.1, pull: 0.0 };
    let known = |row: &&Row| TONGUES.contains(&row.lang.as_str());
    let more = subtitles.iter().filter(|row| row.source == "xed").step_by(4).filter(known);
    // All of English, and as many subtitles: comments are English more often than one in 36.
    let rows: Vec<Row> = rows.iter().chain(more).chain(english).cloned().collect();
    let rows: Vec<Row> = rows.into_iter().map(|row| Row { label: row.lang.clone(), ..row }).collect();
    let (mut text, mut features) = (Text::default(), Vec::new());
    let shares = plan.weights(&rows);
    let examples: Vec<Example> = rows
        .iter()
        .zip(shares)
        .filter(|(row, _)| TONGUES.contains(&row.label.as_str()))
        .map(|(row, weight)| {
            text.read(&row.text);
            tongue::collect(&text, &mut features);
            let mut counted = Vec::new();
            count(&mut [(&mut features, 1.0)], &mut counted);
            Example { features: counted, label: plan.label(row), weight }
        })
        .collect();
    learn(&examples, &plan)
}
