//! How a command ends.

use std::process::ExitCode;

/// What `--help` says about exit codes.
pub(crate) const HELP: &str = "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 conflict, \
    5 a precondition (database, migration, pooler), 75 try again, 130 interrupted.";

/// How a command ended; the numbers are fixed, other programs rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what was asked.
    Done = 0,
    /// It did not.
    Failed = 1,
    /// The arguments or settings are wrong.
    Usage = 2,
    /// What was named does not exist.
    NotFound = 3,
    /// The state of what was named does not allow it.
    Conflict = 4,
    /// Something it needs is not there: a database, its schema, a secret.
    Precondition = 5,
    /// The same call may succeed in a moment.
    TryAgain = 75,
    /// Somebody pressed Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
