//! Which language a text is in: by its script where that is enough, else by a linear head over runs of letters.

use crate::features::runs_of;
use crate::linear::{Counted, Table, count};
use crate::maths::softmax;
use crate::normalise::{Kind, Text};
use crate::script::{self, Script};

/// The languages that the head tells apart, in the order of its outputs.
pub(crate) const TONGUES: [&str; 36] = [
    "ar", "bg", "bn", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi", "hr", "hu", "id",
    "it", "ja", "ko", "nl", "no", "pl", "pt", "ro", "ru", "sr", "sv", "ta", "te", "th", "tr", "uk", "ur",
    "vi", "zh",
];
/// What cannot be told.
pub(crate) const UNKNOWN: &str = "und";
/// Hindi as it is typed on phones.
const ROMAN_HINDI: &str = "hi-Latn";
/// Below this chance nothing is said: fewer letters than a word, or none of a language's.
const FLOOR: f32 = 0.12;

/// Words that are frequent in romanised Hindi and Urdu, and in no language that is written in Latin letters.
const HINDI_WORDS: [&str; 64] = [
    "hai", "hain", "hoon", "hun", "nahi", "nahin", "kya", "kyu", "kyun", "kyunki", "kaise", "kaisa", "kaun",
    "kaunsa", "kahan", "kab", "kitna", "kitne", "yeh", "woh", "bhai", "bhaiya", "yaar", "mera", "meri",
    "mere", "tera", "teri", "tere", "hum", "humko", "mujhe", "tumhara", "aap", "aapka", "aapke", "aapki",
    "apka", "apke", "bahut", "bohot", "bhot", "acha", "accha", "achha", "karo", "karna", "karta", "karte",
    "raha", "rahe", "rahi", "gaya", "gayi", "wala", "wale", "liye", "aur", "matlab", "chahiye", "chahte",
    "sath", "saath", "koi",
];

/// Collects what the head sees.
pub(crate) fn collect(text: &Text, features: &mut Vec<u32>) {
    features.clear();
    for token in text.tokens.iter().filter(|token| matches!(token.kind, Kind::Word | Kind::Hashtag)) {
        runs_of(text.letters(token), 1..=4, features);
    }
}

/// Tells languages apart; its memory is used again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Teller {
    features: Vec<u32>,
    counted: Vec<Counted>,
    scores: Vec<f32>,
    /// The chance that the text told last is English.
    pub(crate) english: f32,
}

impl Teller {
    /// Returns the language of a text.
    pub(crate) fn tell(&mut self, text: &Text, head: &Table) -> &'static str {
        self.english = 0.0;
        let words = || text.tokens.iter().filter(|token| token.kind == Kind::Word);
        let letters: Vec<char> = words().flat_map(|token| text.letters(token).iter().copied()).collect();
        let Some(script) = script::main(&letters) else { return UNKNOWN };
        if let Script::Of(tongue) = script {
            return tongue;
        }
        if script == Script::Latin {
            let is_hindi =
                |letters: &[char]| HINDI_WORDS.iter().any(|word| letters.iter().copied().eq(word.chars()));
            let (hindi, all) =
                (words().filter(|token| is_hindi(text.letters(token))).count(), words().count());
            if hindi >= 2 && hindi * 4 >= all {
                return ROMAN_HINDI;
            }
        }
        collect(text, &mut self.features);
        count(&mut [(&mut self.features, 1.0)], &mut self.counted);
        head.score(&self.counted, &mut self.scores);
        for (tongue, score) in TONGUES.iter().zip(&mut self.scores) {
            if !is_written_in(tongue, script) {
                *score = -60.0;
            }
        }
        softmax(&mut self.scores);
        self.english = TONGUES
            .iter()
            .zip(&self.scores)
            .find(|(tongue, _)| **tongue == "en")
            .map_or(0.0, |(_, chance)| *chance);
        let best =
            (0..TONGUES.len()).max_by(|a, b| self.scores[*a].total_cmp(&self.scores[*b])).unwrap_or_default();
        if self.scores[best] < FLOOR { UNKNOWN } else { TONGUES[best] }
    }
}

fn is_written_in(tongue: &str, script: Script) -> bool {
    match script {
        Script::Cyrillic => matches!(tongue, "ru" | "uk" | "bg" | "sr"),
        Script::Arabic => matches!(tongue, "ar" | "fa" | "ur"),
        Script::Han => matches!(tongue, "zh" | "ja"),
        Script::Latin => !matches!(
            tongue,
            "ru" | "uk"
                | "bg"
                | "ar"
                | "fa"
                | "ur"
                | "zh"
                | "ja"
                | "bn"
                | "el"
                | "he"
                | "hi"
                | "ko"
                | "ta"
                | "te"
                | "th"
        ),
        Script::Of(_) => false,
    }
}
