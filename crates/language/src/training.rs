//! Learning the weights from labelled texts, and measuring them.
//!
//! One thread a head, a seed, and sums and products only: the same folder gives the same file, bit for bit. What is
//! measured is the whole reader as it is used, its weights in bytes and its rules on top.

mod data;
mod learn;
mod measure;
mod sample;
#[cfg(test)]
mod tests;

pub use data::{DataError, Row, Texts};
pub use measure::{Measured, cross_validate, measure_peer};
pub use sample::{Comment, Sample};

use std::collections::BTreeMap;

use crate::features::{self, ENGLISH_SHARES, Features, OTHER_SHARES};
use crate::linear::{Table, Weights, count};
use crate::normalise::{Kind, Text};
use crate::reader::{COMMON, Category, LEARNED, MULTI, SENSE, TONGUE};
use crate::tongue::{self, TONGUES};

use data::Written;
use learn::{Example, Plan, learn};

/// The version of what is learned: raise it whenever the weights change.
const VERSION: u32 = 4;

/// Where comments are as people write them anywhere.
const ORDINARY: &str = "goemotions";

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
    let written = &texts.written;
    let moods: Vec<Row> = written.iter().filter_map(Written::mood).collect();
    let (sense, (multi, tongue)) = std::thread::scope(|scope| {
        let heads = scope.spawn(|| {
            (
                multi(&kept(&texts.sentiment_multi), &english, &moods),
                tongues(&kept(&texts.langid), &kept(&texts.sentiment_multi), &english),
            )
        });
        let sentiment = sentiment(&english, &moods);
        let with = |rows: Vec<Row>, category: Category| -> Vec<Row> {
            rows.into_iter().chain(written.iter().map(|written| written.is(category))).collect()
        };
        let spam = with(among_ordinary(kept(&texts.spam), &english), Category::Spam);
        let spam = binary(&spam, "spam", 4e-3, worth_beside_spam);
        let civil: Vec<Row> = english.iter().filter(|row| row.label != "negative").cloned().collect();
        let toxic = with(among_ordinary(kept(&texts.toxic), &civil), Category::Toxic);
        let toxic = binary(&toxic, "toxic", 1e-3, worth_beside_toxic);
        let question = binary(&kept(&texts.question_th), "question", 0.0, |_| 1.0);
        let mut all = vec![sentiment, spam, toxic, question];
        let wants = Wants {
            written,
            ordinary: &english,
            spam: kept(&texts.spam),
            subtitles: kept(&texts.sentiment_multi),
        };
        all.extend(
            LEARNED
                .iter()
                .map(|category| binary(&wants.of(*category), category.as_str(), 1e-3, worth_of_wants)),
        );
        let sense = learn::join(SENSE.bits, &all);
        // A thread that panics has said why.
        (sense, heads.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    Weights {
        version: VERSION,
        tables: vec![sense, multi, tongue, common(&texts.langid, &english, &texts.sentiment_multi)],
    }
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
            if let Some(tongue) = &tongue {
                features.add_tongue(tongue);
            }
            let mut counted = Vec::new();
            features.count(if tongue.is_some() { OTHER_SHARES } else { ENGLISH_SHARES }, &mut counted);
            Example { features: counted, label: plan.label(row), weight }
        })
        .collect()
}

/// What a text counts where sentiment is learned: few reviews stand for a world of their own.
fn worth(row: &Row) -> f32 {
    match row.source.as_str() {
        "vader_amazon" => 7.0,
        data::WRITTEN if row.lang == "en" => 1.2,
        _ => 1.0,
    }
}

/// What a text counts where spam is learned: ten thousand ordinary comments count like five hundred of those that were judged.
fn worth_beside_spam(row: &Row) -> f32 {
    match row.source.as_str() {
        ORDINARY => 0.05,
        data::WRITTEN => 0.3,
        _ => 1.0,
    }
}

/// The same where toxicity is learned; what was judged is of two worlds only, so what was written counts double.
fn worth_beside_toxic(row: &Row) -> f32 {
    match row.source.as_str() {
        ORDINARY => 0.05,
        data::WRITTEN => 2.0,
        _ => 1.0,
    }
}

/// What a text counts where a want is learned: most were judged for something else.
fn worth_of_wants(row: &Row) -> f32 {
    if row.source == data::WRITTEN { 1.0 } else { 0.1 }
}

/// Negative, neutral and positive, in English.
fn sentiment(rows: &[Row], written: &[Row]) -> Table {
    let plan = Plan {
        labels: &["negative", "neutral", "positive"],
        bits: SENSE.bits,
        epochs: 6,
        balance: 0.5,
        calm: 0.3,
        pull: 1e-3,
        skew: 0.5,
        worth,
    };
    let rows: Vec<Row> = rows.iter().chain(written.iter().filter(|row| row.lang == "en")).cloned().collect();
    let mut table = learn(&examples(&rows, &plan, |_| None), &plan);
    // Chosen by cross-validation: joy is said too readily.
    table.biases[0] += CALMER;
    table.biases[1] += CALMER;
    table
}

/// The same in all languages, English among them, each with its own beginning.
fn multi(rows: &[Row], english: &[Row], written: &[Row]) -> Table {
    let plan = Plan {
        labels: &["negative", "neutral", "positive"],
        bits: MULTI.bits,
        epochs: 6,
        balance: 0.3,
        calm: 0.1,
        pull: 3e-4,
        skew: 0.0,
        worth,
    };
    // As much of English as of a few others, or it would take all the buckets.
    let some = english.iter().step_by(4);
    let rows: Vec<Row> = rows.iter().chain(some).chain(written).cloned().collect();
    learn(&examples(&rows, &plan, |row| Some(row.lang.clone())), &plan)
}

/// Adds ordinary comments, which are none of it, to those that were judged: what is hardly ever written under the few videos
/// and posts that these are from is not bad for that.
fn among_ordinary(judged: Vec<Row>, english: &[Row]) -> Vec<Row> {
    let ordinary = english.iter().filter(|row| row.source == ORDINARY).step_by(4);
    let none = ordinary.map(|row| Row { label: "none".to_owned(), ..row.clone() });
    judged.into_iter().chain(none).collect()
}

/// What people want, and who wants none of it.
struct Wants<'a> {
    written: &'a [Written],
    ordinary: &'a [Row],
    spam: Vec<Row>,
    subtitles: Vec<Row>,
}

impl Wants<'_> {
    /// Returns texts that are of a category and texts that are not. Those that were labelled for something else are only
    /// taken where that label rules the category out.
    fn of(&self, category: Category) -> Vec<Row> {
        let rules_out = |row: &&Row| match category {
            Category::Question => !row.text.contains('?'),
            Category::Praise => row.label != "positive",
            Category::Complaint => row.label != "negative",
            _ => true,
        };
        let written = self.written.iter().map(|written| written.is(category));
        let ordinary = self.ordinary.iter().filter(|row| row.source == ORDINARY).step_by(4).filter(rules_out);
        let subtitles = self.subtitles.iter().step_by(6).filter(rules_out);
        let spam = self.spam.iter().filter(|row| row.label == "spam");
        written
            .chain(
                ordinary
                    .chain(subtitles)
                    .chain(spam)
                    .map(|row| Row { label: "none".to_owned(), ..row.clone() }),
            )
            .collect()
    }
}

/// Whether a text is of a kind, as one output: how much more so than not.
fn binary(rows: &[Row], label: &'static str, pull: f32, worth: fn(&Row) -> f32) -> Table {
    let labels = &["none", label];
    let plan = Plan { labels, bits: SENSE.bits, epochs: 12, balance: 0.3, calm: 0.1, pull, skew: 0.0, worth };
    learn::difference(&learn(&examples(rows, &plan, |_| None), &plan))
}

/// Which language, from sentences, pairs of words and subtitles.
fn tongues(rows: &[Row], subtitles: &[Row], english: &[Row]) -> Table {
    let plan = Plan {
        labels: &TONGUES,
        bits: TONGUE.bits,
        epochs: 8,
        balance: 0.5,
        calm: 0.1,
        pull: 0.0,
        skew: 0.7,
        worth: |_| 1.0,
    };
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

/// Words that fewer texts of 8,192 have are all alike rare.
const LEAST: u32 = 24;

/// Twice the logarithm, by two, of how many texts of 8,192 have a word; 0 where hardly any has.
fn commonness(of_8192: u32) -> i8 {
    if of_8192 < LEAST {
        return 0;
    }
    let log = of_8192.ilog2();
    let half = (of_8192 >> (log - 1)) & 1;
    i8::try_from(2 * log + half).unwrap_or(i8::MAX)
}

/// How common each word is in its language, from the texts of each.
fn common(sentences: &[Row], english: &[Row], others: &[Row]) -> Table {
    let mut texts: BTreeMap<&str, u32> = BTreeMap::new();
    let mut having: BTreeMap<(&str, u32), u32> = BTreeMap::new();
    let (mut text, mut words) = (Text::default(), Vec::new());
    // Pairs of words are no texts.
    for row in
        english.iter().chain(others).chain(sentences.iter().filter(|row| row.source != "lingua_word-pairs"))
    {
        text.read(&row.text);
        words.clear();
        let tokens = text.tokens.iter().filter(|token| matches!(token.kind, Kind::Word | Kind::Hashtag));
        words.extend(tokens.map(|token| features::word_of(&row.lang, text.letters(token))));
        words.sort_unstable();
        words.dedup();
        *texts.entry(&row.lang).or_default() += 1;
        for word in &words {
            *having.entry((&row.lang, *word)).or_default() += 1;
        }
    }
    let mut weights = vec![0_i8; 1 << COMMON.bits];
    for ((tongue, word), count) in having {
        let place = (word & ((1 << COMMON.bits) - 1)) as usize;
        // Three texts may have a word in common by chance.
        if count > 3 {
            weights[place] = weights[place].max(commonness(count * 8_192 / texts[tongue].max(1)));
        }
    }
    Table { bits: COMMON.bits, scales: vec![1.0], biases: vec![0.0], weights }
}
