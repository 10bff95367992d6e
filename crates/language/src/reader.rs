//! A text in, what it says out: all heads over one pass of features, and rules on top.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cues::{Finder, Said};
use crate::features::Features;
use crate::keywords::keywords;
use crate::lexicon::Valence;
use crate::linear::{Counted, NoWeights, Weights};
use crate::maths::{chance, softmax};
use crate::normalise::{Kind, Text};
use crate::tongue::{Teller, UNKNOWN};

/// The weights that come with the program; `crates/language/MODEL_CARD.md` says what they were learned from.
static EMBEDDED: &[u8] = include_bytes!("../data/reader.weights");

/// The place of a table among the weights, and its size.
pub(crate) struct Place {
    at: usize,
    /// Two to this many buckets.
    #[cfg_attr(not(feature = "training"), expect(dead_code, reason = "only who learns needs it"))]
    pub(crate) bits: u8,
}

/// English sentiment (negative, neutral, positive), spam, toxic, and a question in Thai.
pub(crate) const SENSE: Place = Place { at: 0, bits: 18 };
/// Sentiment in any language.
pub(crate) const MULTI: Place = Place { at: 1, bits: 18 };
/// The language.
pub(crate) const TONGUE: Place = Place { at: 2, bits: 16 };

/// Comments are English more often than one in 36.
const ENGLISH_PRIOR: f32 = 2.0;

/// From which chance on a text is read as English only.
const SURELY_ENGLISH: f32 = 0.5;

/// From which chance on a text is spam.
const SPAM_AT: f32 = 0.6;
/// From which chance on, and with cues, its joy is not believed.
const SURELY_SPAM: f32 = 0.9;

/// How much a cue of spam says beside the head.
const SPAM_CUE: f32 = 0.4;
/// From which chance on a text is toxic: of what is written under videos little is, so it takes both head and cues.
const TOXIC_AT: f32 = 0.55;
/// From which chance on a text in Thai, which has no question mark, is a question.
const THAI_QUESTION_AT: f32 = 0.5;

/// How much a cue of toxicity says beside the head.
const TOXIC_CUE: f32 = 0.9;
/// What speaks against toxicity beforehand: there is less of it than where the head learned.
const TOXIC_RARE: f32 = 1.6;

/// What is said at all is at least this sure.
const SURE_ENOUGH: f32 = 0.6;

/// Whether somebody is pleased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sentiment {
    /// Displeased.
    Negative,
    /// Neither.
    Neutral,
    /// Pleased.
    Positive,
}

impl Sentiment {
    const ALL: [Self; 3] = [Self::Negative, Self::Neutral, Self::Positive];

    /// Returns the word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Negative => "negative",
            Self::Neutral => "neutral",
            Self::Positive => "positive",
        }
    }
}

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// An answer.
    Question,
    /// Business, or something made together.
    Collab,
    /// To sell, or clicks.
    Spam,
    /// To admire, to thank.
    Praise,
    /// To say that something is not as it should be.
    Complaint,
    /// Other content, or a change.
    Suggestion,
    /// To insult, to threaten.
    Toxic,
}

impl Category {
    /// Every category, the most pressing first.
    pub const ALL: [Self; 7] = [
        Self::Collab,
        Self::Question,
        Self::Complaint,
        Self::Suggestion,
        Self::Praise,
        Self::Toxic,
        Self::Spam,
    ];

    /// Returns the word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Question => "question",
            Self::Collab => "collab",
            Self::Spam => "spam",
            Self::Praise => "praise",
            Self::Complaint => "complaint",
            Self::Suggestion => "suggestion",
            Self::Toxic => "toxic",
        }
    }
}

/// What a text says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reading {
    /// Whether its author is pleased.
    pub sentiment: Sentiment,
    /// How sure that is, from 0 to 1.
    pub confidence: f32,
    /// What its author wants and how sure that is, from 0 to 1, the most pressing first.
    pub intents: Vec<(Category, f32)>,
    /// Its language as a tag of BCP 47; `und` where it has none.
    pub language: &'static str,
    /// Up to five words that it is about, in lower case.
    pub keywords: Vec<String>,
    /// The chance that it is spam, from 0 to 1.
    pub spam: f32,
    /// The chance that it is toxic.
    pub toxic: f32,
    /// Whether it has no words: emoji, times, names, addresses.
    pub wordless: bool,
}

impl Reading {
    /// Returns what its author wants, the most pressing first.
    pub fn categories(&self) -> Vec<Category> {
        self.intents.iter().map(|(category, _)| *category).collect()
    }

    /// Returns whether its author wants this.
    pub fn is(&self, category: Category) -> bool {
        self.intents.iter().any(|(one, _)| *one == category)
    }
}

/// Reads texts; one for each thread, since it keeps its memory.
#[derive(Clone, Debug)]
pub struct Reader {
    weights: Arc<Weights>,
    text: Text,
    features: Features,
    counted: Vec<Counted>,
    scores: Vec<f32>,
    teller: Teller,
    finder: Finder,
}

impl Reader {
    /// Makes a reader with the weights that come with the program.
    ///
    /// # Errors
    ///
    /// When these are of another format, which the tests make sure they are not.
    pub fn embedded() -> Result<Self, NoWeights> {
        Ok(Self::with(Weights::read(EMBEDDED)?))
    }

    pub(crate) fn with(weights: Weights) -> Self {
        Self {
            weights: Arc::new(weights),
            text: Text::default(),
            features: Features::default(),
            counted: Vec::new(),
            scores: Vec::new(),
            teller: Teller::default(),
            finder: Finder::default(),
        }
    }

    /// Returns the version of the weights: what an older one has read may be read again.
    pub fn version(&self) -> u32 {
        self.weights.version
    }

    /// Reads a text.
    pub fn read(&mut self, text: &str) -> Reading {
        self.text.read(text);
        let language = self.teller.tell(&self.text, &self.weights.tables[TONGUE.at]);
        let valence = Valence::of(&self.text);
        let wordless = !self.text.tokens.iter().any(|token| matches!(token.kind, Kind::Word | Kind::Hashtag));
        self.features.collect(&self.text);
        self.features.count(&mut self.counted);
        self.weights.tables[SENSE.at].score(&self.counted, &mut self.scores);
        let (mut sentiments, spam, toxic, asks) = (
            [self.scores[0], self.scores[1], self.scores[2]],
            self.scores[3],
            self.scores[4],
            self.scores[5],
        );
        softmax(&mut sentiments);
        let english = if matches!(language, "hi-Latn" | UNKNOWN) {
            1.0
        } else {
            (ENGLISH_PRIOR * self.teller.english).min(1.0)
        };
        if wordless {
            let sum = valence.pictures;
            sentiments = if sum >= 1.0 {
                [0.0, 0.1, 0.9]
            } else if sum <= -1.0 {
                [0.9, 0.1, 0.0]
            } else {
                [0.0, 1.0, 0.0]
            };
        } else if english < SURELY_ENGLISH {
            // Short texts look like many languages: both heads are asked, and each is believed as far as its language is.
            self.features.add_tongue(if language == "en" { UNKNOWN } else { language });
            self.features.count(&mut self.counted);
            self.weights.tables[MULTI.at].score(&self.counted, &mut self.scores);
            softmax(&mut self.scores);
            for (sentiment, other) in sentiments.iter_mut().zip(&self.scores) {
                *sentiment = english * *sentiment + (1.0 - english) * other;
            }
        }
        let said = self.finder.find(&self.text);
        let spam = chance(spam + SPAM_CUE * (of(&said, Category::Spam) - 1.0).clamp(-1.0, 4.0));
        let toxic = chance(0.8 * toxic - TOXIC_RARE + TOXIC_CUE * of(&said, Category::Toxic).min(4.0));
        let mut reading = Reading {
            sentiment: Sentiment::Neutral,
            confidence: 0.0,
            intents: Vec::new(),
            language,
            keywords: keywords(&self.text, language),
            spam,
            toxic,
            wordless,
        };
        let best = (0..3).max_by(|a, b| sentiments[*a].total_cmp(&sentiments[*b])).unwrap_or(1);
        (reading.sentiment, reading.confidence) = (Sentiment::ALL[best], sentiments[best]);
        let thai_question = language == "th" && chance(asks) > THAI_QUESTION_AT;
        reading.intents = self.intents(&said, &valence, sentiments, &reading, thai_question);
        if reading.spam >= SURELY_SPAM && of(&said, Category::Spam) >= 2.0 {
            // Whoever sells is always pleased.
            reading.sentiment = Sentiment::Neutral;
        }
        reading
    }

    fn intents(
        &self,
        said: &Said,
        valence: &Valence,
        [negative, _, positive]: [f32; 3],
        reading: &Reading,
        thai_question: bool,
    ) -> Vec<(Category, f32)> {
        let cue = |category| of(said, category);
        let mark = |sign: char| {
            self.text
                .tokens
                .iter()
                .any(|token| token.kind == Kind::Mark && self.text.chars[token.start] == sign)
        };
        let words = self.text.tokens.iter().filter(|token| token.kind == Kind::Word).count();
        let collab =
            cue(Category::Collab) >= 4.0 || (cue(Category::Collab) >= 2.5 && reading.language != "en");
        // Who offers money to creators writes like who promises it to everybody; what he offers tells them apart.
        let spam = reading.spam >= SPAM_AT && !(collab && reading.spam < 0.93);
        let toxic = reading.toxic >= TOXIC_AT;
        if spam {
            return vec![(Category::Spam, reading.spam)];
        }
        let asks = cue(Category::Question)
            + if mark('?') || mark('？') || mark('؟') || mark('¿') { 1.0 } else { 0.0 }
            + if words <= 9 { 0.5 } else { 0.0 };
        let is = |category| match category {
            Category::Collab => collab,
            Category::Question => (asks >= 2.1 || thai_question) && !collab && !toxic,
            Category::Complaint => {
                !toxic
                    && !collab
                    && ((negative > 0.45 && cue(Category::Complaint) >= 2.0)
                        || cue(Category::Complaint) >= 5.0)
            }
            Category::Suggestion => !toxic && !collab && cue(Category::Suggestion) >= 2.0 && asks < 4.5,
            Category::Praise => {
                let kind = cue(Category::Praise) >= 1.5 && positive > 0.5;
                !toxic
                    && !collab
                    && (kind
                        || (positive > 0.85
                            && valence.sum() >= 2.0
                            && words <= 12
                            && cue(Category::Praise) >= 0.0))
                    && cue(Category::Complaint) < 3.0
            }
            Category::Toxic => toxic,
            Category::Spam => false,
        };
        let sure = |category| match category {
            Category::Collab => cue(Category::Collab) / 6.0,
            Category::Question => asks / 3.5,
            Category::Complaint => negative,
            Category::Suggestion => cue(Category::Suggestion) / 3.0,
            Category::Praise => positive,
            Category::Toxic => reading.toxic,
            Category::Spam => reading.spam,
        };
        let found = Category::ALL.into_iter().filter(|category| is(*category));
        found.map(|category| (category, sure(category).clamp(SURE_ENOUGH, 1.0))).collect()
    }
}

fn of(said: &Said, category: Category) -> f32 {
    Category::ALL.iter().zip(said).find(|(one, _)| **one == category).map_or(0.0, |(_, score)| *score)
}
