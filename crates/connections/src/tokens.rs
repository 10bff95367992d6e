//! Fresh tokens: read, opened, and refreshed when that is due.
//!
//! ```text
//!   row ──open──▶ still good ───────────────────────────▶ use it
//!                    │ ends soon, or was refused
//!                    ▼
//!   one flight per connection ──ask Google, holding no database connection──▶ compare and swap
//!                    ▲                                                         │ lost the race
//!                    └───────────── read again, use what is stored ◀───────────┘
//! ```

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, Once, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use greenroom_http::{Class, Client, Failure};
use greenroom_model::{Clock, ConnectionId};
use greenroom_vault::{OpenError, Secret, Stored, Vault};
use sqlx::PgPool;

use crate::client::google::{Google, Granted};
use crate::error::TokenError;
use crate::settings::Settings;
use crate::store::youtube::{self, Column, Refreshed, Status};

#[cfg(test)]
mod tests;

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
    async fn renew(&self, id: ConnectionId, seen: i64) -> Outcome {
        let row = self.read(id).await?;
        if row.version > seen
            && let Some(access) = row.access
        {
            return Ok(access);
        }
        let refresh =
            row.refresh.ok_or_else(|| TokenError::Reauthorise("there is no refresh token".to_owned()))?;
        // No database connection is held from here until the answer has come.
        let granted = self.google.refresh(&self.http, &refresh).await;
        let outcome = granted.as_ref().map_or_else(outcome_name, |_| "ok");
        metrics::counter!("greenroom_token_refresh_total", "platform" => "youtube", "outcome" => outcome)
            .increment(1);
        match granted {
            Ok(granted) => self.store(id, row.version, granted).await,
            Err(failure) if failure.class() == Class::Reauthorise => {
                // If the row has changed meanwhile, the refresh token was replaced, not revoked.
                self.newer(id, row.version).await?.ok_or_else(|| TokenError::Reauthorise(failure.to_string()))
            }
            Err(failure) => Err(TokenError::Provider(failure)),
        }
    }

    async fn store(&self, id: ConnectionId, seen: i64, granted: Granted) -> Outcome {
        let now = self.clock.now();
        let lifetime = granted.expires_in.map(|secs| TimeDelta::seconds(i64::from(secs)));
        let new = Refreshed {
            access_token: self.vault.seal(&granted.access_token),
            refresh_token: granted.refresh_token.as_ref().map(|token| self.vault.seal(token)),
            expires_at: lifetime.map(|lifetime| now + lifetime),
            next_refresh_at: lifetime
                .map(|lifetime| now + lifetime - self.margin(lifetime) - jitter(lifetime)),
        };
        let mut conn = self.pool.acquire().await?;
        if youtube::store_refreshed(&mut conn, id, seen, &new).await? {
            return Ok(AccessToken { secret: granted.access_token, version: seen + 1 });
        }
        drop(conn);
        // Somebody else wrote first; theirs is as good, and a deleted or disconnected row stays so.
        self.newer(id, seen).await?.ok_or(TokenError::NotFound)
    }

    async fn newer(&self, id: ConnectionId, seen: i64) -> Result<Option<AccessToken>, TokenError> {
        Ok(self.read(id).await?.access.filter(|access| access.version > seen))
    }

    /// Reads a row and opens its tokens, sealing plain ones on the way.
    async fn read(&self, id: ConnectionId) -> Result<Opened, TokenError> {
        let mut conn = self.pool.acquire().await?;
        let row = youtube::tokens(&mut conn, id).await?;
        drop(conn);
        let row = row.ok_or(TokenError::NotFound)?;
        let marked = row.error.as_deref() == Some("token_undecryptable");
        match row.status {
            Status::Disconnected => return Err(TokenError::Disconnected),
            Status::Error if !marked => {
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
        match self.vault.classify(Some(stored.expose())) {
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
                let sealed = self.vault.seal(&token);
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

    fn margin(&self, lifetime: TimeDelta) -> TimeDelta {
        margin(self.settings.refresh_margin_secs, Some(lifetime))
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

/// Spreads refreshes, so that connections made on one day do not end in one minute.
fn jitter(lifetime: TimeDelta) -> TimeDelta {
    let most = (lifetime / 10).min(TimeDelta::days(3)).num_seconds().max(0);
    TimeDelta::seconds(rand::random_range(0..=most))
}

fn outcome_name(failure: &Failure) -> &'static str {
    match failure.class() {
        Class::Retry => "transient",
        Class::RetryAt(_) => "configuration",
        Class::Reauthorise => "invalid_grant",
        Class::Reject => "rejected",
    }
}
