//! Fresh tokens: read, opened, and refreshed when that is due.
//!
//! ```text
//!   row ──open──▶ still good ───────────────────────────▶ use it
//!                    │ ends soon, or was refused
//!                    ▼
//!   one flight per connection and process ──▶ one lease per connection ([`refresh`])
//! ```

mod refresh;

pub(crate) use refresh::next_refresh;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, Once, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use greenroom_http::{Class, Client};
use greenroom_model::{Clock, Platform};
use greenroom_vault::{OpenError, Secret, Stored, Vault};
use sqlx::PgPool;

use crate::error::TokenError;
use crate::provider::{Provider, Providers};
use crate::settings::Settings;
use crate::store::columns::TokenColumn;
use crate::store::tokens;
use crate::store::youtube::Status;
use crate::which::{Column, Which};

#[cfg(test)]
pub(crate) mod tests;

/// Why a connection is in error while a key is missing.
const UNDECRYPTABLE: &str = "token_undecryptable";
/// Why it is after a day in which its provider gave no token.
const UNAVAILABLE: &str = "refresh_unavailable";

/// An access token in hand.
#[derive(Debug, Clone)]
pub struct AccessToken {
    /// The token, for the `Authorization` header.
    pub secret: Secret,
    /// Which of the connection's tokens it is; [`Tokens::after_401`] wants to know.
    pub version: i64,
}

/// Hands out access tokens of connections; clones share their refreshes.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    pool: PgPool,
    vault: Vault,
    http: Client,
    providers: Providers,
    settings: Settings,
    clock: Clock,
    flights: Mutex<HashMap<Which, Flight>>,
}

/// A refresh under way, and all who wait for it.
type Flight = Shared<BoxFuture<'static, Outcome>>;
type Outcome = Result<AccessToken, TokenError>;

/// A row whose tokens are open.
struct Opened {
    platform: Platform,
    access: Option<AccessToken>,
    refresh: Option<Secret>,
    expires_at: Option<DateTime<Utc>>,
    refreshed_at: Option<DateTime<Utc>>,
    version: i64,
}

impl Tokens {
    /// Makes the one source of tokens of this process.
    pub fn new(
        pool: PgPool,
        vault: Vault,
        http: Client,
        providers: Providers,
        settings: Settings,
        clock: Clock,
    ) -> Self {
        Self(Arc::new(Inner { pool, vault, http, providers, settings, clock, flights: Mutex::default() }))
    }

    /// Returns a token that lasts, refreshing it first where it ends soon.
    pub async fn fresh(&self, which: Which) -> Result<AccessToken, TokenError> {
        let row = self.0.read(which).await?;
        let now = self.0.clock.now();
        let Some(access) = row.access.clone() else {
            return self.renew(which, row.version).await;
        };
        if !row.ends_soon(now, self.0.settings.refresh_margin_secs) {
            return Ok(access);
        }
        match self.renew(which, row.version).await {
            // The margin is there so that Google may be away for a while.
            Err(error) if row.outlives(now) && !matches!(error.class(), Class::Reject) => {
                tracing::warn!(connection.id = %which.id, %error, "the token of connection {which} is used to its end: {error}");
                Ok(access)
            }
            outcome => outcome,
        }
    }

    /// Returns which of the connection's tokens is stored.
    pub(crate) async fn version(&self, which: Which) -> Result<i64, TokenError> {
        let row = tokens::read(&mut *self.0.pool.acquire().await?, which).await?;
        Ok(row.ok_or(TokenError::NotFound)?.version)
    }

    /// Returns another token than that of this version, asking for it unless somebody has it already.
    ///
    /// For a token that the platform refused, and ahead of need. A job that was refused asks once in an attempt:
    /// a second 401 with a fresh token is not about the token.
    pub async fn renew(&self, which: Which, replaces: i64) -> Result<AccessToken, TokenError> {
        let outcome = self.flight(which, replaces).await;
        match &outcome {
            // The flight had begun for somebody who knew less than we do, and found our own token.
            Ok(token) if token.version <= replaces => self.flight(which, replaces).await,
            _ => outcome,
        }
    }

    /// Asks a provider to take a token back.
    pub(crate) async fn revoke(&self, platform: Platform, token: &Secret) -> Result<(), TokenError> {
        self.0.provider(platform)?.revoke(&self.0.http, token).await.map_err(TokenError::Provider)
    }

    /// Joins the refresh under way, or starts one that goes on even if nobody waits any more.
    fn flight(&self, which: Which, seen: i64) -> Flight {
        let mut flights = self.0.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&which) {
            return flight.clone();
        }
        let inner = Arc::clone(&self.0);
        let landing = Landing { inner: Arc::clone(&self.0), which };
        let task = tokio::spawn(async move {
            let _landing = landing;
            inner.renew(which, seen).await
        });
        let flight = task.map(|joined| joined.unwrap_or(Err(TokenError::Interrupted))).boxed().shared();
        flights.insert(which, flight.clone());
        flight
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

/// Takes a flight off the board when it ends, however it ends.
struct Landing {
    inner: Arc<Inner>,
    which: Which,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.inner.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.which);
    }
}

impl Inner {
    async fn newer(&self, which: Which, seen: i64) -> Result<Option<AccessToken>, TokenError> {
        Ok(self.read(which).await?.access.filter(|access| access.version > seen))
    }

    fn provider(&self, platform: Platform) -> Result<&dyn Provider, TokenError> {
        let provider = self.providers.get(platform).ok_or(TokenError::NotConfigured(platform))?;
        Ok(provider.as_ref())
    }

    /// Reads a row and opens its tokens, sealing plain ones on the way.
    async fn read(&self, which: Which) -> Result<Opened, TokenError> {
        let mut conn = self.pool.acquire().await?;
        let row = tokens::read(&mut conn, which).await?;
        drop(conn);
        let row = row.ok_or(TokenError::NotFound)?;
        self.opened(which, row).await
    }

    /// Opens the tokens of a row that may serve.
    async fn opened(&self, which: Which, row: tokens::Stored) -> Result<Opened, TokenError> {
        let marked = row.error.as_deref() == Some(UNDECRYPTABLE);
        match row.status {
            Status::Disconnected => return Err(TokenError::Disconnected),
            // These two may pass by themselves.
            Status::Error if !marked && row.error.as_deref() != Some(UNAVAILABLE) => {
                let why = row.error.unwrap_or_else(|| "the connection is in error".to_owned());
                return Err(TokenError::Reauthorise(why));
            }
            Status::Active | Status::Error => {}
        }
        let access = self.open(which, Column::Access, row.access_token).await?;
        let refresh = self.open(which, Column::Refresh, row.refresh_token).await?;
        if marked {
            tokens::unmark_undecryptable(&mut *self.pool.acquire().await?, which).await?;
        }
        let version = row.version;
        Ok(Opened {
            platform: row.platform,
            access: access.map(|secret| AccessToken { secret, version }),
            refresh,
            expires_at: row.expires_at,
            refreshed_at: row.refreshed_at,
            version,
        })
    }

    async fn open(
        &self,
        which: Which,
        column: Column,
        stored: Option<Secret>,
    ) -> Result<Option<Secret>, TokenError> {
        let Some(stored) = stored else { return Ok(None) };
        match self.vault.classify_for(&which.place(column), Some(stored.expose())) {
            Stored::Absent => Ok(None),
            Stored::Encrypted(token) => Ok(Some(token)),
            Stored::Undecryptable(error) => Err(self.undecryptable(which, error).await?),
            Stored::LegacyPlaintext(_) if !self.settings.allow_plaintext => Err(TokenError::Plaintext),
            Stored::LegacyPlaintext(token) => {
                static WARNED: Once = Once::new();
                WARNED.call_once(|| {
                    tracing::warn!(
                        "a token was stored as plain text; it and all like it are sealed as they are read"
                    );
                });
                metrics::counter!("greenroom_token_plaintext_reads_total").increment(1);
                let sealed = self.vault.seal_for(&which.place(column), &token);
                let column = TokenColumn(which.kind, column);
                // Whoever replaced it first has written a sealed one.
                column.swap(&mut *self.pool.acquire().await?, which.id.0, &stored, &sealed, true).await?;
                Ok(Some(token))
            }
        }
    }

    async fn undecryptable(&self, which: Which, error: OpenError) -> Result<TokenError, TokenError> {
        if tokens::mark_undecryptable(&mut *self.pool.acquire().await?, which).await? {
            metrics::counter!("greenroom_tokens_undecryptable_total").increment(1);
            tracing::error!(connection.id = %which.id, "a token of connection {which} does not open: {error}");
        }
        Ok(TokenError::Undecryptable(error))
    }
}

impl Opened {
    fn ends_soon(&self, now: DateTime<Utc>, margin_secs: u32) -> bool {
        let lifetime = self.expires_at.zip(self.refreshed_at).map(|(end, start)| end - start);
        self.expires_at.is_some_and(|end| end <= now + margin(margin_secs, lifetime))
    }

    fn outlives(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_some_and(|end| end > now)
    }
}

/// A margin of at most a quarter of the token's life, or short-lived tokens would always be about to end.
fn margin(margin_secs: u32, lifetime: Option<TimeDelta>) -> TimeDelta {
    let margin = TimeDelta::seconds(i64::from(margin_secs));
    lifetime.map_or(margin, |lifetime| margin.min(lifetime / 4))
}
