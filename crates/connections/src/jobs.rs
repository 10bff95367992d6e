//! The jobs of this slice, one a file.

pub(crate) mod reencrypt;
pub(crate) mod refresh_token;
pub(crate) mod sweep_refreshes;

use std::sync::Arc;

use greenroom_queue::Jobs;
use greenroom_vault::Vault;
use sqlx::PgPool;

use crate::{Settings, Tokens};

/// What the jobs of this slice work with.
#[derive(Clone, Debug)]
pub struct Connections {
    /// Where the connections are.
    pub pool: PgPool,
    /// By which their tokens are opened and sealed.
    pub vault: Vault,
    /// Fresh tokens.
    pub tokens: Tokens,
    /// How.
    pub settings: Settings,
}

/// Lists the jobs of this slice; without a state they are only declared.
pub fn jobs(connections: Option<&Arc<Connections>>) -> Jobs {
    Jobs::new()
        .with::<refresh_token::RefreshToken>(connections)
        .with::<sweep_refreshes::SweepRefreshes>(connections)
        .with::<reencrypt::Reencrypt>(connections)
        .pool(refresh_token::POOL)
}

#[cfg(test)]
mod tests;
