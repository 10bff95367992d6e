//! What a server's refusal says about an address: by the enhanced status code (RFC 3463), else by the basic one.

use std::fmt;
use std::str::FromStr;

/// An enhanced status code, such as 5.1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Enhanced(pub u8, pub u16, pub u16);

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl FromStr for Enhanced {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.');
        let mut number = || {
            let part = parts.next().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
            part.and_then(|part| part.parse::<u16>().ok()).filter(|number| *number < 1_000)
        };
        let (class, subject, detail) = (number().ok_or(())?, number().ok_or(())?, number().ok_or(())?);
        match (class, parts.next()) {
            (2 | 4 | 5, None) => Ok(Self(u8::try_from(class).unwrap_or(5), subject, detail)),
            _ => Err(()),
        }
    }
}

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The address does not exist: never again.
    Hard,
    /// The box is full or takes no such message: five in a row over a week are as good as hard.
    Soft,
    /// The server takes nothing of the kind from us: says nothing about the person.
    Policy,
    /// We said something wrong.
    Fault,
    /// Not now.
    Deferred,
}

impl Verdict {
    /// Returns the word that is stored as the reason.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hard => "hard_bounce",
            Self::Soft => "soft_bounce",
            Self::Policy => "policy",
            Self::Fault => "our_fault",
            Self::Deferred => "deferred",
        }
    }
}

const UNKNOWN_BOX: [&str; 6] = [
    "user unknown",
    "unknown user",
    "mailbox unknown",
    "no such user",
    "mailbox unavailable",
    "mailbox not found",
];

/// Judges a negative reply.
pub fn verdict(code: u16, enhanced: Option<Enhanced>, text: &str) -> Verdict {
    match enhanced {
        Some(Enhanced(4, ..)) => return Verdict::Deferred,
        Some(Enhanced(5, 1, 1 | 2 | 3 | 6 | 10) | Enhanced(5, 2, 1)) => return Verdict::Hard,
        Some(Enhanced(5, 2, 2 | 3) | Enhanced(5, 3, 4)) => return Verdict::Soft,
        Some(Enhanced(5, 7 | 4, _)) => return Verdict::Policy,
        Some(Enhanced(5, 5 | 6, _)) => return Verdict::Fault,
        _ => {}
    }
    let text = text.to_lowercase();
    match code {
        400..500 => Verdict::Deferred,
        // 5.0.0 says nothing; a box that is unknown by words is one that does not exist.
        550 if UNKNOWN_BOX.iter().any(|words| text.contains(words)) => Verdict::Hard,
        552 => Verdict::Soft,
        500..=504 | 555 => Verdict::Fault,
        _ => Verdict::Policy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enhanced_codes_are_read_strictly() {
        assert_eq!("5.1.1".parse(), Ok(Enhanced(5, 1, 1)));
        assert_eq!("4.7.28".parse(), Ok(Enhanced(4, 7, 28)));
        for wrong in ["5.1", "5.1.1.1", "3.1.1", "5..1", "+5.1.1", "5.1.1000", ""] {
            assert!(wrong.parse::<Enhanced>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn refusals_are_told_apart() {
        let of = |code, status: &str, text: &str| verdict(code, status.parse().ok(), text);
        for status in ["5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"] {
            assert_eq!(of(550, status, ""), Verdict::Hard, "{status}");
        }
        for status in ["5.2.2", "5.2.3", "5.3.4"] {
            assert_eq!(of(552, status, ""), Verdict::Soft, "{status}");
        }
        for status in ["5.7.1", "5.7.26", "5.4.1", "5.4.14"] {
            assert_eq!(of(550, status, "user unknown"), Verdict::Policy, "{status}");
        }
        for status in ["5.5.2", "5.6.0"] {
            assert_eq!(of(554, status, ""), Verdict::Fault, "{status}");
        }
        assert_eq!(of(421, "4.7.0", ""), Verdict::Deferred);
        assert_eq!(of(451, "", "greylisted"), Verdict::Deferred);
        assert_eq!(of(550, "", "User unknown in local table"), Verdict::Hard);
        assert_eq!(of(550, "", "we do not like you"), Verdict::Policy);
        assert_eq!(of(552, "", "over quota"), Verdict::Soft);
        assert_eq!(of(501, "", "syntax"), Verdict::Fault);
        assert_eq!(of(554, "", "no"), Verdict::Policy);
    }
}
