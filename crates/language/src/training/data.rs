//! Labelled texts: a folder of `.csv.gz` files with the columns id, text, label, source and lang.

use std::fs::File;
use std::path::Path;

use flate2::read::GzDecoder;
use serde::Deserialize;

use crate::reader::Category;

/// Sources whose licence does not let weights be shipped that were learned from them.
const NOT_SHIPPED: [&str; 2] = ["dravidian_codemix_youtube", "told_br"];

/// The source of what was written for this project.
pub(super) const WRITTEN: &str = "written";
/// What was not judged.
pub(super) const UNJUDGED: &str = "-";

/// A labelled text.
#[derive(Clone, Debug, Deserialize)]
pub struct Row {
    /// Its name, by which folds are made.
    pub id: String,
    /// What somebody wrote.
    pub text: String,
    /// What it is; several are joined by `|`.
    pub label: String,
    /// Where it is from.
    pub source: String,
    /// Its language.
    pub lang: String,
}

/// All that is learned from and measured on.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names of the files")]
pub struct Texts {
    pub sentiment_en: Vec<Row>,
    pub sentiment_multi: Vec<Row>,
    pub spam: Vec<Row>,
    pub toxic: Vec<Row>,
    pub langid: Vec<Row>,
    pub question_th: Vec<Row>,
    /// Too few to learn from: rules are measured on it.
    pub intent: Vec<Row>,
    /// What was written for this project.
    pub(super) written: Vec<Written>,
}

/// A folder that cannot be learned from.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file that is not there.
    #[error("{path} cannot be opened: {source}")]
    Missing {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file that is no table of labelled texts.
    #[error("{path} is no table of id, text, label, source and lang: {source}")]
    Malformed {
        /// Which.
        path: String,
        /// Where.
        source: csv::Error,
    },
}

/// A comment that was written for this project.
#[derive(Clone, Debug)]
pub(super) struct Written {
    /// Its label is its categories.
    pub(super) row: Row,
    /// Whether its author is pleased, where that was judged.
    pub(super) sentiment: Option<String>,
}

impl Written {
    /// Returns the comment with whether it is of a category as its label: its name, or `none`.
    pub(super) fn is(&self, category: Category) -> Row {
        let name = category.as_str();
        let is_it = self.row.label.split('|').any(|label| label == name);
        Row { label: if is_it { name } else { "none" }.to_owned(), ..self.row.clone() }
    }

    /// Returns the comment with whether its author is pleased as its label.
    pub(super) fn mood(&self) -> Option<Row> {
        Some(Row { label: self.sentiment.clone()?, ..self.row.clone() })
    }
}

/// Returns the comments written for this project that are learned from.
fn written() -> Vec<Written> {
    let mut heads = ["", "", ""];
    let mut all = Vec::new();
    for (at, line) in include_str!("../../texts/written.txt").lines().enumerate() {
        if let Some(head) = line.strip_prefix("= ") {
            heads.iter_mut().zip(head.split(' ')).for_each(|(slot, field)| *slot = field);
        } else if !line.starts_with('#') {
            let [lang, sentiment, categories] = heads.map(str::to_owned);
            let row = Row {
                id: at.to_string(),
                text: line.to_owned(),
                label: categories,
                source: WRITTEN.to_owned(),
                lang,
            };
            all.push(Written { row, sentiment: Some(sentiment).filter(|field| field != UNJUDGED) });
        }
    }
    all
}

impl Texts {
    /// Reads a folder.
    pub fn read(folder: &Path) -> Result<Self, DataError> {
        let read = |name: &str| read(&folder.join(format!("{name}.csv.gz")));
        Ok(Self {
            sentiment_en: read("sentiment_en")?,
            sentiment_multi: read("sentiment_multi")?,
            spam: read("spam")?,
            toxic: read("toxic")?,
            langid: read("langid")?,
            question_th: read("question_th")?,
            intent: read("intent")?,
            written: written(),
        })
    }
}

fn read(path: &Path) -> Result<Vec<Row>, DataError> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|source| DataError::Missing { path: name.clone(), source })?;
    let rows: Result<Vec<Row>, csv::Error> =
        csv::Reader::from_reader(GzDecoder::new(file)).deserialize().collect();
    let mut rows = rows.map_err(|source| DataError::Malformed { path: name, source })?;
    rows.retain(|row| !NOT_SHIPPED.contains(&row.source.as_str()));
    Ok(rows)
}
