//! Phrases that tell what somebody wants, found in one pass.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use crate::normalise::{Kind, Text};
use crate::reader::Category;

const LIST: &str = include_str!("../data/cues.txt");

/// How much the phrases of a text say for each category.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Said([f32; Category::ALL.len()]);

impl Said {
    /// Returns what they say for this one.
    pub(crate) fn of(&self, category: Category) -> f32 {
        Category::ALL.iter().zip(self.0).find(|(one, _)| **one == category).map_or(0.0, |(_, score)| score)
    }
}

static CUES: LazyLock<Cues> = LazyLock::new(Cues::read);

struct Cues {
    phrases: Option<AhoCorasick>,
    /// The category and weight of each phrase.
    meanings: Vec<(usize, f32)>,
}

impl Cues {
    fn read() -> Self {
        let (mut phrases, mut meanings) = (Vec::new(), Vec::new());
        for line in LIST.lines().filter(|line| !line.starts_with('#')) {
            let Some((head, rest)) = line.split_once(": ") else { continue };
            let Some((name, weight)) = head.split_once(' ') else { continue };
            let category = Category::ALL.iter().position(|category| category.as_str() == name);
            let (Some(category), Ok(weight)) = (category, weight.parse()) else { continue };
            for phrase in rest.split(';').map(str::trim) {
                phrases.push(phrase.strip_prefix('~').map_or_else(|| format!(" {phrase} "), str::to_owned));
                meanings.push((category, weight));
            }
        }
        Self { phrases: AhoCorasick::new(phrases).ok(), meanings }
    }
}

/// Finds the cues of a text; its memory is used again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Finder {
    joined: String,
    seen: Vec<usize>,
}

impl Finder {
    /// Adds up the cues of a text, each phrase once.
    pub(crate) fn find(&mut self, text: &Text) -> Said {
        self.join(text);
        self.seen.clear();
        let mut said = Said::default();
        let Some(phrases) = &CUES.phrases else { return said };
        for found in phrases.find_overlapping_iter(&self.joined) {
            let phrase = found.pattern().as_usize();
            if !self.seen.contains(&phrase) {
                self.seen.push(phrase);
                let (category, weight) = CUES.meanings[phrase];
                said.0[category] += weight;
            }
        }
        said
    }

    /// Writes the text with one space between its tokens, and a stroke where a sentence begins or ends.
    fn join(&mut self, text: &Text) {
        self.joined.clear();
        self.joined.push_str(" | ");
        for token in &text.tokens {
            match token.kind {
                Kind::Url | Kind::Email => self.joined.push_str("<url>"),
                Kind::Number | Kind::Time => self.joined.push('0'),
                Kind::Mention => self.joined.push('@'),
                _ => self.joined.extend(text.letters(token)),
            }
            self.joined.push(' ');
            if token.kind == Kind::Mark
                && matches!(
                    text.chars[token.start],
                    '.' | '!' | '?' | ';' | '…' | '。' | '？' | '！' | '¿' | '¡'
                )
            {
                self.joined.push_str("| ");
            }
        }
        self.joined.push_str("| ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_list_is_understood() {
        let lines = LIST.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        for line in lines {
            let (head, rest) = line.split_once(": ").unwrap();
            let (name, weight) = head.split_once(' ').unwrap();
            assert!(Category::ALL.iter().any(|category| category.as_str() == name), "{head}");
            weight.parse::<f32>().unwrap();
            assert!(rest.split(';').all(|phrase| !phrase.trim().is_empty()), "{head}");
        }
        assert!(CUES.phrases.is_some());
    }
}
