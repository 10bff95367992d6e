//! Money as integers: credits in millionths, dollars in trillionths.
//!
//! One credit is $0.10 of actual cost. The database holds
//! `numeric(20,6)` credits and `numeric(20,12)` dollars; SQL converts at its edge with
//! `(col * 1000000)::bigint`. Nothing here is ever a float.

use std::fmt;

/// An amount of credits in millionths of a credit; negative for refunds and expiries.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    sqlx::Type,
)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct MicroCredits(pub i64);

impl MicroCredits {
    /// No credits.
    pub const ZERO: Self = Self(0);

    /// Returns a whole number of credits.
    pub const fn whole(credits: i64) -> Self {
        Self(credits * 1_000_000)
    }
}

impl std::ops::Add for MicroCredits {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self(self.0 + more.0)
    }
}

impl std::ops::Sub for MicroCredits {
    type Output = Self;

    fn sub(self, less: Self) -> Self {
        Self(self.0 - less.0)
    }
}

impl fmt::Display for MicroCredits {
    /// Writes all six decimals, without trailing zeros: `12.5`, `-0.000001`, `3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, rest) = (self.0.unsigned_abs() / 1_000_000, self.0.unsigned_abs() % 1_000_000);
        if rest == 0 {
            return write!(f, "{sign}{whole}");
        }
        let decimals = format!("{rest:06}");
        write!(f, "{sign}{whole}.{}", decimals.trim_end_matches('0'))
    }
}

/// An amount of US dollars in trillionths of a dollar (12 decimals).
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    sqlx::Type,
)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct Dollars(pub i64);

impl Dollars {
    /// No dollars.
    pub const ZERO: Self = Self(0);

    /// Returns what this cost is in credits, rounded up to the next millionth: never below the cost.
    pub const fn credits_rounded_up(self) -> MicroCredits {
        // $0.10 is a credit, so a micro-credit is 1e-7 dollars: 100,000 trillionths.
        const PER_MICRO_CREDIT: i64 = 100_000;
        let down = self.0.div_euclid(PER_MICRO_CREDIT);
        MicroCredits(if self.0.rem_euclid(PER_MICRO_CREDIT) == 0 { down } else { down + 1 })
    }
}

/// Reads a decimal number into its smallest unit; nothing is rounded.
fn read_decimal(text: &str, decimals: usize) -> Result<i64, NotAnAmount> {
    let wrong = || NotAnAmount { text: text.to_owned(), decimals };
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, rest) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || rest.len() > decimals || !is_number(whole) || !is_number(rest) {
        return Err(wrong());
    }
    let all: i64 = format!("{whole}{rest:0<decimals$}").parse().map_err(|_| wrong())?;
    Ok(sign * all)
}

/// A text that is no amount of its kind.
#[derive(Debug, PartialEq, Eq)]
pub struct NotAnAmount {
    text: String,
    decimals: usize,
}

impl fmt::Display for NotAnAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no amount: write a number such as 12.5, with at most {} decimals",
            self.text, self.decimals
        )
    }
}

impl std::error::Error for NotAnAmount {}

impl std::str::FromStr for MicroCredits {
    type Err = NotAnAmount;

    fn from_str(text: &str) -> Result<Self, NotAnAmount> {
        read_decimal(text, 6).map(Self)
    }
}

impl std::str::FromStr for Dollars {
    type Err = NotAnAmount;

    fn from_str(text: &str) -> Result<Self, NotAnAmount> {
        read_decimal(text, 12).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credits_print_exactly() {
        for (micro, text) in
            [(0, "0"), (12_500_000, "12.5"), (-1, "-0.000001"), (3_000_000, "3"), (-1_500_000, "-1.5")]
        {
            assert_eq!(MicroCredits(micro).to_string(), text);
        }
    }

    #[test]
    fn cost_rounds_up_once() {
        assert_eq!(Dollars(0).credits_rounded_up(), MicroCredits(0));
        assert_eq!(Dollars(1).credits_rounded_up(), MicroCredits(1));
        assert_eq!(Dollars(100_000).credits_rounded_up(), MicroCredits(1));
        assert_eq!(Dollars(100_001).credits_rounded_up(), MicroCredits(2));
        // $0.10 is one credit.
        assert_eq!(Dollars(100_000_000_000).credits_rounded_up(), MicroCredits::whole(1));
    }

    #[test]
    fn amounts_are_read_exactly_or_not_at_all() {
        for (text, micro) in [("12.5", 12_500_000), ("0.000001", 1), ("-3", -3_000_000), ("7.", 7_000_000)] {
            assert_eq!(text.parse(), Ok(MicroCredits(micro)), "{text}");
        }
        for text in ["", ".", ".5", "1e3", "1,5", "0.0000001", "--1", "+1", "99999999999999999999"] {
            assert!(text.parse::<MicroCredits>().is_err(), "{text}");
        }
        assert_eq!("0.000000000001".parse(), Ok(Dollars(1)));
    }
}
