//! Why a process could not start or go on.

use greenroom_boot::BootError;

/// Why a process ended by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Settings, secrets, the log or the database connection.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The schema is not the one this build needs.
    #[error(transparent)]
    Schema(#[from] greenroom_postgres::Error),
    /// `ENCRYPTION_KEY` is not a list of Fernet keys.
    #[error("ENCRYPTION_KEY: {0}")]
    Key(#[from] greenroom_vault::KeyError),
    /// The keys are not those of this database.
    #[error(transparent)]
    Keys(#[from] greenroom_connections::KeysError),
    /// The HTTP client could not be made.
    #[error(transparent)]
    Http(#[from] greenroom_http::ClientError),
    /// A setting breaks its rule.
    #[error("{0}; see config/default.toml")]
    Setting(String),
    /// The language model cannot be called as it is set.
    #[error(transparent)]
    Llm(#[from] greenroom_llm::LlmError),
    /// Comments cannot be read as it is set.
    #[error(transparent)]
    Comments(#[from] greenroom_comments::CommentsError),
    /// The prices of models cannot stand.
    #[error(transparent)]
    Prices(#[from] greenroom_credits::PricesError),
    /// Mail cannot be sent as it is set.
    #[error(transparent)]
    Mail(#[from] greenroom_mail::MailError),
    /// Campaigns cannot run as they are set.
    #[error(transparent)]
    Campaigns(#[from] greenroom_campaigns::CampaignsError),
    /// The worker ended.
    #[error(transparent)]
    Worker(#[from] greenroom_queue::WorkerError),
    /// The scheduler ended.
    #[error(transparent)]
    Queue(#[from] greenroom_queue::QueueError),
}

impl StartError {
    /// Returns 2 for wrong settings, 5 for a precondition such as the database, 1 for the rest.
    pub fn exit_code(&self) -> std::process::ExitCode {
        std::process::ExitCode::from(match self {
            Self::Setting(_)
            | Self::Key(_)
            | Self::Prices(_)
            | Self::Llm(_)
            | Self::Comments(_)
            | Self::Mail(_)
            | Self::Campaigns(_) => 2,
            Self::Boot(BootError::Listen { .. }) | Self::Http(_) | Self::Worker(_) | Self::Queue(_) => 1,
            Self::Boot(_) | Self::Schema(_) | Self::Keys(_) => 5,
        })
    }
}
