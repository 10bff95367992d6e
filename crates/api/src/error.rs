//! Why the process could not start or go on.

use std::net::SocketAddr;
use std::process::ExitCode;

/// Why the API ended by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Settings, secrets, the log or the database connection.
    #[error(transparent)]
    Boot(#[from] greenroom_boot::BootError),
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
    /// The prices of models cannot stand.
    #[error(transparent)]
    Prices(#[from] greenroom_credits::PricesError),
    /// `UNSUBSCRIBE_KEY` cannot be used.
    #[error(transparent)]
    Campaigns(#[from] greenroom_campaigns::CampaignsError),
    /// `PORT` is no port.
    #[error("PORT is {0:?}: use a number up to 65535")]
    Port(String),
    /// The address is not to be had.
    #[error("cannot listen on {address}: {source}; end what listens there, or set PORT or api.listen")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// A second signal came before the last answer was given.
    #[error("ended at once by a second signal; requests may be left unanswered")]
    Insisted,
}

impl StartError {
    /// Returns 2 for a wrong setting, 5 for a precondition, 130 for an interruption, 1 for the rest.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Port(_) | Self::Key(_) | Self::Prices(_) | Self::Campaigns(_) => 2,
            Self::Boot(_) | Self::Schema(_) | Self::Keys(_) => 5,
            Self::Listen { .. } | Self::Http(_) => 1,
            Self::Insisted => 130,
        })
    }
}
