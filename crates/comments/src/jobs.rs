//! The jobs of this slice, one a file.

pub(crate) mod enrich;
pub(crate) mod enrich_due;
pub(crate) mod read_again;

use std::sync::Arc;

use greenroom_queue::Jobs;

use crate::Enrichment;

/// Lists the jobs of this slice; without a state they are only declared.
pub fn jobs(enrichment: Option<&Arc<Enrichment>>) -> Jobs {
    Jobs::new()
        .with::<enrich::Enrich>(enrichment)
        .with::<enrich_due::EnrichDue>(enrichment)
        .with::<read_again::ReadAgain>(enrichment)
}
