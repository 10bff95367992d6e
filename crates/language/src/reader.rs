//! A text in, what it says out: all heads over one pass of features, and rules on top.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cues::Finder;
use crate::evidence::{Evidence, spam_chance, toxic_chance};
use crate::features::{ENGLISH_SHARES, Features, OTHER_SHARES};
use crate::keywords::keywords;
use crate::lexicon::Valence;
use crate::linear::{Counted, NoWeights, Weights};
use crate::maths::{chance, exp, softmax};
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

/// What people want as a head tells it, in the order of its outputs.
pub(crate) const LEARNED: [Category; 5] =
    [Category::Collab, Category::Question, Category::Complaint, Category::Suggestion, Category::Praise];

/// English sentiment (negative, neutral, positive), spam, toxic, a question in Thai, and what people want.
pub(crate) const SENSE: Place = Place { at: 0, bits: 18 };
/// Sentiment in any language.
pub(crate) const MULTI: Place = Place { at: 1, bits: 18 };
/// The language.
pub(crate) const TONGUE: Place = Place { at: 2, bits: 16 };
/// How common a word is in its language: twice the logarithm, by two, of the texts that have it among 8,192; 0 where it is rare.
pub(crate) const COMMON: Place = Place { at: 3, bits: 18 };

/// From which chance on a text is read as English only.
const SURELY_ENGLISH: f32 = 0.5;

/// From which chance on, and with cues, its joy is not believed.
const SURELY_SPAM: f32 = 0.9;

/// From which score of a want on it says something of the mood, and up to which more of it says more.
const SAYS_MOOD: (f32, f32) = (-0.7, 2.3);
/// How much what is wanted says of the mood beside the heads of sentiment: of calm (questions, wishes, business), and of joy
/// and anger (praise, complaints). Outside English the heads have hardly seen comments, and hardly anybody who is calm.
const MOOD_OF_WANTS_ENGLISH: (f32, f32) = (1.5, 1.3);
/// The same in other languages.
const MOOD_OF_WANTS_OTHER: (f32, f32) = (0.5, 2.0);

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

    /// Returns the sentiment of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }
}

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

    /// Returns the category of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
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

/// What the heads say somebody wants: as likely as not at 0, and few say more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wants([f32; LEARNED.len()]);

impl Wants {
    /// Returns what they say for this one.
    pub(crate) fn of(&self, category: Category) -> f32 {
        LEARNED.iter().zip(self.0).find(|(one, _)| **one == category).map_or(f32::MIN, |(_, score)| score)
    }
}

/// Moves the chances of negative, neutral and positive by what somebody wants.
fn move_mood(sentiments: &mut [f32; 3], wants: &Wants, english: f32) {
    let (calm, mood) = if english < SURELY_ENGLISH { MOOD_OF_WANTS_OTHER } else { MOOD_OF_WANTS_ENGLISH };
    let says = |category| (wants.of(category) - SAYS_MOOD.0).clamp(0.0, SAYS_MOOD.1 - SAYS_MOOD.0);
    let asks = says(Category::Question).max(says(Category::Suggestion)).max(says(Category::Collab));
    let by = [mood * says(Category::Complaint), calm * asks, mood * says(Category::Praise)];
    for (sentiment, by) in sentiments.iter_mut().zip(by) {
        *sentiment *= exp(by);
    }
    let sum: f32 = sentiments.iter().sum();
    for sentiment in sentiments {
        *sentiment /= sum;
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
        self.features.count(ENGLISH_SHARES, &mut self.counted);
        self.weights.tables[SENSE.at].score(&self.counted, &mut self.scores);
        let mut sentiments = [self.scores[0], self.scores[1], self.scores[2]];
        let (spam, toxic, asks) = (self.scores[3], self.scores[4], self.scores[5]);
        let wants = Wants(std::array::from_fn(|at| self.scores[6 + at]));
        softmax(&mut sentiments);
        let english = if matches!(language, "hi-Latn" | UNKNOWN) { 1.0 } else { self.teller.english };
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
            self.features.add_tongue(language);
            self.features.count(OTHER_SHARES, &mut self.counted);
            self.weights.tables[MULTI.at].score(&self.counted, &mut self.scores);
            softmax(&mut self.scores);
            for (sentiment, other) in sentiments.iter_mut().zip(&self.scores) {
                *sentiment = english * *sentiment + (1.0 - english) * other;
            }
        }
        if !wordless {
            move_mood(&mut sentiments, &wants, english);
        }
        let said = self.finder.find(&self.text);
        let evidence = Evidence {
            text: &self.text,
            language,
            negative: sentiments[0],
            positive: sentiments[2],
            spam: spam_chance(spam, &said),
            toxic: toxic_chance(toxic, &said, sentiments[2] - sentiments[0]),
            asks: chance(asks),
            wants,
            said,
        };
        let best = (0..3).max_by(|a, b| sentiments[*a].total_cmp(&sentiments[*b])).unwrap_or(1);
        let joy_is_spam = evidence.spam >= SURELY_SPAM && evidence.said.of(Category::Spam) >= 2.0;
        Reading {
            // Whoever sells is always pleased.
            sentiment: if joy_is_spam { Sentiment::Neutral } else { Sentiment::ALL[best] },
            confidence: sentiments[best],
            intents: evidence.intents(),
            language,
            keywords: keywords(&self.text, language, &self.weights.tables[COMMON.at]),
            spam: evidence.spam,
            toxic: evidence.toxic,
            wordless,
        }
    }
}
