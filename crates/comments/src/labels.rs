//! What was read in a comment, as it is stored: by the reader, a language model or a person.

use std::collections::BTreeMap;

use greenroom_language::{Category, Reading, Sentiment};
use serde::{Deserialize, Serialize};

/// What was read in a comment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Labels {
    /// Whether its author is pleased.
    pub sentiment: Sentiment,
    /// What its author wants, the most pressing first.
    pub categories: Vec<Category>,
    /// Its language as a tag of BCP 47; `und` where it has none.
    pub language: String,
    /// Up to five words that it is about, in lower case.
    pub keywords: Vec<String>,
    /// How sure all this is.
    pub confidences: Confidences,
}

/// How sure a reader was, from 0 to 1 with three decimals.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Confidences {
    /// Of the sentiment.
    pub sentiment: f32,
    /// Of each category that it has.
    pub categories: BTreeMap<Category, f32>,
    /// The chance that it is spam, whether called so or not.
    pub spam: f32,
    /// The chance that it is toxic.
    pub toxic: f32,
    /// Whether it has no words: emoji, times, names, addresses.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wordless: bool,
    /// Why the reader that comes with the program has read it, where a language model was to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// Why a language model has not read a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It has no words.
    Wordless,
    /// It tells models what to do.
    Suspicious,
    /// The model would not.
    Refused,
    /// The model has answered, but not this, or not in order.
    Unanswered,
    /// Its owner has not enough credits.
    Credits,
    /// No model could be asked.
    Unavailable,
}

impl Labels {
    /// Returns whether its author wants this.
    pub fn is(&self, category: Category) -> bool {
        self.categories.contains(&category)
    }

    /// Returns how sure a category is; one without a confidence was set by a person.
    pub fn certainty(&self, category: Category) -> f32 {
        self.confidences.categories.get(&category).copied().unwrap_or(1.0)
    }
}

impl From<Reading> for Labels {
    fn from(reading: Reading) -> Self {
        Self {
            sentiment: reading.sentiment,
            categories: reading.categories(),
            confidences: Confidences {
                sentiment: thousandths(reading.confidence),
                categories: reading.intents.iter().map(|(one, sure)| (*one, thousandths(*sure))).collect(),
                spam: thousandths(reading.spam),
                toxic: thousandths(reading.toxic),
                wordless: reading.wordless,
                reason: None,
            },
            language: reading.language.to_owned(),
            keywords: reading.keywords,
        }
    }
}

fn thousandths(chance: f32) -> f32 {
    (chance * 1_000.0).round() / 1_000.0
}
