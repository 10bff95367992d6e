//! The ledger's tables, one a file.

use sqlx::{Postgres, Transaction};

use crate::CreditsError;

pub(crate) mod ai_usage;
pub mod balances;
pub(crate) mod events;
pub(crate) mod grants;
pub mod prices;
pub(crate) mod reservations;
pub mod usage;

/// Ends a transaction, or a savepoint, by what came of it.
///
/// Dropping it would roll it back as well, but only when its connection is used again; until then its
/// locks would keep others waiting.
pub(crate) async fn end<T>(
    tx: Transaction<'_, Postgres>,
    outcome: Result<T, CreditsError>,
) -> Result<T, CreditsError> {
    match &outcome {
        Ok(_) => tx.commit().await?,
        Err(_) => tx.rollback().await?,
    }
    outcome
}
