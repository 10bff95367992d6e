//! What a text is about: its rarest and longest words, without those that every text has.
//!
//! How rare a word is was counted in the texts that the heads learned from, in each language by itself, so that stop
//! words are known as such also where nobody has listed them.

use std::collections::HashSet;
use std::sync::LazyLock;

use crate::features;
use crate::lexicon;
use crate::linear::Table;
use crate::normalise::{Kind, Text};

/// How many words are told.
const MOST: usize = 5;
/// Longer words are cut off, since they are none.
const LONGEST: usize = 40;

/// From this commonness on, of one text in thirty, it is a stop word, also where there is no list.
const STOPS: i8 = 16;
/// What commonness counts against length.
const RARITY: f32 = 0.2;

/// From which valence on a word is an opinion.
const OPINION: f32 = 1.5;

const STOP: &str = include_str!("../data/stopwords.txt");

/// Returns up to five words of a text, the most telling first, in lower case and each once.
pub(crate) fn keywords(text: &Text, language: &str, common: &Table) -> Vec<String> {
    let mut found: Vec<(String, f32)> = Vec::new();
    let spaced = !matches!(language, "zh" | "ja" | "th" | "lo" | "km" | "my");
    let english = language == "en";
    for (place, token) in text.tokens.iter().enumerate() {
        if !matches!(token.kind, Kind::Word | Kind::Hashtag) {
            continue;
        }
        let letters = text.letters(token);
        let word: String = letters.iter().collect();
        let word = word.trim_end_matches("'s").to_owned();
        let long = word.chars().count();
        if long < if spaced { 3 } else { 1 } || long > LONGEST || is_stop_word(&word) {
            continue;
        }
        // "it'd" is no more than "it"; elsewhere what follows the apostrophe is the word.
        if english && word.split_once('\'').is_some_and(|(stem, _)| is_stop_word(stem)) {
            continue;
        }
        if token.lengthened {
            // "soo" is a stop word as well.
            let mut short: Vec<char> = letters.to_vec();
            short.dedup();
            if is_stop_word(&short.into_iter().collect::<String>()) {
                continue;
            }
        }
        let commonness = common.byte(features::word_of(language, letters));
        if commonness >= STOPS {
            continue;
        }
        #[expect(clippy::cast_precision_loss, reason = "places in a comment")]
        let score = (long.min(12) as f32).sqrt() - RARITY * f32::from(commonness)
            + if token.kind == Kind::Hashtag { 1.0 } else { 0.0 }
            - 0.02 * place as f32;
        match found.iter_mut().find(|(known, _)| *known == word) {
            Some((_, known)) => *known += 1.0,
            None => found.push((word, score)),
        }
    }
    if english && found.iter().any(|(word, _)| !is_opinion(word)) {
        found.retain(|(word, _)| !is_opinion(word));
    }
    // Stable, so that of equals the earlier one stays first.
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    found.truncate(MOST);
    found.into_iter().map(|(word, _)| word).collect()
}

/// Words that weigh as good or bad, and yet are what a comment is about.
const NOT_OPINIONS: [&str; 28] = [
    "refund",
    "refunds",
    "champion",
    "champions",
    "gift",
    "gifts",
    "party",
    "parties",
    "friend",
    "friends",
    "support",
    "scam",
    "scams",
    "quality",
    "war",
    "crime",
    "fight",
    "accident",
    "disease",
    "cancer",
    "pain",
    "anxiety",
    "depression",
    "stress",
    "delay",
    "damage",
    "bug",
    "bugs",
];

/// Returns whether a word says how good something is, and not what.
fn is_opinion(word: &str) -> bool {
    !NOT_OPINIONS.contains(&word) && lexicon::valence_of(word).is_some_and(|valence| valence.abs() >= OPINION)
}

fn is_stop_word(word: &str) -> bool {
    static WORDS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
        STOP.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace).collect()
    });
    WORDS.contains(word)
}
