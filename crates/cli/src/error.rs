//! What can go wrong with a command, and how the command then ends.

use greenroom_accounts::AccountsError;
use greenroom_boot::BootError;
use greenroom_postgres::Error as SchemaError;
use greenroom_queue::{BuildError, EnqueueError, QueueError};
use greenroom_vault::{KeyError, OpenError};
use greenroom_worker::StartError;
use greenroom_youtube::Error as YoutubeError;

use crate::Exit;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// The arguments could not be read.
    #[error("{}", said(.0))]
    Arguments(clap::Error),
    /// The arguments could be read but make no sense.
    #[error("{0}")]
    Usage(String),
    /// What was named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The state of what was named does not allow it.
    #[error("{0}")]
    Conflict(String),
    /// The value on standard input is not what the command takes.
    #[error("{0}")]
    Refused(&'static str),
    /// A job that was waited for did not end well.
    #[error("{0}")]
    JobFailed(String),
    /// Something stands in the way that may pass: whoever has called calls again.
    #[error("{0}")]
    TryAgain(String),
    /// The command failed in a way of its own.
    #[error("{0}")]
    Failed(String),
    /// The database lacks this build's schema.
    #[error("the database has not the schema of this build: run `greenroom migrate`")]
    NotMigrated,
    /// Somebody pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// Settings, secrets, the log or the database connection.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// PostgreSQL or its schema.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// A process could not start or go on.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The API could not start or go on.
    #[error(transparent)]
    Api(#[from] greenroom_api::StartError),
    /// The queue refused.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A job could not be enqueued.
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
    /// A job could not be made of what was given.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Accounts or service tokens refused.
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    /// YouTube's slice refused.
    #[error(transparent)]
    Youtube(#[from] YoutubeError),
    /// `ENCRYPTION_KEY` is not a list of keys.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A token does not open.
    #[error(transparent)]
    Token(#[from] OpenError),
    /// The database refused or was not there.
    #[error("the database refused: {0}")]
    Database(#[from] sqlx::Error),
    /// A document could not be written.
    #[error("the answer cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Standard input or output failed.
    #[error("standard input or output failed: {0}")]
    Stream(#[from] std::io::Error),
}

impl CliError {
    /// Decides how the command ends.
    pub fn exit(&self) -> Exit {
        self.verdict().0
    }

    /// Returns the word by which programs know the error.
    pub fn code(&self) -> &'static str {
        self.verdict().1
    }

    /// The one place that knows which error ends a command how, and by which word it goes.
    fn verdict(&self) -> (Exit, &'static str) {
        match self {
            Self::Arguments(_) | Self::Usage(_) => (Exit::Usage, "usage"),
            Self::NotFound(_) => (Exit::NotFound, "not_found"),
            Self::Conflict(_) => (Exit::Conflict, "conflict"),
            Self::Refused(_) => (Exit::Failed, "refused"),
            Self::JobFailed(_) => (Exit::Failed, "job_failed"),
            Self::Failed(_) | Self::Json(_) => (Exit::Failed, "failed"),
            Self::TryAgain(_) => (Exit::TryAgain, "try_again"),
            Self::NotMigrated => (Exit::Precondition, "not_migrated"),
            Self::Interrupted => (Exit::Interrupted, "interrupted"),
            Self::Stream(_) => (Exit::Failed, "stream"),
            Self::Key(_) => (Exit::Usage, "encryption_key"),
            Self::Token(OpenError::Malformed) => (Exit::Failed, "not_a_token"),
            Self::Token(OpenError::UnknownKey) => (Exit::Failed, "unknown_key"),
            Self::Token(OpenError::NotText) => (Exit::Failed, "not_text"),
            Self::Token(OpenError::Misplaced | OpenError::Unbound) => (Exit::Failed, "token_binding"),
            Self::Boot(error) => boot(error),
            Self::Schema(error) => schema(error),
            Self::Start(error) => start(error),
            Self::Api(error) => api(error),
            Self::Queue(error) => queue(error),
            Self::Enqueue(error) | Self::Build(BuildError::Enqueue(error)) => enqueue(error),
            Self::Build(BuildError::UnknownKind { .. }) => (Exit::NotFound, "unknown_kind"),
            Self::Build(BuildError::Payload(_)) => (Exit::Usage, "payload"),
            Self::Accounts(error) => accounts(error),
            Self::Youtube(error) => youtube(error),
            Self::Database(error) => database(error),
        }
    }
}

fn boot(error: &BootError) -> (Exit, &'static str) {
    match error {
        BootError::Environment(_) | BootError::UnknownSetting { .. } | BootError::Setting(_) => {
            (Exit::Usage, "setting")
        }
        BootError::MissingSecret(_) | BootError::Secret { .. } | BootError::DatabaseUrl => {
            (Exit::Precondition, "secret")
        }
        BootError::Database(_) | BootError::Standby => (Exit::Precondition, "database"),
        BootError::TransactionPooler | BootError::OneConnection { .. } => (Exit::Precondition, "pooler"),
        BootError::Twice(_) | BootError::System(_) | BootError::Listen { .. } => (Exit::Failed, "failed"),
    }
}

fn schema(error: &SchemaError) -> (Exit, &'static str) {
    match error {
        SchemaError::Held { .. } => (Exit::TryAgain, "held"),
        SchemaError::Migrate(_) | SchemaError::OtherSchema { .. } => (Exit::Precondition, "migration"),
        SchemaError::NotMigrated { .. } => (Exit::Precondition, "not_migrated"),
        SchemaError::Sql(error) => database(error),
        _ => (Exit::Precondition, "postgres"),
    }
}

fn start(error: &StartError) -> (Exit, &'static str) {
    match error {
        StartError::Boot(error) => boot(error),
        StartError::Schema(error) => schema(error),
        StartError::Queue(error) => queue(error),
        StartError::Key(_) => (Exit::Usage, "encryption_key"),
        StartError::Keys(_) => (Exit::Precondition, "keys_mismatch"),
        StartError::Setting(_) => (Exit::Usage, "setting"),
        _ => (Exit::Failed, "failed"),
    }
}

fn api(error: &greenroom_api::StartError) -> (Exit, &'static str) {
    use greenroom_api::StartError;
    match error {
        StartError::Boot(error) => boot(error),
        StartError::Schema(error) => schema(error),
        StartError::Port(_) => (Exit::Usage, "setting"),
        StartError::Insisted => (Exit::Interrupted, "interrupted"),
        _ => (Exit::Failed, "failed"),
    }
}

fn queue(error: &QueueError) -> (Exit, &'static str) {
    match error {
        QueueError::NotFound(_) | QueueError::NoSuch { .. } | QueueError::NoSchedule(_) => {
            (Exit::NotFound, "not_found")
        }
        QueueError::NotDeclared(_) => (Exit::Conflict, "not_declared"),
        QueueError::Cron(_) => (Exit::Usage, "cron"),
        QueueError::WrongState { .. } => (Exit::Conflict, "wrong_state"),
        QueueError::KeyHeld { .. } => (Exit::Conflict, "key_held"),
        QueueError::Unbounded
        | QueueError::NotForThese(_)
        | QueueError::NoWindow(_)
        | QueueError::StripeHasNoCap(_) => (Exit::Usage, "usage"),
        QueueError::SearchTooLong(_) => (Exit::Failed, "search_too_long"),
        QueueError::Timeout(_) => (Exit::TryAgain, "database_busy"),
        QueueError::Database(error) => database(error),
        _ => (Exit::Failed, "failed"),
    }
}

fn enqueue(error: &EnqueueError) -> (Exit, &'static str) {
    match error {
        EnqueueError::PayloadTooLarge { .. } | EnqueueError::Nul { .. } | EnqueueError::NoLane { .. } => {
            (Exit::Usage, "payload")
        }
        EnqueueError::KeyInFlux { .. } => (Exit::TryAgain, "key_in_flux"),
        EnqueueError::Timeout(_) => (Exit::TryAgain, "database_busy"),
        EnqueueError::Database(error) => database(error),
        _ => (Exit::Failed, "failed"),
    }
}

fn accounts(error: &AccountsError) -> (Exit, &'static str) {
    match error {
        AccountsError::NoSuchOrganization | AccountsError::NoSuchUser => (Exit::NotFound, "not_found"),
        AccountsError::AddressTaken => (Exit::Conflict, "conflict"),
        AccountsError::Database(error) => database(error),
        _ => (Exit::Usage, "usage"),
    }
}

fn youtube(error: &YoutubeError) -> (Exit, &'static str) {
    match error {
        YoutubeError::NotFound(_) => (Exit::NotFound, "not_found"),
        YoutubeError::NotActive(_) => (Exit::Conflict, "not_active"),
        YoutubeError::Enqueue(error) => enqueue(error),
        YoutubeError::Queue(error) => queue(error),
        YoutubeError::Database(error) => database(error),
        _ => (Exit::Failed, "failed"),
    }
}

/// Tells a database that is not there or not ready from one that is busy and one that says no.
fn database(error: &sqlx::Error) -> (Exit, &'static str) {
    use sqlx::Error;
    let refused = match error {
        Error::Io(_) | Error::Tls(_) | Error::Protocol(_) | Error::PoolTimedOut | Error::PoolClosed => {
            return (Exit::Precondition, "database");
        }
        Error::Database(refused) => refused,
        _ => return (Exit::Failed, "database_refused"),
    };
    match refused.code().as_deref().unwrap_or_default() {
        // Serialization, deadlock, lock_timeout, statement_timeout, too many connections.
        "40001" | "40P01" | "55P03" | "57014" | "53300" => (Exit::TryAgain, "database_busy"),
        // A table, column, function or schema is missing: not this build's schema.
        "42P01" | "42703" | "42883" | "3F000" => (Exit::Precondition, "not_migrated"),
        "23503" => (Exit::NotFound, "not_found"),
        code if code.starts_with("08") || code.starts_with("57P") || code.starts_with("28") => {
            (Exit::Precondition, "database")
        }
        "3D000" => (Exit::Precondition, "database"),
        _ => (Exit::Failed, "database_refused"),
    }
}

/// Takes clap's own `error: ` away, since all errors get it where they are printed.
fn said(error: &clap::Error) -> String {
    let text = error.render().to_string();
    text.strip_prefix("error: ").unwrap_or(&text).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use greenroom_model::JobId;

    use super::*;

    #[test]
    fn an_error_ends_a_command_as_the_design_says() {
        let id = JobId::new();
        let state = QueueError::WrongState { job: id, status: "running".to_owned(), advice: "wait" };
        let timed_out = || sqlx::Error::PoolTimedOut;
        let table: Vec<(CliError, u8, &str)> = vec![
            (QueueError::NotFound(id).into(), 3, "not_found"),
            (state.into(), 4, "wrong_state"),
            (QueueError::KeyHeld { job: id, holder: id }.into(), 4, "key_held"),
            (QueueError::Unbounded.into(), 2, "usage"),
            (QueueError::SearchTooLong(10).into(), 1, "search_too_long"),
            (QueueError::Timeout(5_000).into(), 75, "database_busy"),
            (QueueError::Database(timed_out()).into(), 5, "database"),
            (EnqueueError::KeyInFlux { key: "k".to_owned() }.into(), 75, "key_in_flux"),
            (BootError::MissingSecret("DATABASE_URL".to_owned()).into(), 5, "secret"),
            (BootError::Setting("queue.batch".to_owned()).into(), 2, "setting"),
            (BootError::Database(timed_out()).into(), 5, "database"),
            (StartError::Boot(BootError::DatabaseUrl).into(), 5, "secret"),
            (StartError::Boot(BootError::TransactionPooler).into(), 5, "pooler"),
            (BootError::Standby.into(), 5, "database"),
            (SchemaError::NotMigrated { version: 1, secs: 0 }.into(), 5, "not_migrated"),
            (AccountsError::NoSuchOrganization.into(), 3, "not_found"),
            (AccountsError::NoSuchScope("all".to_owned()).into(), 2, "usage"),
            (OpenError::UnknownKey.into(), 1, "unknown_key"),
            (KeyError::Missing.into(), 2, "encryption_key"),
            (CliError::TryAgain("later".to_owned()), 75, "try_again"),
            (CliError::Interrupted, 130, "interrupted"),
            (CliError::NotMigrated, 5, "not_migrated"),
        ];
        for (error, exit, code) in table {
            assert_eq!((error.exit() as u8, error.code()), (exit, code), "{error}");
        }
    }
}
