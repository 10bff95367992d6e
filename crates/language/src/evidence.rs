//! From what was found in a text to what its author wants.
//!
//! The thresholds were chosen by cross-validation, for precision where a mistake hides a comment (spam), accuses somebody
//! (toxic) or wakes the owner (collab); how phrases are weighed beside the heads, by `texts/seen.tsv` and the labelled intents.

use crate::cues::Said;
use crate::maths::chance;
use crate::normalise::{Kind, Text};
use crate::reader::{Category, Wants};

/// From which chance on a text is spam.
const SPAM_AT: f32 = 0.35;
/// From which chance on it is, though it speaks of business: who offers money to creators writes like who promises it to
/// everybody, and what he offers tells them apart.
const SPAM_OF_BUSINESS_AT: f32 = 0.93;
/// How much a cue of spam says beside the head.
const SPAM_CUE: f32 = 0.5;
/// How much it says against spam that somebody wishes for something or praises, and there is no such cue: the head takes any
/// plea for one of those that it learned from, which plead for clicks, and whoever has subscribed for who wants it of others.
const SPAM_WISH: f32 = 0.3;

/// From which chance on a text is toxic.
const TOXIC_AT: f32 = 0.28;
/// How much a cue of toxicity says beside the head.
const TOXIC_CUE: f32 = 0.9;
/// How far the head is believed.
const TOXIC_HEAD: f32 = 0.8;
/// What speaks against toxicity beforehand: there is less of it than where the head learned.
const TOXIC_RARE: f32 = 0.9;

/// How much it says against toxicity that its author is pleased.
const TOXIC_GLAD: f32 = 2.5;

/// From which chance on a text in Thai, which has no question mark, is a question. Few of those that the head learned from
/// are, so it is never sure.
const THAI_QUESTION_AT: f32 = 0.22;

/// How phrases and mood are weighed beside the head of a want. The head has learned from few comments but knows many ways to
/// say a thing; phrases are sure of what they know.
struct Mix {
    cue: f32,
    mood: f32,
    /// From which sum on it is wanted.
    at: f32,
}

const COLLAB: Mix = Mix { cue: 0.3, mood: 0.0, at: -1.4 };
const QUESTION: Mix = Mix { cue: 0.6, mood: 0.0, at: -0.75 };
const COMPLAINT: Mix = Mix { cue: 0.7, mood: 0.6, at: -0.45 };
const SUGGESTION: Mix = Mix { cue: 0.8, mood: 0.0, at: -0.55 };
const PRAISE: Mix = Mix { cue: 0.6, mood: 1.0, at: -0.4 };

/// Phrases beyond these say no more.
const MOST_CUE: f32 = 4.0;

/// What is said at all is at least this sure.
const SURE_ENOUGH: f32 = 0.6;

/// Returns the chance of spam, by its head and its cues.
pub(crate) fn spam_chance(score: f32, said: &Said) -> f32 {
    let cue = said.of(Category::Spam);
    let wishes = said.of(Category::Suggestion).max(said.of(Category::Praise) / 2.0);
    let wish = if cue > 0.0 { 0.0 } else { wishes.clamp(0.0, 3.0) };
    chance(score + SPAM_CUE * (cue - 1.0).clamp(-1.0, 4.0) - SPAM_WISH * wish)
}

/// Returns the chance of toxicity, by its head and its cues, and by how much more pleased than displeased its author is.
pub(crate) fn toxic_chance(score: f32, said: &Said, glad: f32) -> f32 {
    let cue = said.of(Category::Toxic).min(4.0);
    chance(TOXIC_HEAD * score - TOXIC_RARE + TOXIC_CUE * cue - TOXIC_GLAD * glad.max(0.0))
}

/// All that was found in a text.
pub(crate) struct Evidence<'a> {
    pub(crate) text: &'a Text,
    pub(crate) language: &'static str,
    /// Chances, as the heads give them.
    pub(crate) negative: f32,
    pub(crate) positive: f32,
    pub(crate) spam: f32,
    pub(crate) toxic: f32,
    /// That of a question, which only means something in Thai.
    pub(crate) asks: f32,
    pub(crate) wants: Wants,
    pub(crate) said: Said,
}

impl Evidence<'_> {
    /// Returns what the author wants and how sure that is, the most pressing first.
    pub(crate) fn intents(&self) -> Vec<(Category, f32)> {
        let collab = self.score(Category::Collab, &COLLAB);
        if self.spam >= if collab > 0.0 { SPAM_OF_BUSINESS_AT } else { SPAM_AT } {
            return vec![(Category::Spam, self.spam)];
        }
        let toxic = self.toxic >= TOXIC_AT;
        let others = if toxic || collab > 0.0 { f32::MIN } else { 0.0 };
        let found: [(Category, f32); 5] = [
            (Category::Collab, collab),
            (Category::Question, others + self.question()),
            (Category::Complaint, others + self.score(Category::Complaint, &COMPLAINT)),
            (Category::Suggestion, others + self.score(Category::Suggestion, &SUGGESTION)),
            (Category::Praise, others + self.score(Category::Praise, &PRAISE)),
        ];
        let wanted = found.into_iter().filter(|(_, score)| *score > 0.0);
        wanted
            .map(|(category, score)| (category, chance(2.0 * score).clamp(SURE_ENOUGH, 1.0)))
            .chain(toxic.then_some((Category::Toxic, self.toxic.clamp(SURE_ENOUGH, 1.0))))
            .collect()
    }

    /// Returns by how much somebody wants this; at zero it is as likely as not.
    fn score(&self, category: Category, mix: &Mix) -> f32 {
        let cue = self.said.of(category).clamp(-MOST_CUE, MOST_CUE);
        let mood = match category {
            Category::Complaint => self.negative - self.positive,
            _ => self.positive - self.negative,
        };
        self.wants.of(category) + mix.cue * cue + mix.mood * mood - mix.at
    }

    fn words(&self) -> usize {
        self.text.tokens.iter().filter(|token| token.kind == Kind::Word).count()
    }

    fn has_mark(&self, marks: &[char]) -> bool {
        let is_one = |kind: Kind, at: usize| kind == Kind::Mark && marks.contains(&self.text.chars[at]);
        self.text.tokens.iter().any(|token| is_one(token.kind, token.start))
    }

    /// Returns how much it sounds like a question; short ones are asked without a mark.
    fn asking(&self) -> f32 {
        self.said.of(Category::Question)
            + if self.has_mark(&['?', '？', '؟', '¿']) { 1.0 } else { 0.0 }
            + if self.words() <= 9 { 0.5 } else { 0.0 }
    }

    fn question(&self) -> f32 {
        // Words that ask are also those that say "whatever" there: its own head knows, and phrases do not.
        if self.language == "th" {
            return if self.asks > THAI_QUESTION_AT { self.asks } else { f32::MIN };
        }
        self.wants.of(Category::Question) + QUESTION.cue * (self.asking() - 1.0) - QUESTION.at
    }
}
