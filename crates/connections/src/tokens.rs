//! Fresh tokens: read, opened, and refreshed when that is due.
//!
//! ```text
//!   row ──open──▶ still good ───────────────────────────▶ use it
//!                    │ ends soon, or was refused
//!                    ▼
//!   one flight per connection and process ──▶ one lease per connection ([`refresh`])
//! ```

mod refresh;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, Once, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use greenroom_http::{Class, Client};
use greenroom_model::{Clock, ConnectionId};
use greenroom_vault::{OpenError, Secret, Stored, Vault};
use sqlx::PgPool;

use crate::client::google::Google;
use crate::error::TokenError;
use crate::settings::Settings;
use crate::store::youtube::{self, Column, Status};

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

/// Hands out access tokens of YouTube connections; clones share their refreshes.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    pool: PgPool,
    vault: Vault,
    http: Client,
    google: Google,
    settings: Settings,
    clock: Clock,
    flights: Mutex<HashMap<ConnectionId, Flight>>,
}

/// A refresh under way, and all who wait for it.
type Flight = Shared<BoxFuture<'static, Outcome>>;
type Outcome = Result<AccessToken, TokenError>;

/// A row whose tokens are open.
struct Opened {
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
        google: Google,
        settings: Settings,
        clock: Clock,
    ) -> Self {
        Self(Arc::new(Inner { pool, vault, http, google, settings, clock, flights: Mutex::default() }))
    }

    /// Returns a token that lasts, refreshing it first where it ends soon.
    pub async fn fresh(&self, id: ConnectionId) -> Result<AccessToken, TokenError> {
        let row = self.0.read(id).await?;
        let now = self.0.clock.now();
        let Some(access) = row.access.clone() else {
            return self.renewed(id, row.version).await;
        };
        if !row.ends_soon(now, self.0.settings.refresh_margin_secs) {
            return Ok(access);
        }
        match self.renewed(id, row.version).await {
            // The margin is there so that Google may be away for a while.
            Err(error) if row.outlives(now) && !matches!(error.class(), Class::Reject) => {
                tracing::warn!(connection.id = %id, %error, "the token of connection {id} is used to its end: {error}");
                Ok(access)
            }
            outcome => outcome,
        }
    }

    /// Refreshes ahead of need, whatever the token's age; another's refresh under way does as well.
    pub async fn refresh(&self, id: ConnectionId) -> Result<AccessToken, TokenError> {
        let row = self.0.read(id).await?;
        self.renewed(id, row.version).await
    }

    /// Returns another token than the one that the platform refused.
    ///
    /// A job asks once in an attempt: a second 401 with a fresh token is not about the token.
    pub async fn after_401(&self, id: ConnectionId, refused_version: i64) -> Result<AccessToken, TokenError> {
        self.renewed(id, refused_version).await
    }

    /// Returns a token newer than the version seen, by whoever's refresh.
    async fn renewed(&self, id: ConnectionId, seen: i64) -> Outcome {
        let outcome = self.flight(id, seen).await;
        match &outcome {
            // The flight had begun for somebody who knew less than we do, and found our own token.
            Ok(token) if token.version <= seen => self.flight(id, seen).await,
            _ => outcome,
        }
    }

    /// Joins the refresh under way, or starts one that goes on even if nobody waits any more.
    fn flight(&self, id: ConnectionId, seen: i64) -> Flight {
        let mut flights = self.0.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&id) {
            return flight.clone();
        }
        let inner = Arc::clone(&self.0);
        let landing = Landing { inner: Arc::clone(&self.0), id };
        let task = tokio::spawn(async move {
            let _landing = landing;
            inner.renew(id, seen).await
        });
        let flight = task.map(|joined| joined.unwrap_or(Err(TokenError::Interrupted))).boxed().shared();
        flights.insert(id, flight.clone());
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
    id: ConnectionId,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.inner.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Inner {
    async fn newer(&self, id: ConnectionId, seen: i64) -> Result<Option<AccessToken>, TokenError> {
        Ok(self.read(id).await?.access.filter(|access| access.version > seen))
    }

    /// Reads a row and opens its tokens, sealing plain ones on the way.
    async fn read(&self, id: ConnectionId) -> Result<Opened, TokenError> {
        let mut conn = self.pool.acquire().await?;
        let row = youtube::tokens(&mut conn, id).await?;
        drop(conn);
        let row = row.ok_or(TokenError::NotFound)?;
        self.opened(id, row).await
    }

    /// Opens the tokens of a row that may serve.
    async fn opened(&self, id: ConnectionId, row: youtube::Stored) -> Result<Opened, TokenError> {
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
        let access = self.open(id, Column::Access, row.access_token).await?;
        let refresh = self.open(id, Column::Refresh, row.refresh_token).await?;
        if marked {
            youtube::unmark_undecryptable(&mut *self.pool.acquire().await?, id).await?;
        }
        let version = row.version;
        Ok(Opened {
            access: access.map(|secret| AccessToken { secret, version }),
            refresh,
            expires_at: row.expires_at,
            refreshed_at: row.refreshed_at,
            version,
        })
    }

    async fn open(
        &self,
        id: ConnectionId,
        column: Column,
        stored: Option<Secret>,
    ) -> Result<Option<Secret>, TokenError> {
        let Some(stored) = stored else { return Ok(None) };
        match self.vault.classify_for(&column.of(id), Some(stored.expose())) {
            Stored::Absent => Ok(None),
            Stored::Encrypted(token) => Ok(Some(token)),
            Stored::Undecryptable(error) => Err(self.undecryptable(id, error).await?),
            Stored::LegacyPlaintext(_) if !self.settings.allow_plaintext => Err(TokenError::Plaintext),
            Stored::LegacyPlaintext(token) => {
                static WARNED: Once = Once::new();
                WARNED.call_once(|| {
                    tracing::warn!(
                        "a token was stored as plain text; it and all like it are sealed as they are read"
                    );
                });
                metrics::counter!("greenroom_token_plaintext_reads_total").increment(1);
                let sealed = self.vault.seal_for(&column.of(id), &token);
                youtube::seal(&mut *self.pool.acquire().await?, id, column, &stored, &sealed).await?;
                Ok(Some(token))
            }
        }
    }

    async fn undecryptable(&self, id: ConnectionId, error: OpenError) -> Result<TokenError, TokenError> {
        if youtube::mark_undecryptable(&mut *self.pool.acquire().await?, id).await? {
            metrics::counter!("greenroom_tokens_undecryptable_total").increment(1);
            tracing::error!(connection.id = %id, "a token of connection {id} does not open: {error}");
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
