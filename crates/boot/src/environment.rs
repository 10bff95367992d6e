//! Which of three lives a process leads.

use std::fmt;

use crate::error::BootError;

/// The environment that `GREENROOM_ENV` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Environment {
    /// On somebody's own machine.
    #[default]
    Development,
    /// In tests.
    Test,
    /// Where it counts.
    Production,
}

impl Environment {
    /// Reads a value of `GREENROOM_ENV`; nothing is development.
    pub(crate) fn parse(name: Option<&str>) -> Result<Self, BootError> {
        match name {
            None | Some("" | "development") => Ok(Self::Development),
            Some("test") => Ok(Self::Test),
            Some("production") => Ok(Self::Production),
            Some(other) => Err(BootError::Environment(other.to_owned())),
        }
    }

    /// Returns the name as `GREENROOM_ENV` has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Test => "test",
            Self::Production => "production",
        }
    }

    /// Returns what differs from the defaults, as TOML.
    pub(crate) const fn settings(self) -> &'static str {
        match self {
            Self::Development => include_str!("../../../config/development.toml"),
            Self::Test => include_str!("../../../config/test.toml"),
            Self::Production => include_str!("../../../config/production.toml"),
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
