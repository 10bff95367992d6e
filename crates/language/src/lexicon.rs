//! Words that mean the same wherever they stand: valences, negations, what makes weaker or stronger.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::normalise::{Kind, Text};

const VADER: &str = include_str!("../data/vader.txt");
/// What that one does not have.
const VALENCE: &str = include_str!("../data/valence.txt");
const EMOJI: &str = include_str!("../data/emoji.txt");

/// How far back a negation or an intensifier is looked for.
const REACH: usize = 3;
/// What a negation leaves of a valence, turned over: "not great" is less bad than "bad".
const TURNED: f32 = -0.7;

static WORDS: LazyLock<HashMap<Vec<char>, f32>> = LazyLock::new(|| read(&[VADER, VALENCE]));
static PICTURES: LazyLock<HashMap<Vec<char>, f32>> = LazyLock::new(|| read(&[EMOJI]));

fn read(lists: &[&str]) -> HashMap<Vec<char>, f32> {
    let mut words = HashMap::new();
    for line in lists.iter().flat_map(|list| list.lines()).filter(|line| !line.starts_with('#')) {
        let mut parts = line.split_whitespace();
        let Some(valence) = parts.next().and_then(|valence| valence.parse().ok()) else { continue };
        for word in parts {
            // The first line that has a word decides.
            words
                .entry(word.chars().filter(|c| !crate::normalise::is_invisible(*c)).collect())
                .or_insert(valence);
        }
    }
    words
}

/// Returns the valence of an English word, if it has one.
pub(crate) fn valence_of(word: &str) -> Option<f32> {
    WORDS.get(word.chars().collect::<Vec<char>>().as_slice()).copied()
}

/// What the words of a text weigh together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Valence {
    /// The sum of what is good in it.
    pub(crate) good: f32,
    /// The sum of what is bad in it, not below zero.
    pub(crate) bad: f32,
    /// That of its emoji alone.
    pub(crate) pictures: f32,
    /// Whether a "but" divides it; what follows weighs more.
    pub(crate) divided: bool,
}

impl Valence {
    /// Weighs a text.
    pub(crate) fn of(text: &Text) -> Self {
        let mut all = Self::default();
        let mut last: [&[char]; REACH] = [&[]; REACH];
        for token in &text.tokens {
            let letters = text.letters(token);
            match token.kind {
                Kind::Emoji => {
                    let valence = PICTURES.get(&letters[..1]).copied().unwrap_or_default();
                    let valence = if token.lengthened { valence * 1.5 } else { valence };
                    all.pictures += valence;
                }
                Kind::Mark => {
                    if matches!(letters[0], '.' | '!' | '?' | ';') {
                        last = [&[]; REACH];
                    }
                }
                Kind::Word => {
                    if letters.iter().copied().eq("but".chars()) {
                        all.good *= 0.5;
                        all.bad *= 0.5;
                        all.divided = true;
                    }
                    if let Some(valence) = WORDS.get(letters) {
                        let mut valence = *valence;
                        for (distance, before) in last.iter().rev().enumerate() {
                            valence *= strength(before, distance);
                            if is_negation(before) {
                                valence *= TURNED;
                            }
                        }
                        if token.shouted || token.lengthened {
                            valence *= 1.2;
                        }
                        if valence > 0.0 { all.good += valence } else { all.bad -= valence }
                    }
                    last.rotate_left(1);
                    last[REACH - 1] = letters;
                }
                _ => {}
            }
        }
        all
    }

    /// Returns what remains of good and bad, pictures included.
    pub(crate) const fn sum(&self) -> f32 {
        self.good - self.bad + self.pictures
    }
}

fn strength(word: &[char], distance: usize) -> f32 {
    let is_one_of = |list: &[&str]| list.iter().any(|one| word.iter().copied().eq(one.chars()));
    let by = match distance {
        0 => 0.3,
        1 => 0.2,
        _ => 0.1,
    };
    if is_one_of(&STRONGER) {
        1.0 + by
    } else if is_one_of(&WEAKER) {
        1.0 - by
    } else {
        1.0
    }
}

/// Returns whether a word turns what follows into its opposite.
pub(crate) fn is_negation(letters: &[char]) -> bool {
    if letters.len() > 3 && letters.ends_with(&['n', '\'', 't']) {
        return true;
    }
    NEGATIONS.iter().any(|word| letters.iter().copied().eq(word.chars()))
}

const NEGATIONS: [&str; 24] = [
    "not", "no", "never", "none", "nobody", "nothing", "without", "cannot", "cant", "dont", "doesnt",
    "didnt", "isnt", "wasnt", "wont", "aint", "hardly", "barely", "neither", "nor", "wouldnt", "couldnt",
    "shouldnt", "havent",
];
const STRONGER: [&str; 22] = [
    "very",
    "really",
    "so",
    "extremely",
    "absolutely",
    "totally",
    "completely",
    "incredibly",
    "super",
    "too",
    "most",
    "truly",
    "such",
    "damn",
    "fucking",
    "freaking",
    "utterly",
    "deeply",
    "highly",
    "especially",
    "insanely",
    "sooo",
];
const WEAKER: [&str; 10] =
    ["kinda", "sorta", "somewhat", "slightly", "little", "almost", "partly", "fairly", "rather", "less"];
