//! What a million tokens cost, exactly.

use greenroom_model::Dollars;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A million tokens, and also the trillionths of a dollar in a millionth of one.
const MILLION: i64 = 1_000_000;

/// Dollars a million tokens, with at most six decimals: so that one token is a whole number of a dollar's trillionths.
///
/// In files and documents it is a decimal in quotes, since a bare number may pass through a float.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate(i64);

impl Rate {
    /// Returns what so many tokens cost.
    pub(crate) fn of(self, tokens: u32) -> Dollars {
        Dollars(self.0.saturating_mul(tokens.into()))
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A rate has the decimals that credits have.
        serializer.collect_str(&greenroom_model::MicroCredits(self.0))
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let text = String::deserialize(deserializer)?;
        let dollars: Dollars = text.parse().map_err(Error::custom)?;
        if dollars.0 < 0 {
            return Err(Error::custom(format!("{text:?} is below zero")));
        }
        if dollars.0 % MILLION != 0 {
            return Err(Error::custom(format!("{text:?} is too exact: use at most 6 decimals")));
        }
        Ok(Self(dollars.0 / MILLION))
    }
}
