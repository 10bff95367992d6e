//! The jobs of this slice, one a file.

pub(crate) mod audit;
pub(crate) mod expire_reservations;
pub(crate) mod reset_monthly;

use std::sync::Arc;
use std::time::Duration;

use greenroom_queue::Jobs;
use sqlx::PgPool;

use crate::{ModelPrices, PricesError, Settings};

/// How long work over all accounts may take.
pub(crate) const HOUR: Duration = Duration::from_hours(1);

/// What the jobs of this slice work with.
#[derive(Clone, Debug)]
pub struct Credits {
    /// Where the ledger is.
    pub pool: PgPool,
    /// How.
    pub settings: Settings,
    /// What models cost.
    pub prices: ModelPrices,
}

impl Credits {
    /// Puts the ledger together; prices that cannot stand are an error.
    pub fn new(pool: PgPool, settings: Settings) -> Result<Self, PricesError> {
        let prices = ModelPrices::load(&settings.prices_dir)?;
        Ok(Self { pool, settings, prices })
    }
}

/// Lists the jobs of this slice; without a state they are only declared.
pub fn jobs(credits: Option<&Arc<Credits>>) -> Jobs {
    Jobs::new()
        .with::<expire_reservations::ExpireReservations>(credits)
        .with::<reset_monthly::ResetMonthly>(credits)
        .with::<audit::Audit>(credits)
}
