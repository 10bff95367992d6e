//! Which comments: what a saved view holds, and what a query says.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use greenroom_language::{Category, Sentiment};
use greenroom_model::{ConnectionId, Platform, UserId};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use super::Sort;

/// Shorter texts are in nearly every comment.
const SHORTEST_TEXT: usize = 3;
/// More of a kind is no choice.
const LONGEST_LIST: usize = 100;

/// Which comments: all conditions must hold, and of a list one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filters {
    /// Of these platforms.
    #[serde(skip_serializing_if = "List::is_empty")]
    pub platform: List<Platform>,
    /// Of these connections.
    #[serde(skip_serializing_if = "List::is_empty")]
    pub connection_id: List<ConnectionId>,
    /// Under these videos, posts or reels.
    #[serde(skip_serializing_if = "List::is_empty")]
    pub content_id: List<Uuid>,
    /// How it stands.
    #[serde(skip_serializing_if = "List::is_empty")]
    pub status: List<Status>,
    /// Whether its author is pleased.
    #[serde(skip_serializing_if = "List::is_empty")]
    pub sentiment: List<Sentiment>,
    /// With one of these categories.
    #[serde(skip_serializing_if = "List::is_empty")]
    pub category: List<Category>,
    /// With none of these.
    #[serde(skip_serializing_if = "List::is_empty")]
    pub category_not: List<Category>,
    /// In one of these languages, by tags of BCP 47.
    #[serde(skip_serializing_if = "List::is_empty")]
    pub language: List<String>,
    /// With this score or a higher one; age is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_min: Option<u8>,
    /// With this score or a lower one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_max: Option<u8>,
    /// Who is to see to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assigned_to: Option<AssignedTo>,
    /// With one of these tags.
    #[serde(skip_serializing_if = "List::is_empty")]
    pub tag: List<String>,
    /// With none of these.
    #[serde(skip_serializing_if = "List::is_empty")]
    pub tag_not: List<String>,
    /// By this author: the platform's id or, where nobody has that, the whole name, whatever its case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// That say this, whatever its case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Whether the owner has answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has_reply: Option<bool>,
    /// Whether it stands at the top of its thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_top_level: Option<bool>,
    /// That nobody has answered or put aside for so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unanswered_older_than_hours: Option<u16>,
    /// Published at this instant or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published_from: Option<DateTime<Utc>>,
    /// Published before this instant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published_to: Option<DateTime<Utc>>,
    /// Published within so many days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_days: Option<u16>,
    /// Those that are hidden as well.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub include_hidden: bool,
    /// In which order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort: Option<Sort>,
}

/// Filters that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {rule}")]
pub struct FiltersError {
    /// Which.
    pub key: &'static str,
    /// What to do.
    pub rule: String,
}

impl Filters {
    /// Refuses what cannot be meant.
    pub fn validate(&self) -> Result<(), FiltersError> {
        let error = |key, rule: String| Err(FiltersError { key, rule });
        for (key, len) in [
            ("platform", self.platform.len()),
            ("connection_id", self.connection_id.len()),
            ("content_id", self.content_id.len()),
            ("status", self.status.len()),
            ("sentiment", self.sentiment.len()),
            ("category", self.category.len()),
            ("category_not", self.category_not.len()),
            ("language", self.language.len()),
            ("tag", self.tag.len()),
            ("tag_not", self.tag_not.len()),
        ] {
            if len > LONGEST_LIST {
                return error(key, format!("name at most {LONGEST_LIST}"));
            }
        }
        if let Some(other) =
            self.platform.iter().find(|one| !matches!(one, Platform::Youtube | Platform::Instagram))
        {
            return error("platform", format!("no comments of {other} are kept: use youtube or instagram"));
        }
        if self.text.as_ref().is_some_and(|text| text.trim().chars().count() < SHORTEST_TEXT) {
            return error("text", format!("use {SHORTEST_TEXT} characters or more"));
        }
        let in_range = |score: Option<u8>| score.is_none_or(|score| (1..=100).contains(&score));
        if !in_range(self.priority_min) {
            return error("priority_min", "use 1 to 100".to_owned());
        }
        if !in_range(self.priority_max) {
            return error("priority_max", "use 1 to 100".to_owned());
        }
        if self.last_days.is_some_and(|days| !(1..=3_660).contains(&days)) {
            return error("last_days", "use 1 to 3660".to_owned());
        }
        Ok(())
    }
}

/// How a comment stands with the people who answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nobody has looked.
    Unread,
    /// Somebody has.
    Read,
    /// The owner has answered.
    Answered,
    /// Nobody will.
    Ignored,
}

impl Status {
    /// Returns the word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unread => "unread",
            Self::Read => "read",
            Self::Answered => "answered",
            Self::Ignored => "ignored",
        }
    }
}

/// Who is to see to a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssignedTo {
    /// Nobody yet.
    None,
    /// Whoever asks.
    Me,
    /// This person.
    User(UserId),
}

impl FromStr for AssignedTo {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            "me" => Ok(Self::Me),
            id => id.parse().map(Self::User).map_err(|_| "use none, me, or the id of a user"),
        }
    }
}

impl Serialize for AssignedTo {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_str("none"),
            Self::Me => serializer.serialize_str("me"),
            Self::User(id) => serializer.collect_str(id),
        }
    }
}

impl<'de> Deserialize<'de> for AssignedTo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Several values: an array in a document, with commas between them in a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct List<T>(Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> List<T> {
    /// Returns whether nothing is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> std::ops::Deref for List<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T> From<Vec<T>> for List<T> {
    fn from(values: Vec<T>) -> Self {
        Self(values)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMany<T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
                text.split(',')
                    .map(str::trim)
                    .filter(|one| !one.is_empty())
                    .map(|one| T::deserialize(de::value::StringDeserializer::new(one.to_owned())))
                    .collect()
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = seq.next_element()? {
                    values.push(value);
                }
                Ok(values)
            }
        }

        deserializer.deserialize_any(OneOrMany(PhantomData)).map(Self)
    }
}
