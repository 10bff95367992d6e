//! The jobs of this slice, one a file.

pub(crate) mod expire_reservations;

use std::sync::Arc;

use greenroom_queue::Jobs;
use sqlx::PgPool;

/// Lists the jobs of this slice; without a pool they are only declared.
pub fn jobs(pool: Option<&Arc<PgPool>>) -> Jobs {
    Jobs::new().with::<expire_reservations::ExpireReservations>(pool)
}
