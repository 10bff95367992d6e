//! Why a process does not start.

/// Why a process does not start; each says what to set, and none shows a secret.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// `GREENROOM_ENV` names no environment.
    #[error("GREENROOM_ENV is {0:?}: use development, test or production")]
    Environment(String),
    /// A setting is given that no `config/default.toml` knows.
    #[error("there is no setting `{key}` ({origin}): config/default.toml names all there are")]
    UnknownSetting {
        /// The setting's full name.
        key: String,
        /// Where it was given.
        origin: String,
    },
    /// A setting has a value that it cannot have.
    #[error("{0}; see config/default.toml")]
    Setting(String),
    /// A secret is not there.
    #[error("{0} is not set: set it, or {0}_FILE to the path of a file that holds it")]
    MissingSecret(String),
    /// A secret is given twice, or its file cannot be read.
    #[error("{name}: {reason}")]
    Secret {
        /// The secret's name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The log or the metrics are already those of somebody else.
    #[error("the {0} of this process are already set up: do that once")]
    Twice(&'static str),
    /// The operating system refuses signals or a thread.
    #[error("the operating system does not let this process start: {0}")]
    System(#[from] std::io::Error),
    /// The probes' address is not to be had.
    #[error(
        "cannot answer probes on {address}: {source}; end what listens there, or give each process a port of its own"
    )]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// `DATABASE_URL` cannot be read.
    #[error(
        "DATABASE_URL is not an address of a PostgreSQL database: use postgres://user:password@host:port/name, \
         or several of them with commas between"
    )]
    DatabaseUrl,
    /// A pooler that lends connections by the transaction stands before the database.
    #[error(
        "DATABASE_URL leads through a pooler in transaction mode, where notifications are lost and answers \
         can reach the wrong client: connect directly, or through the pooler in session mode"
    )]
    TransactionPooler,
    /// One connection is to be had, two are not.
    #[error(
        "the database answers on one connection and not on two, for {secs} s: give a pooler before it a \
         larger pool, or see why the server is slow"
    )]
    OneConnection {
        /// How long was waited.
        secs: f32,
    },
    /// Only servers in recovery answer.
    #[error(
        "the database is a standby, which cannot be written to: let DATABASE_URL name the primary, or the \
         addresses of all servers with commas between"
    )]
    Standby,
    /// The database does not let us in.
    #[error("the database cannot be reached: {0}; check DATABASE_URL and that the server runs")]
    Database(#[source] sqlx::Error),
}
