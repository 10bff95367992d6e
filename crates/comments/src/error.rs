//! What can go wrong with comments.

use greenroom_model::Platform;

/// Why comments could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum CommentsError {
    /// A platform whose comments have no table.
    #[error("comments of {0} cannot be stored: only those of youtube and instagram have a table")]
    UnsupportedPlatform(Platform),
    /// The database refused or was not there.
    #[error("comments could not be read or written: {0}")]
    Database(#[from] sqlx::Error),
}
