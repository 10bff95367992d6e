//! How urgent a comment is, from 1 to 100: a sum of terms that people can read.
//!
//! It takes what was read in the text and what is known of it otherwise, no call and no credit, so it is computed again
//! whenever a fact changes. Age is left out: the inbox adds it when it orders, and nothing is rewritten daily.

use greenroom_language::{Category, Sentiment};
use serde::Serialize;

use crate::Labels;

/// The version of the formula; raise it with every change, so that old scores are known as such.
pub const FORMULA_VERSION: u32 = 2;

/// From which score on a comment is urgent.
pub const URGENT: u8 = 70;
/// From which score on a comment is important, if it is not urgent.
pub const IMPORTANT: u8 = 45;
/// Below which score a comment can wait.
pub const LOW: u8 = 20;

/// What is known of a comment beside its text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Likes it has.
    pub likes: u32,
    /// Answers it has.
    pub replies: u32,
    /// Whether it is an answer to another comment.
    pub is_reply: bool,
    /// Whether that other one is the owner's.
    pub answers_owner: bool,
    /// Subscribers or followers of its author, where the platform tells.
    pub author_followers: Option<u32>,
    /// Whether its author is on a list of the owner's.
    pub is_vip: bool,
    /// Whether its author has written three times or more in 90 days.
    pub is_returning: bool,
    /// Whether the owner has answered it.
    pub owner_replied: bool,
    /// Whether the owner has given it a heart.
    pub owner_hearted: bool,
    /// Whether it is the owner's own.
    pub is_owners: bool,
    /// Whether it is hidden.
    pub is_hidden: bool,
    /// Whether somebody else wrote it under the name of the account.
    pub is_imitation: bool,
}

/// A score with the terms it is the sum of, in hundredths of a point.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Priority {
    /// From 1 to 100.
    pub score: u8,
    /// By which formula.
    pub formula_version: u32,
    /// What every comment has.
    pub base: f64,
    /// What its author wants.
    pub intent: f64,
    /// How many people its author reaches.
    pub reach: f64,
    /// How many people like it.
    pub likes: f64,
    /// Where it stands in its thread.
    pub thread: f64,
    /// Whether its author is displeased.
    pub sentiment: f64,
    /// What the owner has done with it.
    pub state: f64,
    /// Why the score is less than the sum of these, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// Whether a person should look at it as a moderator.
    pub needs_moderation: bool,
}

/// Why a score is held down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// It is the owner's own, or hidden.
    Settled,
    /// It is spam.
    Spam,
    /// It may be spam.
    SuspectedSpam,
    /// Its author bears the name of the account and is not it, as those do who answer its viewers with a number to write to.
    Imitation,
    /// It is an insult and nothing else.
    Toxic,
    /// It has no words.
    Wordless,
}

const BASE: f64 = 20.0;
/// From which chance on a comment that is not called spam is suspected of it.
const SUSPECTED: f32 = 0.25;
/// From which chance on one is that wants something of the owner: who pleads for a video writes like who pleads for clicks,
/// and who offers money like who promises it.
const SUSPECTED_WHO_WANTS: f32 = 0.5;

impl Priority {
    /// Ranks a comment by what was read in it and what is known of it.
    pub fn of(labels: &Labels, facts: &Facts) -> Self {
        let is = |category| labels.is(category);
        // A second account of the owner's is on their list.
        let imitates = facts.is_imitation && !facts.is_vip;
        let mut priority = Self {
            score: 1,
            formula_version: FORMULA_VERSION,
            base: BASE,
            intent: hundredths(intent(labels)),
            reach: hundredths(reach(facts)),
            likes: hundredths(f64::min(12.0, 4.0 * (1.0 + f64::from(facts.likes)).log10())),
            thread: hundredths(f64::min(6.0, 2.0 * (1.0 + f64::from(facts.replies)).log2()))
                + if facts.is_reply { 0.0 } else { 2.0 }
                + if facts.answers_owner { 6.0 } else { 0.0 },
            sentiment: if labels.sentiment == Sentiment::Negative { 6.0 } else { 0.0 },
            state: match (facts.owner_replied, facts.owner_hearted) {
                (true, _) => -30.0,
                (false, true) => -10.0,
                (false, false) => 0.0,
            },
            limit: None,
            needs_moderation: is(Category::Toxic) || imitates,
        };
        let wants = [Category::Collab, Category::Question, Category::Complaint, Category::Suggestion];
        let suspected = if wants.into_iter().any(is) { SUSPECTED_WHO_WANTS } else { SUSPECTED };
        let sum = priority.sum();
        let (limit, score) = if facts.is_owners || facts.is_hidden {
            (Some(Limit::Settled), 1.0)
        } else if is(Category::Spam) {
            (Some(Limit::Spam), f64::min(sum, 5.0))
        } else if imitates {
            (Some(Limit::Imitation), sum * 0.4)
        } else if labels.confidences.spam >= suspected {
            (Some(Limit::SuspectedSpam), sum * 0.4)
        } else if is(Category::Toxic) && !is(Category::Question) && !is(Category::Complaint) {
            (Some(Limit::Toxic), f64::min(sum, 15.0))
        } else if labels.confidences.wordless {
            (Some(Limit::Wordless), f64::min(sum, 10.0))
        } else {
            (None, sum)
        };
        priority.limit = limit;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let score = score.round().clamp(1.0, 100.0) as u8;
        priority.score = score;
        priority
    }

    /// Returns the sum of the terms, before any limit.
    pub fn sum(&self) -> f64 {
        self.base + self.intent + self.reach + self.likes + self.thread + self.sentiment + self.state
    }
}

/// The most pressing of what the author wants, and a little for a second thing.
fn intent(labels: &Labels) -> f64 {
    let worth = |category| match category {
        Category::Collab => 45.0,
        Category::Complaint | Category::Question => 30.0,
        Category::Suggestion => 12.0,
        Category::Praise => 5.0,
        Category::Spam | Category::Toxic => 0.0,
    };
    let terms: Vec<f64> = labels
        .categories
        .iter()
        .map(|category| worth(*category) * f64::from(labels.certainty(*category)))
        .filter(|term| *term > 0.0)
        .collect();
    terms.iter().copied().fold(0.0, f64::max) + if terms.len() > 1 { 5.0 } else { 0.0 }
}

fn hundredths(term: f64) -> f64 {
    (term * 100.0).round() / 100.0
}

fn reach(facts: &Facts) -> f64 {
    let followers = facts
        .author_followers
        .map_or(0.0, |count| f64::min(15.0, 3.0 * (1.0 + f64::from(count) / 100.0).log10()));
    followers + if facts.is_vip { 15.0 } else { 0.0 } + if facts.is_returning { 4.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use greenroom_language::Reader;
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Labels {
        Reader::embedded().unwrap().read(text).into()
    }

    fn score(text: &str, facts: &Facts) -> u8 {
        Priority::of(&read(text), facts).score
    }

    #[test]
    fn business_comes_first_and_spam_last() {
        let plain = Facts::default();
        let order = [
            "Our brand would love to work with you on a sponsored video, where can we email you?",
            "What camera did you use for this?",
            "please make a video about tripods",
            "Thank you so much, this is the best tutorial ever!",
            "I was in Lisbon last summer",
            "❤️❤️",
            "I invested $500 with @trader_anna and earned $9000 in a week, text her on whatsapp for forex signals",
        ];
        let scores = order.map(|text| score(text, &plain));
        assert!(scores.is_sorted_by(|a, b| a > b), "{scores:?}");
        assert!(scores[0] >= 60 && scores[6] <= 5, "{scores:?}");
    }

    #[test]
    fn what_the_owner_did_lowers_it() {
        let text = "What camera did you use for this?";
        let open = score(text, &Facts::default());
        let hearted = score(text, &Facts { owner_hearted: true, ..Facts::default() });
        let replied = score(text, &Facts { owner_replied: true, ..Facts::default() });
        assert!(open > hearted && hearted > replied);
        assert_eq!(score(text, &Facts { is_owners: true, ..Facts::default() }), 1);
        assert_eq!(score(text, &Facts { is_hidden: true, ..Facts::default() }), 1);
    }

    #[test]
    fn who_bears_the_name_of_the_account_is_held_down_for_a_moderator() {
        let facts = Facts { is_imitation: true, ..Facts::default() };
        let text = "What camera did you use for this?";
        let priority = Priority::of(&read(text), &facts);
        assert_eq!(priority.limit, Some(Limit::Imitation));
        assert!(
            priority.needs_moderation && priority.score < score(text, &Facts::default()) / 2,
            "{priority:?}"
        );
    }

    #[test]
    fn an_insult_waits_for_a_moderator() {
        let priority = Priority::of(&read("shut up you stupid idiot, nobody likes you"), &Facts::default());
        assert!(priority.needs_moderation && priority.score <= 15, "{priority:?}");
    }

    proptest! {
        #[test]
        fn it_grows_with_likes_answers_and_reach(
            likes in 0_u32..1_000_000, more in 0_u32..1_000_000, replies in 0_u32..1_000, followers in 0_u32..10_000_000,
        ) {
            let reading = read("What camera did you use for this?");
            let facts = Facts { likes, replies, author_followers: Some(followers), ..Facts::default() };
            let base = Priority::of(&reading, &facts);
            prop_assert_eq!(&base, &Priority::of(&reading, &facts));
            prop_assert!((1..=100).contains(&base.score));
            for grown in [
                Facts { likes: likes + more, ..facts },
                Facts { replies: replies + more, ..facts },
                Facts { author_followers: Some(followers + more), ..facts },
                Facts { is_vip: true, ..facts },
            ] {
                prop_assert!(Priority::of(&reading, &grown).score >= base.score);
            }
            if base.limit.is_none() {
                prop_assert!((base.sum().round().clamp(1.0, 100.0) - f64::from(base.score)).abs() < f64::EPSILON);
            }
        }
    }
}
