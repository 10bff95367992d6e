//! Prices of language models: what a million tokens cost, since when, by files.
//!
//! The files in `config/prices/` are part of the binary; those of the folder `credits.prices_dir` come over them. A
//! price carries its rates with it wherever it is noted, so that a charge can be recomputed from its event alone,
//! whatever becomes of the files.

use std::collections::HashSet;
use std::path::Path;
use std::{fs, io};

use chrono::{DateTime, NaiveDate, Utc};
use greenroom_model::Dollars;
use serde::{Deserialize, Serialize};

use crate::CreditsError;
use crate::rate::Rate;

const BUILT_IN: [(&str, &str); 2] = [
    ("config/prices/anthropic.toml", include_str!("../../../config/prices/anthropic.toml")),
    ("config/prices/openai.toml", include_str!("../../../config/prices/openai.toml")),
];

/// What a model costs since a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelPrice {
    /// Who serves it, such as `anthropic`.
    pub provider: String,
    /// Its name; a `*` at the end stands for any rest, and alone for any model.
    pub model: String,
    /// The first day on which it is the price, from 00:00 UTC.
    pub effective_from: NaiveDate,
    input: Rate,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cached: Option<Rate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cache_write: Option<Rate>,
    output: Rate,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    long_prompt: Option<LongPrompt>,
}

/// The rates of a call whose prompt is longer than most.
///
/// The four rates stand here once more, since a flattened part would let misspelt names through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LongPrompt {
    above_tokens: u32,
    input: Rate,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cached: Option<Rate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cache_write: Option<Rate>,
    output: Rate,
}

/// The tokens of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Those it read that were in no cache.
    pub input: u32,
    /// Those it read from a cache.
    pub cached: u32,
    /// Those it read and put into a cache.
    pub cache_write: u32,
    /// Those it wrote, thought included.
    pub output: u32,
}

impl Tokens {
    /// Returns all that it read.
    pub const fn read(&self) -> u32 {
        self.input.saturating_add(self.cached).saturating_add(self.cache_write)
    }
}

impl ModelPrice {
    /// Returns what a call costs.
    pub fn of(&self, tokens: &Tokens) -> Dollars {
        let (input, cached, cache_write, output) = match &self.long_prompt {
            Some(long) if tokens.read() > long.above_tokens => {
                (long.input, long.cached, long.cache_write, long.output)
            }
            _ => (self.input, self.cached, self.cache_write, self.output),
        };
        // Where nothing is said of caches, what is read from one or put into one is as dear as any input.
        let parts = [
            (input, tokens.input),
            (cached.unwrap_or(input), tokens.cached),
            (cache_write.unwrap_or(input), tokens.cache_write),
            (output, tokens.output),
        ];
        Dollars(parts.iter().fold(0, |sum: i64, (rate, count)| sum.saturating_add(rate.of(*count).0)))
    }

    fn is_of(&self, provider: &str, model: &str) -> bool {
        self.provider == provider
            && match self.model.strip_suffix('*') {
                Some(beginning) => model.starts_with(beginning),
                None => self.model == model,
            }
    }
}

/// Every price of a model that this process knows.
#[derive(Clone, Debug, Default)]
pub struct ModelPrices {
    all: Vec<ModelPrice>,
}

/// Why the prices of models cannot be used; it stops the start.
#[derive(Debug, thiserror::Error)]
pub enum PricesError {
    /// A file that cannot be read.
    #[error("credits.prices_dir: {path} cannot be read: {source}")]
    Unreadable {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file that is no list of prices.
    #[error("{path} is no list of prices: {source}")]
    Malformed {
        /// Which.
        path: String,
        /// What is wrong, and where.
        source: Box<toml::de::Error>,
    },
    /// An entry that cannot stand.
    #[error("{path}: the price of {model} from {from}: {rule}")]
    Refused {
        /// In which file.
        path: String,
        /// Whose.
        model: String,
        /// Since when.
        from: NaiveDate,
        /// The rule it breaks.
        rule: &'static str,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceFile {
    #[serde(default)]
    price: Vec<ModelPrice>,
}

impl ModelPrices {
    /// Reads the prices that came with the program, and those of a folder over them; no name is no folder.
    pub fn load(folder: &str) -> Result<Self, PricesError> {
        let mut prices = Self::default();
        for (path, text) in BUILT_IN {
            prices.add(path, text)?;
        }
        if !folder.is_empty() {
            let mut own = Self::default();
            for path in toml_files(Path::new(folder))? {
                let text = fs::read_to_string(&path)
                    .map_err(|source| PricesError::Unreadable { path: path.clone(), source })?;
                own.add(&path, &text)?;
            }
            prices.all.retain(|built_in| !own.all.iter().any(|own| own.key() == built_in.key()));
            prices.all.append(&mut own.all);
        }
        Ok(prices)
    }

    fn add(&mut self, path: &str, text: &str) -> Result<(), PricesError> {
        let file: PriceFile = toml::from_str(text)
            .map_err(|source| PricesError::Malformed { path: path.to_owned(), source: Box::new(source) })?;
        let mut seen: HashSet<_> = self.all.iter().map(ModelPrice::key).collect();
        for price in &file.price {
            let rule = if price.provider.is_empty() || price.model.is_empty() {
                "name the provider and the model"
            } else if price.model.trim_end_matches('*').contains('*') || price.model.ends_with("**") {
                "a * stands at the end of a name only, once"
            } else if !seen.insert(price.key()) {
                "there is another price of the same model and day"
            } else {
                continue;
            };
            let (path, model, from) = (path.to_owned(), price.model.clone(), price.effective_from);
            return Err(PricesError::Refused { path, model, from, rule });
        }
        self.all.extend(file.price);
        Ok(())
    }

    /// Returns the price of a model at an instant: of the entries that name it the one that names it most exactly,
    /// and of those the latest that is in force.
    pub fn in_force(
        &self,
        provider: &str,
        model: &str,
        at: DateTime<Utc>,
    ) -> Result<&ModelPrice, CreditsError> {
        self.all
            .iter()
            .filter(|price| price.is_of(provider, model) && price.effective_from <= at.date_naive())
            .max_by_key(|price| (!price.model.ends_with('*'), price.model.len(), price.effective_from))
            .ok_or_else(|| CreditsError::ModelPriceUnknown {
                provider: provider.to_owned(),
                model: model.to_owned(),
            })
    }

    /// Returns every price, whether or not it is in force.
    pub fn all(&self) -> &[ModelPrice] {
        &self.all
    }
}

impl ModelPrice {
    fn key(&self) -> (String, String, NaiveDate) {
        (self.provider.clone(), self.model.clone(), self.effective_from)
    }
}

fn toml_files(folder: &Path) -> Result<Vec<String>, PricesError> {
    let unreadable = |source| PricesError::Unreadable { path: folder.display().to_string(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path.display().to_string());
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: &str) -> DateTime<Utc> {
        day.parse::<NaiveDate>().unwrap().and_hms_opt(12, 0, 0).unwrap().and_utc()
    }

    fn read(text: &str) -> Result<ModelPrices, PricesError> {
        let mut prices = ModelPrices::default();
        prices.add("mine.toml", text).map(|()| prices)
    }

    fn entry(model: &str, from: &str, input: &str) -> String {
        format!(
            "[[price]]\nprovider = \"mine\"\nmodel = \"{model}\"\neffective_from = \"{from}\"\ninput = \"{input}\"\noutput = \"2\"\n"
        )
    }

    #[test]
    fn a_call_costs_its_tokens_at_their_rates() {
        let prices = ModelPrices::load("").unwrap();
        let day = at("2026-11-01");
        let haiku = prices.in_force("anthropic", "claude-haiku-4-5-20251001", day).unwrap();
        let tokens = Tokens { input: 1_900, cached: 1_000, cache_write: 100, output: 1_100 };
        // 1900 × $1 + 1000 × $0.10 + 100 × $1.25 + 1100 × $5, a million.
        assert_eq!(haiku.of(&tokens), "0.007625".parse().unwrap());
        let mini = prices.in_force("openai", "gpt-4o-mini", day).unwrap();
        // What it does not tell apart costs as much as any input.
        let tokens = Tokens { input: 0, cached: 2, cache_write: 1, output: 1 };
        assert_eq!(mini.of(&tokens), "0.0000009".parse().unwrap());
        let long = prices.in_force("anthropic", "claude-haiku-5-5", day).unwrap();
        let tokens = |input| Tokens { input, ..Tokens::default() };
        assert_eq!(long.of(&tokens(100_000)), "0.01".parse().unwrap());
        assert_eq!(long.of(&tokens(100_001)), "0.0500005".parse().unwrap());
    }

    #[test]
    fn the_most_exact_name_and_the_latest_day_decide() {
        let text = [
            entry("*", "2020-01-01", "9"),
            entry("m-*", "2026-01-01", "1"),
            entry("m-*", "2026-06-01", "2"),
            entry("m-1", "2026-03-01", "3"),
        ];
        let prices = read(&text.concat()).unwrap();
        let input = |model: &str, day: &str| {
            let price = prices.in_force("mine", model, at(day)).unwrap();
            price.of(&Tokens { input: 1_000_000, ..Tokens::default() }).0 / 1_000_000_000_000
        };
        assert_eq!(input("m-2", "2026-05-31"), 1);
        assert_eq!(input("m-2", "2026-06-01"), 2);
        assert_eq!(input("m-1", "2026-02-01"), 1);
        assert_eq!(input("m-1", "2026-07-01"), 3);
        assert_eq!(input("other", "2026-07-01"), 9);
        let error = prices.in_force("theirs", "m-1", at("2026-07-01")).unwrap_err();
        assert_eq!(error.code(), "price_unknown");
        assert!(error.to_string().starts_with("no price is known for the model m-1 of theirs"), "{error}");
    }

    #[test]
    fn what_cannot_be_a_price_stops_the_start() {
        let twice = entry("m", "2026-01-01", "1").repeat(2);
        for (text, says) in [
            (entry("m", "2026-01-01", "0.0000001"), "at most 6 decimals"),
            (entry("m", "2026-01-01", "-1"), "below zero"),
            (entry("m", "January", "1"), "invalid"),
            (entry("m", "2026-01-01", "1") + "uotput = \"3\"\n", "uotput"),
            (entry("*-m", "2026-01-01", "1"), "a * stands at the end"),
            (entry("", "2026-01-01", "1"), "name the provider and the model"),
            (twice, "another price of the same model and day"),
        ] {
            let error = read(&text).unwrap_err().to_string();
            assert!(error.starts_with("mine.toml") && error.contains(says), "{says}: {error}");
        }
        let error = ModelPrices::load("/nowhere/at/all").unwrap_err().to_string();
        assert!(error.starts_with("credits.prices_dir: /nowhere/at/all cannot be read"), "{error}");
    }

    #[test]
    fn a_folder_stands_over_what_came_with_the_program() {
        let folder = tempfile::tempdir().unwrap();
        let own = entry("gpt-4o-mini*", "2024-07-18", "7").replace("mine", "openai");
        fs::write(folder.path().join("own.toml"), own).unwrap();
        fs::write(folder.path().join("notes.txt"), "no prices").unwrap();
        let prices = ModelPrices::load(folder.path().to_str().unwrap()).unwrap();
        let price = prices.in_force("openai", "gpt-4o-mini", at("2026-01-01")).unwrap();
        assert_eq!(price.of(&Tokens { input: 1_000_000, ..Tokens::default() }), "7".parse().unwrap());
        assert!(prices.in_force("anthropic", "claude-haiku-4-5", at("2026-01-01")).is_ok());
    }

    #[test]
    fn a_price_is_noted_with_its_rates_and_read_again() {
        let prices = ModelPrices::load("").unwrap();
        for price in prices.all() {
            let noted = serde_json::to_value(price).unwrap();
            assert_eq!(&serde_json::from_value::<ModelPrice>(noted).unwrap(), price);
        }
    }
}
