//! What a reader gets right of texts that it has not learned from.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::data::{Row, Texts};
use crate::reader::{Category, Reader};

/// How many parts the texts are cut into; each is read by a reader that learned from the others.
const FOLDS: u32 = 5;

/// One measure.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Measured {
    /// Of what.
    pub what: String,
    /// How good, from 0 to 1.
    pub value: f64,
    /// On how many texts.
    pub texts: usize,
}

/// What was said and what is so, of one text.
pub(super) struct Verdict<'a> {
    pub(super) row: &'a Row,
    pub(super) said: Vec<Cow<'static, str>>,
}

/// Measures by cross-validation; what is told along the way goes to `progress`.
pub fn cross_validate(texts: &Texts, progress: &mut dyn FnMut(&str)) -> Vec<Measured> {
    let mut verdicts = Verdicts::new();
    for fold in 0..FOLDS {
        progress(&format!("fold {} of {FOLDS}", fold + 1));
        let weights = super::weights(texts, &|row| fold_of(row) != fold);
        let mut reader = Reader::with(weights);
        for (task, rows) in tasks(texts) {
            for row in rows.iter().filter(|row| fold_of(row) == fold) {
                let reading = reader.read(&row.text);
                let said = match task {
                    "sentiment_en" | "sentiment_multi" => vec![reading.sentiment.as_str().into()],
                    "langid" => vec![reading.language.into()],
                    _ => reading.intents.iter().map(|(category, _)| category.as_str().into()).collect(),
                };
                if row.source == super::ORDINARY && task == "sentiment_en" {
                    let spam = if reading.is(Category::Spam) { "spam" } else { "ham" };
                    verdicts.entry("ordinary").or_default().push(Verdict { row, said: vec![spam.into()] });
                }
                verdicts.entry(task).or_default().push(Verdict { row, said });
            }
        }
    }
    report(&verdicts)
}

/// Measures what somebody else says of the sentiments and languages of all these texts, which they have not learned from.
///
/// Asks for all texts at once; each answer is a sentiment and a language, in the order of the texts.
pub fn measure_peer<E>(
    texts: &Texts,
    ask: impl FnOnce(&[&str]) -> Result<Vec<(String, String)>, E>,
) -> Result<Vec<Measured>, E> {
    let rows: Vec<(&str, &Row)> = tasks(texts)
        .into_iter()
        .filter(|(task, _)| matches!(*task, "sentiment_en" | "sentiment_multi" | "langid"))
        .flat_map(|(task, rows)| rows.iter().map(move |row| (task, row)))
        .collect();
    let asked: Vec<&str> = rows.iter().map(|(_, row)| row.text.as_str()).collect();
    let mut verdicts = Verdicts::new();
    for ((task, row), (sentiment, language)) in rows.into_iter().zip(ask(&asked)?) {
        let said = if task == "langid" { language } else { sentiment };
        verdicts.entry(task).or_default().push(Verdict { row, said: vec![said.into()] });
    }
    let mut all = Vec::new();
    sentiments(&verdicts, &mut all);
    languages(&verdicts, &mut all);
    Ok(all)
}

fn tasks(texts: &Texts) -> [(&'static str, &[Row]); 7] {
    [
        ("sentiment_en", &texts.sentiment_en),
        ("sentiment_multi", &texts.sentiment_multi),
        ("spam", &texts.spam),
        ("toxic", &texts.toxic),
        ("langid", &texts.langid),
        ("question_th", &texts.question_th),
        ("intent", &texts.intent),
    ]
}

/// Returns the part that a text belongs to, by its name.
fn fold_of(row: &Row) -> u32 {
    row.id.bytes().fold(7_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into())) % FOLDS
}

type Verdicts<'a> = BTreeMap<&'a str, Vec<Verdict<'a>>>;

fn of<'v, 'a>(verdicts: &'v Verdicts<'a>, task: &str) -> &'v [Verdict<'a>] {
    verdicts.get(task).map_or(&[][..], Vec::as_slice)
}

pub(super) fn tell(all: &mut Vec<Measured>, what: &str, value: f64, texts: usize) {
    all.push(Measured { what: what.to_owned(), value, texts });
}

fn sentiments(verdicts: &Verdicts<'_>, all: &mut Vec<Measured>) {
    let sentiment = ["negative", "neutral", "positive"];
    let mut tell = |what: &str, value, texts| tell(all, what, value, texts);
    let english = of(verdicts, "sentiment_en");
    tell("sentiment, English (macro F1)", macro_f1(&english, &sentiment), english.len());
    for source in ["goemotions", "vader_amazon", "vader_tweets"] {
        let part = || english.iter().filter(|verdict| verdict.row.source == source);
        tell(&format!("  of them {source}"), macro_f1(&part(), &sentiment), part().count());
    }
    let multi = of(verdicts, "sentiment_multi");
    tell("sentiment, other languages (macro F1)", macro_f1(&multi, &sentiment), multi.len());
}

fn languages(verdicts: &Verdicts<'_>, all: &mut Vec<Measured>) {
    let langid = of(verdicts, "langid");
    tell(all, "language (accuracy)", accuracy(langid), langid.len());
    let subtitles = || langid.iter().filter(|verdict| verdict.row.source == "xed_subtitles");
    tell(all, "  of them subtitles", accuracy(subtitles()), subtitles().count());
}

fn report(verdicts: &Verdicts<'_>) -> Vec<Measured> {
    let mut all = Vec::new();
    sentiments(verdicts, &mut all);
    for (task, label) in [("spam", "spam"), ("toxic", "toxic"), ("question_th", "question")] {
        let rows = of(verdicts, task);
        let (precision, f1) = one(rows, label);
        tell(&mut all, &format!("{task} (F1)"), f1, rows.len());
        tell(&mut all, "  precision", precision, rows.len());
    }
    let ordinary = of(verdicts, "ordinary");
    let taken = ordinary.iter().filter(|verdict| verdict.said == ["spam"]).count();
    #[expect(clippy::cast_precision_loss, reason = "counts of texts")]
    let share = taken as f64 / ordinary.len().max(1) as f64;
    tell(&mut all, "ordinary comments taken for spam", share, ordinary.len());
    languages(verdicts, &mut all);
    let intent = of(verdicts, "intent");
    let mut sum = 0.0;
    for category in Category::ALL {
        let (precision, f1) = one(intent, category.as_str());
        tell(&mut all, &format!("intents: {} (F1)", category.as_str()), f1, intent.len());
        tell(&mut all, "  precision", precision, intent.len());
        sum += f1;
    }
    #[expect(clippy::cast_precision_loss, reason = "seven")]
    tell(&mut all, "intents (macro F1)", sum / Category::ALL.len() as f64, intent.len());
    all
}

#[expect(clippy::cast_precision_loss, reason = "counts of texts")]
pub(super) fn macro_f1<'a, 'r: 'a>(
    verdicts: &(impl IntoIterator<Item = &'a Verdict<'r>> + Clone),
    labels: &[&str],
) -> f64 {
    labels.iter().map(|label| one(verdicts.clone(), label).1).sum::<f64>() / labels.len() as f64
}

/// Returns precision and F1 of one label.
pub(super) fn one<'a, 'r: 'a>(
    verdicts: impl IntoIterator<Item = &'a Verdict<'r>>,
    label: &str,
) -> (f64, f64) {
    let (mut right, mut said, mut so) = (0.0, 0.0, 0.0);
    for verdict in verdicts {
        let (says, is) = (
            verdict.said.iter().any(|said| said == label),
            verdict.row.label.split('|').any(|one| one == label),
        );
        right += f64::from(u8::from(says && is));
        said += f64::from(u8::from(says));
        so += f64::from(u8::from(is));
    }
    (right / f64::max(said, 1.0), 2.0 * right / f64::max(said + so, 1.0))
}

#[expect(clippy::cast_precision_loss, reason = "counts of texts")]
pub(super) fn accuracy<'a, 'r: 'a>(verdicts: impl IntoIterator<Item = &'a Verdict<'r>>) -> f64 {
    let (mut right, mut all) = (0_usize, 0_usize);
    for verdict in verdicts {
        // Written in Latin letters both are one language, and are scored as one.
        let same = |tongue: &str| if tongue == "sr" { "hr".to_owned() } else { tongue.to_owned() };
        right += usize::from(verdict.said.iter().any(|said| same(said) == same(&verdict.row.label)));
        all += 1;
    }
    right as f64 / all.max(1) as f64
}
