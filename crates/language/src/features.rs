//! Hashed features: what a linear head sees of a text.
//!
//! Words, pairs of words, words under a negation, and the letters of each word in runs of two to five. A feature is a
//! number of 32 bits; heads take as many of them as their table is large. The function is part of the weights: change it
//! and they mean nothing, which golden values in the tests watch over.

use std::ops::RangeInclusive;

use crate::lexicon::{Valence, is_negation};
use crate::linear::{Counted, count};
use crate::normalise::{Kind, Text, Token};

const WORD: u32 = 0x9e37_79b1;
const PAIR: u32 = 0x85eb_ca6b;
const NEGATED: u32 = 0xc2b2_ae35;
const LETTERS: u32 = 0x27d4_eb2f;
const CLASS: u32 = 0x1656_67b1;
const CUE: u32 = 0x2c1b_3c6d;

/// How many words a negation reaches.
const REACH: usize = 4;
/// The shortest and the longest run of letters.
const RUNS: RangeInclusive<usize> = 2..=5;

/// The features of one text, in groups that are weighed apart: there are many more runs of letters than words.
#[derive(Clone, Debug, Default)]
pub(crate) struct Features {
    /// Words, pairs, negated words and classes.
    pub(crate) words: Vec<u32>,
    /// Runs of letters.
    pub(crate) letters: Vec<u32>,
    /// What the lexicon and the shape of the text say.
    pub(crate) cues: Vec<u32>,
}

/// What words, runs of letters and cues count for together, where a text is English.
pub(crate) const ENGLISH_SHARES: [f32; 3] = [0.45, 0.3, 0.25];
/// The same in other languages, whose words are met more rarely.
pub(crate) const OTHER_SHARES: [f32; 3] = [0.35, 0.35, 0.3];

impl Features {
    /// Collects the features of a text, into the same memory.
    pub(crate) fn collect(&mut self, text: &Text) {
        self.words.clear();
        self.letters.clear();
        self.cues.clear();
        let mut before = mix(PAIR, 1);
        let mut negated = 0;
        for token in &text.tokens {
            let letters = text.letters(token);
            let word = match token.kind {
                Kind::Url => finish(mix(CLASS, 1)),
                Kind::Email => finish(mix(CLASS, 2)),
                Kind::Mention => finish(mix(CLASS, 3)),
                Kind::Number => finish(mix(CLASS, 4)),
                Kind::Time => finish(mix(CLASS, 5)),
                Kind::Hashtag => {
                    self.words.push(finish(mix(CLASS, 6)));
                    word(letters)
                }
                Kind::Word | Kind::Emoji | Kind::Mark => word(letters),
            };
            self.words.push(word);
            self.words.push(pair(before, word));
            before = word;
            if token.shouted {
                self.words.push(finish(mix(CLASS, 7)));
            }
            if token.lengthened {
                self.words.push(finish(mix(CLASS, 8)));
                self.words.push(finish(mix(word, CLASS)));
            }
            match token.kind {
                Kind::Word if is_negation(letters) => negated = REACH,
                Kind::Word if negated > 0 => {
                    self.words.push(finish(mix(word, NEGATED)));
                    negated -= 1;
                }
                Kind::Mark => negated = 0,
                _ => {}
            }
            if matches!(token.kind, Kind::Word | Kind::Hashtag | Kind::Mention) {
                runs_of(letters, RUNS, &mut self.letters);
            }
        }
        self.words.push(pair(before, 2));
        self.cues(text);
    }

    /// Counts them all, each group by its share.
    pub(crate) fn count(&mut self, [words, letters, cues]: [f32; 3], into: &mut Vec<Counted>) {
        let lists = &mut [(&mut self.words, words), (&mut self.letters, letters), (&mut self.cues, cues)];
        count(lists, into);
    }

    /// Adds the language as one more cue, for a head that reads many.
    pub(crate) fn add_tongue(&mut self, tongue: &str) {
        self.cues.push(named(tongue));
    }

    /// Adds what the lexicon and the shape of the text say, in steps.
    fn cues(&mut self, text: &Text) {
        let valence = Valence::of(text);
        let count = |mark: char| {
            let is_it = |token: &&Token| token.kind == Kind::Mark && text.chars[token.start] == mark;
            text.tokens.iter().filter(is_it).count()
        };
        let of = |kind: Kind| text.tokens.iter().filter(|token| token.kind == kind).count();
        let words = of(Kind::Word);
        let shouted = text.tokens.iter().filter(|token| token.shouted).count();
        let sum = valence.sum();
        let measures: [(u32, usize); 14] = [
            (1, step(sum, &[-6.0, -4.0, -2.5, -1.5, -0.7, -0.2, 0.2, 0.7, 1.5, 2.5, 4.0, 6.0])),
            (2, step(valence.good, &[0.1, 1.1, 2.1, 3.1, 5.0, 8.0])),
            (3, step(valence.bad, &[0.1, 1.1, 2.1, 3.1, 5.0, 8.0])),
            (4, step(valence.pictures, &[-2.5, -1.0, -0.1, 0.1, 1.0, 2.5])),
            (5, usize::from(valence.divided)),
            (6, count('!').min(3)),
            (7, count('?').min(3)),
            (8, count('…').min(2)),
            (9, (words + 1).ilog2() as usize),
            (10, if words == 0 { 0 } else { 1 + 4 * shouted / words.max(1) }),
            (11, of(Kind::Emoji).min(4)),
            (12, of(Kind::Mention).min(2)),
            (13, of(Kind::Url).min(2)),
            (14, of(Kind::Hashtag).min(3)),
        ];
        for (measure, value) in measures {
            let value = u32::try_from(value).unwrap_or(u32::MAX);
            self.cues.push(finish(mix(mix(CUE, measure), value)));
        }
    }
}

/// Adds the runs of a word's letters, its ends marked.
pub(crate) fn runs_of(letters: &[char], lengths: RangeInclusive<usize>, into: &mut Vec<u32>) {
    let at = |index: usize| if index == 0 || index > letters.len() { ' ' } else { letters[index - 1] };
    let length = letters.len() + 2;
    for start in 0..length {
        let mut run = LETTERS;
        for end in start..length.min(start + lengths.end()) {
            run = mix(run, at(end) as u32);
            if end + 1 - start >= *lengths.start() {
                into.push(finish(run));
            }
        }
    }
}

/// Returns how many of these steps a value has climbed.
fn step(value: f32, steps: &[f32]) -> usize {
    steps.iter().filter(|step| value >= **step).count()
}

const fn mix(hash: u32, value: u32) -> u32 {
    (hash ^ value).wrapping_mul(0x0100_0193).rotate_left(13).wrapping_add(0x9e37_79b9)
}

/// Spreads a hash over all its bits, since tables take the low ones.
pub(crate) const fn finish(hash: u32) -> u32 {
    let hash = (hash ^ (hash >> 16)).wrapping_mul(0x7feb_352d);
    let hash = (hash ^ (hash >> 15)).wrapping_mul(0x846c_a68b);
    hash ^ (hash >> 16)
}

const fn pair(before: u32, word: u32) -> u32 {
    finish(mix(mix(PAIR, before), word))
}

/// Returns the feature of a word.
pub(crate) fn word(letters: &[char]) -> u32 {
    hash(WORD, letters)
}

/// Returns the feature of a word of this language: a stop word of one is what another talks about.
pub(crate) fn word_of(tongue: &str, letters: &[char]) -> u32 {
    finish(mix(word(letters), named(tongue)))
}

/// Returns the feature of a language.
fn named(tongue: &str) -> u32 {
    tongue.bytes().fold(finish(mix(CUE, 99)), |hash, byte| finish(mix(hash, byte.into())))
}

fn hash(seed: u32, letters: &[char]) -> u32 {
    finish(letters.iter().fold(seed, |hash, letter| mix(hash, *letter as u32)))
}
