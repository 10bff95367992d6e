//! Why something about people or tokens was not done.

/// Why something about people, organisations or tokens was not done.
#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    /// The text is no mail address.
    #[error("this is not a mail address: give one with exactly one @, of at most 254 characters")]
    NotAnAddress,
    /// Somebody has this address, in whatever capitals.
    #[error("there is already a user with this address")]
    AddressTaken,
    /// There is no such organisation.
    #[error("there is no such organisation")]
    NoSuchOrganization,
    /// There is no such user.
    #[error("there is no such user")]
    NoSuchUser,
    /// An organisation needs a name.
    #[error("an organisation needs a name")]
    NoName,
    /// A token may not live as long as asked, or not at all.
    #[error("a token lives 1 to 365 days")]
    Lifetime,
    /// A token may not do what is asked.
    #[error("there is no scope {0:?}: use {list}", list = crate::access::SCOPES.join(", "))]
    NoSuchScope(String),
    /// The database refused.
    #[error("the accounts could not be read or written: {0}")]
    Database(#[from] sqlx::Error),
}

impl AccountsError {
    /// Tells apart which reference a foreign key found missing.
    pub(crate) fn from_reference(error: sqlx::Error) -> Self {
        match error.as_database_error().filter(|refused| refused.is_foreign_key_violation()) {
            Some(refused) if refused.constraint().is_some_and(|name| name.contains("organization_id")) => {
                Self::NoSuchOrganization
            }
            Some(_) => Self::NoSuchUser,
            None => Self::Database(error),
        }
    }
}
