//! Learning from a handful of texts: what it says of them, and that it is the same each time.

use super::{Row, Sample, Texts, train};
use crate::linear::Weights;
use crate::reader::{Reader, Sentiment};

fn rows(lang: &str, labelled: &[(&str, &str)]) -> Vec<Row> {
    let row = |(at, (text, label)): (usize, &(&str, &str))| Row {
        id: format!("{lang}{at}"),
        text: (*text).to_owned(),
        label: (*label).to_owned(),
        source: "handwritten".to_owned(),
        lang: lang.to_owned(),
    };
    labelled.iter().enumerate().map(row).collect()
}

/// Words that no lexicon has, so that only what was learned can tell them.
fn texts() -> Texts {
    let moods = [("a glorp day", "positive"), ("a frumsk day", "negative"), ("a plain day", "neutral")];
    let tongues =
        [rows("en", &[("the day of the house", "en")]), rows("de", &[("der tag und das haus", "de")])];
    Texts {
        sentiment_en: rows("en", &moods),
        sentiment_multi: rows("de", &[("ein glorp tag", "negative"), ("ein frumsk tag", "positive")]),
        spam: rows("en", &[("zorbcoin now", "spam"), ("a quiet walk", "ham")]),
        toxic: rows("en", &[("you flurg", "toxic"), ("a quiet walk", "none")]),
        langid: tongues.concat(),
        question_th: rows("th", &[("ไป", "question"), ("มา", "none")]),
        intent: Vec::new(),
        written: Vec::new(),
    }
}

#[test]
fn what_was_learned_is_told_and_is_the_same_each_time() {
    let file = train(&texts());
    assert_eq!(file, train(&texts()), "the same texts gave another file");
    let weights = Weights::read(&file).unwrap();
    assert_eq!(weights.write(), file);
    for cut in [0, 7, 13, file.len() / 2, file.len() - 1] {
        assert!(Weights::read(&file[..cut]).is_err(), "{cut} bytes were taken for weights");
    }
    let mut reader = Reader::with(weights);
    for (text, mood) in [("glorp", Sentiment::Positive), ("frumsk", Sentiment::Negative)] {
        assert_eq!(reader.read(&format!("the {text} day of the house")).sentiment, mood, "{text}");
    }
    assert!(reader.read("zorbcoin").spam > reader.read("walk").spam);
    assert!(reader.read("flurg").toxic > reader.read("walk").toxic);
    assert_eq!(reader.read("das haus und der tag").language, "de");
}

/// Two points below what was measured, since a change that costs more is one to think about.
#[test]
fn what_was_never_looked_at_is_read_as_well_as_it_was() {
    let mut reader = Reader::embedded().unwrap();
    let measured = Sample::Unseen.measure(&mut reader);
    for (what, least) in [
        ("sentiment (macro F1)", 0.708),
        ("language (accuracy)", 0.963),
        ("question (F1)", 0.91),
        ("collab (F1)", 0.92),
        ("spam (F1)", 0.94),
        ("praise (F1)", 0.875),
        ("complaint (F1)", 0.82),
        ("suggestion (F1)", 0.843),
        ("toxic (F1)", 0.78),
        ("intents (macro F1)", 0.871),
        ("keywords (F1 at 5)", 0.67),
    ] {
        let found = measured.iter().find(|one| one.what == what).unwrap();
        assert!(found.value >= least, "{what} is {:.3}, and was {least} and two points", found.value);
    }
}
