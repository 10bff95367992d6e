//! From what was found in a text to what its author wants.
//!
//! The thresholds were chosen by cross-validation, for precision where a mistake hides a comment (spam), accuses somebody
//! (toxic) or wakes the owner (collab).

use crate::cues::Said;
use crate::normalise::{Kind, Text};
use crate::reader::Category;

/// From which chance on a text is spam.
const SPAM_AT: f32 = 0.38;
/// From which chance on it is, though it speaks of business: who offers money to creators writes like who promises it to
/// everybody, and what he offers tells them apart.
const SPAM_OF_BUSINESS_AT: f32 = 0.93;
/// How much a cue of spam says beside the head.
const SPAM_CUE: f32 = 0.4;
/// How much it says against spam that somebody wishes for something or praises, and there is no such cue: the head takes any
/// plea for one of those that it learned from, which plead for clicks, and whoever has subscribed for who wants it of others.
const SPAM_WISH: f32 = 0.6;

/// From which chance on a text is toxic.
const TOXIC_AT: f32 = 0.45;
/// How much a cue of toxicity says beside the head.
const TOXIC_CUE: f32 = 0.9;
/// How far the head is believed.
const TOXIC_HEAD: f32 = 0.8;
/// What speaks against toxicity beforehand: there is less of it than where the head learned.
const TOXIC_RARE: f32 = 1.6;

/// From which chance on a text in Thai, which has no question mark, is a question. Few of those that the head learned from
/// are, so it is never sure.
const THAI_QUESTION_AT: f32 = 0.22;

/// What is said at all is at least this sure.
const SURE_ENOUGH: f32 = 0.6;

/// Returns the chance of spam, by its head and its cues.
pub(crate) fn spam_chance(score: f32, said: &Said) -> f32 {
    let cue = said.of(Category::Spam);
    let wishes = said.of(Category::Suggestion).max(said.of(Category::Praise) / 2.0);
    let wish = if cue > 0.0 { 0.0 } else { wishes.clamp(0.0, 3.0) };
    crate::maths::chance(score + SPAM_CUE * (cue - 1.0).clamp(-1.0, 4.0) - SPAM_WISH * wish)
}

/// Returns the chance of toxicity, for which it takes both.
pub(crate) fn toxic_chance(score: f32, said: &Said) -> f32 {
    crate::maths::chance(TOXIC_HEAD * score - TOXIC_RARE + TOXIC_CUE * said.of(Category::Toxic).min(4.0))
}

/// All that was found in a text.
pub(crate) struct Evidence<'a> {
    pub(crate) text: &'a Text,
    pub(crate) language: &'static str,
    /// What its words weigh together.
    pub(crate) valence: f32,
    /// Chances, as the heads give them.
    pub(crate) negative: f32,
    pub(crate) positive: f32,
    pub(crate) spam: f32,
    pub(crate) toxic: f32,
    /// That of a question, which only means something in Thai.
    pub(crate) asks: f32,
    pub(crate) said: Said,
}

impl Evidence<'_> {
    /// Returns what the author wants and how sure that is, the most pressing first.
    pub(crate) fn intents(&self) -> Vec<(Category, f32)> {
        let collab = self.is_business();
        if self.spam >= if collab { SPAM_OF_BUSINESS_AT } else { SPAM_AT } {
            return vec![(Category::Spam, self.spam)];
        }
        let (cue, asking) = (|category| self.said.of(category), self.asking());
        let toxic = self.toxic >= TOXIC_AT;
        let found: [(Category, bool, f32); 6] = [
            (Category::Collab, collab, cue(Category::Collab) / 6.0),
            (Category::Question, !toxic && !collab && self.is_question(asking), asking / 3.5),
            (Category::Complaint, !toxic && !collab && self.is_complaint(), self.negative),
            (
                Category::Suggestion,
                // Who asks as clearly as this does not wish for something.
                !toxic && !collab && cue(Category::Suggestion) >= 2.0 && asking < 4.5,
                cue(Category::Suggestion) / 3.0,
            ),
            (Category::Praise, !toxic && !collab && self.is_praise(), self.positive),
            (Category::Toxic, toxic, self.toxic),
        ];
        let found = found.into_iter().filter(|(_, is_it, _)| *is_it);
        found.map(|(category, _, sure)| (category, sure.clamp(SURE_ENOUGH, 1.0))).collect()
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

    fn is_question(&self, asking: f32) -> bool {
        // Words that ask are also those that say "whatever" there: the head knows, and phrases do not.
        if self.language == "th" { self.asks > THAI_QUESTION_AT } else { asking >= 2.1 }
    }

    /// In other languages than English there are fewer phrases to be found, and each says more.
    fn is_business(&self) -> bool {
        let cue = self.said.of(Category::Collab);
        cue >= if self.language == "en" { 4.0 } else { 2.5 }
    }

    fn is_complaint(&self) -> bool {
        let cue = self.said.of(Category::Complaint);
        (self.negative > 0.45 && cue >= 2.0) || cue >= 5.0
    }

    fn is_praise(&self) -> bool {
        let cue = self.said.of(Category::Praise);
        let outright = cue >= 1.5 && self.positive > 0.5;
        let short_and_glad = cue >= 0.0 && self.positive > 0.85 && self.valence >= 2.0 && self.words() <= 12;
        (outright || short_and_glad) && self.said.of(Category::Complaint) < 3.0
    }
}
