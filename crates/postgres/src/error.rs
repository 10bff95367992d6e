//! What can go wrong between a bare machine and a server with the right schema, and what to do then.

use std::path::{Path, PathBuf};

use sqlx::migrate::MigrateError;

/// A reason why there is no PostgreSQL, or none with the schema of this build.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither a server nor the means to fetch one were found.
    #[error(
        "no PostgreSQL 15 or later was found, and none could be fetched: {fetching}.\n\
         Any one of these helps: install PostgreSQL with the system's package manager \
         (`apt-get install postgresql`, `brew install postgresql@17`), set DATABASE_URL to a server \
         you have, point GREENROOM_PG_BIN at the folder of its programs, or run `docker compose up`"
    )]
    NotFound {
        /// Why it could not be fetched.
        fetching: String,
    },

    /// `GREENROOM_PG_BIN` names a folder without a usable server.
    #[error("GREENROOM_PG_BIN is {}, but {reason}; unset it, or name the folder that holds `postgres`", path.display())]
    BadBin {
        /// What it names.
        path: PathBuf,
        /// What is wrong there.
        reason: String,
    },

    /// We are root and know no account that may run a server.
    #[error(
        "PostgreSQL refuses to run as root, and there is neither an account `postgres` nor `nobody` to \
         run it under; create one, run as an ordinary user, or set DATABASE_URL to a server you have"
    )]
    NoAccount,

    /// A path that should be ours belongs to somebody else.
    #[error("{} is not a folder of ours; remove it, or ask its owner to", path.display())]
    NotOurs {
        /// The path.
        path: PathBuf,
    },

    /// The data was written by another major version of PostgreSQL.
    #[error(
        "{} was written by PostgreSQL {written}, but only {found} was found; install PostgreSQL {written}, \
         or remove that folder to start afresh", data.display()
    )]
    OtherVersion {
        /// The data folder.
        data: PathBuf,
        /// The major version that wrote it.
        written: u32,
        /// The major version at hand.
        found: u32,
    },

    /// A server holds the data but does not answer.
    #[error("a PostgreSQL (process {pid}) holds {} but does not answer; end it and try again", data.display())]
    Deaf {
        /// The data folder.
        data: PathBuf,
        /// The server's process.
        pid: u32,
    },

    /// Another process held a lock for too long.
    #[error("another process has held {} for {secs} s; end it and try again", path.display())]
    Held {
        /// The lock.
        path: PathBuf,
        /// How long we waited.
        secs: u64,
    },

    /// A program failed.
    #[error("{what} failed: {output}")]
    Program {
        /// What it was to do.
        what: String,
        /// What it said.
        output: String,
    },

    /// A file could not be read, written or locked.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },

    /// The server refused something.
    #[error("PostgreSQL: {0}")]
    Sql(#[from] sqlx::Error),

    /// A migration failed.
    #[error("the schema could not be brought up to date: {0}")]
    Migrate(#[from] MigrateError),

    /// The database was migrated by a build whose migrations differ from ours.
    #[error(
        "migration {version} of this database is not the one of this build; \
         run the build that made it, or recreate the database and run `greenroom migrate`"
    )]
    OtherSchema {
        /// The first migration that differs.
        version: i64,
    },

    /// Nobody migrated the database in time.
    #[error("the schema was not migrated to version {version} within {secs} s; run `greenroom migrate`")]
    NotMigrated {
        /// The newest migration of this build.
        version: i64,
        /// How long we waited.
        secs: u64,
    },
}

/// Names the file in an error of the system's.
pub(crate) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
    move |source| Error::File { path: path.into(), source }
}
