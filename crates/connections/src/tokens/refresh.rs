//! A refresh: under a lease, holding nothing in the database while the provider thinks.
//!
//! ```text
//!   lease ──taken──▶ look again ──due──▶ ask, 30 s ──┬─ tokens ──▶ store under lease and version
//!     │ another has it           │ not any more      │               └─ somebody else wrote: keep what was rotated
//!     ▼                          ▼                   ├─ refused ──▶ suspected; a minute later: the owner has to come
//!   wait for his token         use it                └─ away, or we are at fault ──▶ later
//! ```
//!
//! A refused token is first read again, since whoever lost a race is refused too; then it is tried once more after a
//! minute; and while many are refused at once the fault is taken for our own, and nobody is asked to connect again.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use greenroom_http::{Class, Failure};
use greenroom_mail::{Notice, notify};
use greenroom_vault::Secret;
use metrics::{counter, histogram};
use serde_json::json;
use sqlx::PgConnection;
use tokio::time::Instant;
use uuid::Uuid;

use super::{AccessToken, Inner, Opened, Outcome};
use crate::error::TokenError;
use crate::listing;
use crate::provider::{self, Granted, Provider, RenewedBy};
use crate::settings::Settings;
use crate::store::orphans;
use crate::store::tokens::{self, Fault, Leased, Recent, Refreshed};
use crate::which::{Column, Which};

/// How long one call may take, its tries together.
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// How long somebody else's refresh is waited for.
const WAIT: Duration = Duration::from_secs(20);
/// How often an answer is tried to be stored, and how long: it may be the only token that still serves.
const STORE_TRIES: u32 = 10;
const STORE_PAUSE: Duration = Duration::from_secs(6);
/// How long after a first refusal a second one counts.
const CONFIRM_AFTER: TimeDelta = TimeDelta::seconds(60);
/// Of at least so many refreshes in ten minutes, more than a fifth refused are a storm.
const STORM_LEAST: i64 = 20;
const STORM_SHARE: i64 = 5;
/// After which it is too late to tell an owner.
const NOTICE_LASTS: Duration = Duration::from_hours(14 * 24);
/// How long everything of a client rests when the client itself is refused.
const CONFIGURATION_PAUSE: TimeDelta = TimeDelta::minutes(10);

/// What came of asking for the lease.
enum Turn {
    /// It is ours.
    Ours(Leased),
    /// Somebody else has refreshed meanwhile.
    Theirs(AccessToken),
}

impl Inner {
    /// Returns a token newer than the version seen: another's, or one it fetches.
    pub(super) async fn renew(&self, which: Which, seen: i64) -> Outcome {
        let owner = Uuid::now_v7();
        let leased = match self.turn(which, owner, seen).await? {
            Turn::Theirs(token) => return Ok(token),
            Turn::Ours(leased) => leased,
        };
        let (suspected_at, failures, now) = (leased.suspected_at, leased.failures, leased.now);
        let row = match self.opened(which, leased.stored).await {
            Ok(row) => row,
            Err(error) => {
                self.release(which, owner).await;
                return Err(error);
            }
        };
        if row.version > seen
            && let Some(access) = &row.access
        {
            self.release(which, owner).await;
            return Ok(access.clone());
        }
        if let Some(at) = suspected_at.map(|at| at + CONFIRM_AFTER).filter(|at| *at > now) {
            self.release(which, owner).await;
            return Err(TokenError::Suspected(at));
        }
        let provider = match self.provider(row.platform) {
            Ok(provider) => provider,
            Err(error) => {
                self.release(which, owner).await;
                return Err(error);
            }
        };
        let renewing = match provider.renewed_by() {
            RenewedBy::RefreshToken => row.refresh.as_ref(),
            RenewedBy::AccessToken if row.expires_at.is_some_and(|end| end <= now) => {
                return self.give_up(which, owner, &row, "its token has ended".to_owned()).await;
            }
            RenewedBy::AccessToken => row.access.as_ref().map(|access| &access.secret),
        };
        let Some(renewing) = renewing else {
            self.release(which, owner).await;
            return Err(TokenError::Reauthorise("there is no refresh token".to_owned()));
        };
        match self.ask(provider, renewing).await {
            Ok(granted) => self.keep(which, owner, &row, granted).await,
            Err(failure) => self.refused(which, owner, &row, failure, suspected_at.is_some(), failures).await,
        }
    }

    /// Waits for the lease, or for the token of whoever has it.
    async fn turn(&self, which: Which, owner: Uuid, seen: i64) -> Result<Turn, TokenError> {
        let until = Instant::now() + WAIT;
        loop {
            let leased = tokens::acquire(&mut *self.pool.acquire().await?, which, owner).await?;
            if let Some(leased) = leased {
                return Ok(Turn::Ours(leased));
            }
            counter!("greenroom_token_lease_waits_total", "platform" => which.kind.as_str()).increment(1);
            if let Some(token) = self.newer(which, seen).await? {
                return Ok(Turn::Theirs(token));
            }
            if Instant::now() >= until {
                return Err(TokenError::Busy);
            }
            tokio::time::sleep(Duration::from_millis(rand::random_range(200..=300))).await;
        }
    }

    /// Asks the provider, holding no database connection.
    async fn ask(&self, provider: &dyn Provider, token: &Secret) -> Result<Granted, Failure> {
        let (begun, platform) = (Instant::now(), provider.platform().as_str());
        let asked = tokio::time::timeout(CALL_LIMIT, provider.refresh(&self.http, token)).await;
        let granted = asked.unwrap_or_else(|_| Err(provider::late(CALL_LIMIT)));
        histogram!("greenroom_token_refresh_seconds", "platform" => platform)
            .record(begun.elapsed().as_secs_f64());
        let outcome = granted.as_ref().map_or_else(outcome_name, |_| "ok");
        counter!("greenroom_token_refresh_total", "platform" => platform, "outcome" => outcome).increment(1);
        granted
    }

    /// Stores what was granted, however often that takes.
    async fn keep(&self, which: Which, owner: Uuid, row: &Opened, granted: Granted) -> Outcome {
        let now = self.clock.now();
        let lifetime = granted.expires_in.map(|secs| TimeDelta::seconds(i64::from(secs)));
        let new = Refreshed {
            access_token: self.vault.seal_for(&which.place(Column::Access), &granted.access_token),
            refresh_token: granted
                .refresh_token
                .as_ref()
                .map(|token| self.vault.seal_for(&which.place(Column::Refresh), token)),
            expires_at: lifetime.map(|lifetime| now + lifetime),
            next_refresh_at: next_refresh(self.provider(row.platform)?, &self.settings, now, lifetime),
        };
        if self.store(which, owner, row.version, &new).await? {
            return Ok(AccessToken { secret: granted.access_token, version: row.version + 1 });
        }
        counter!("greenroom_token_race_recoveries_total", "platform" => row.platform.as_str()).increment(1);
        // Somebody else wrote first. Their tokens serve, but what was rotated to us may outlive them.
        if let Some(sealed) = &new.refresh_token
            && self.read(which).await.is_ok()
        {
            tracing::warn!(connection.id = %which.id, "a rotated token of connection {which} came late and is kept aside");
            self.keep_aside(which, sealed).await?;
        }
        // A deleted or disconnected row stays so.
        self.newer(which, row.version).await?.ok_or(TokenError::NotFound)
    }

    /// Stores new tokens, again and again while the database is away: losing them may lose the account.
    async fn store(&self, which: Which, owner: Uuid, seen: i64, new: &Refreshed) -> Result<bool, TokenError> {
        let mut tries = 0;
        loop {
            let stored =
                async { tokens::store(&mut *self.pool.acquire().await?, which, owner, seen, new).await };
            match stored.await {
                Ok(stored) => return Ok(stored),
                Err(error) => pause_after(error, &mut tries).await?,
            }
        }
    }

    async fn keep_aside(&self, which: Which, sealed: &str) -> Result<(), TokenError> {
        let mut tries = 0;
        loop {
            let kept = async { orphans::keep(&mut *self.pool.acquire().await?, which, sealed).await };
            match kept.await {
                Ok(()) => return Ok(()),
                Err(error) => pause_after(error, &mut tries).await?,
            }
        }
    }

    /// Decides whose fault a failure is.
    async fn refused(
        &self,
        which: Which,
        owner: Uuid,
        row: &Opened,
        failure: Failure,
        suspected: bool,
        failures: i32,
    ) -> Outcome {
        match failure.class() {
            Class::Reauthorise => self.refused_for_good(which, owner, row, failure, suspected).await,
            // Our client is refused, and no connection is at fault.
            Class::RetryAt(_) | Class::Reject => {
                self.fail(which, owner, Fault::Configuration, CONFIGURATION_PAUSE).await?;
                Err(TokenError::Provider(failure))
            }
            Class::Retry => {
                self.fail(which, owner, Fault::Transient, backoff(failures)).await?;
                Err(TokenError::Provider(failure))
            }
        }
    }

    async fn refused_for_good(
        &self,
        which: Which,
        owner: Uuid,
        row: &Opened,
        failure: Failure,
        suspected: bool,
    ) -> Outcome {
        // If the row has changed meanwhile, the refresh token was replaced and not revoked.
        if let Some(token) = self.newer(which, row.version).await? {
            counter!("greenroom_token_race_recoveries_total", "platform" => row.platform.as_str())
                .increment(1);
            self.release(which, owner).await;
            return Ok(token);
        }
        if let Some(granted) = self.ask_with_an_orphan(which, row).await? {
            return self.keep(which, owner, row, granted).await;
        }
        if !suspected {
            let again = CONFIRM_AFTER + TimeDelta::seconds(rand::random_range(0..=30));
            self.fail(which, owner, Fault::Suspected, again).await?;
            return Err(TokenError::Suspected(self.clock.now() + again));
        }
        let recent = tokens::recent(&mut *self.pool.acquire().await?, which.kind, row.platform).await?;
        if is_storm(&recent) {
            tracing::error!(
                "many refresh tokens are refused at once: is the OAuth client still the one they were given to?"
            );
            self.fail(which, owner, Fault::Suspected, CONFIGURATION_PAUSE).await?;
            return Err(TokenError::Storm(self.clock.now() + CONFIGURATION_PAUSE));
        }
        self.give_up(which, owner, row, failure.to_string()).await
    }

    /// Marks a connection that only its owner can bring back.
    async fn give_up(&self, which: Which, owner: Uuid, row: &Opened, why: String) -> Outcome {
        let mut tx = self.pool.begin().await?;
        let marked = tokens::needs_owner(&mut tx, which, owner, row.version).await?;
        if marked {
            self.tell_owner(&mut tx, which, row.version).await?;
        }
        tx.commit().await?;
        if marked {
            counter!("greenroom_token_reauth_required_total", "platform" => row.platform.as_str())
                .increment(1);
            tracing::warn!(connection.id = %which.id, "connection {which} needs its owner: {why}");
        }
        Err(TokenError::Reauthorise(why))
    }

    /// Tells its owner, in the transaction that marks it: one notice an episode, which ends when he connects again and
    /// the version rises. A connection for a location is nobody's in person.
    async fn tell_owner(
        &self,
        conn: &mut PgConnection,
        which: Which,
        version: i64,
    ) -> Result<(), TokenError> {
        let Some(connection) = listing::find(conn, which.id).await? else { return Ok(()) };
        let Some(user) = connection.user_id else { return Ok(()) };
        let notice = Notice {
            step: "connection_error",
            occurrence: &format!("{}:{version}", which.id),
            params: json!({"platform": connection.platform, "name_of_account": connection.name}),
            lasts: NOTICE_LASTS,
        };
        notify(conn, user, &notice).await?;
        Ok(())
    }

    /// Tries rotated tokens that came late, the newest first.
    async fn ask_with_an_orphan(&self, which: Which, row: &Opened) -> Result<Option<Granted>, TokenError> {
        let provider = self.provider(row.platform)?;
        loop {
            let Some(orphan) = orphans::take(&mut *self.pool.acquire().await?, which).await? else {
                return Ok(None);
            };
            // One that no longer opens, or is refused, was of no use.
            let Ok(token) = self.vault.open_for(&which.place(Column::Refresh), &orphan) else {
                continue;
            };
            if let Ok(mut granted) = self.ask(provider, &token).await {
                // It takes the place of the one that was refused, also where it is not rotated again.
                granted.refresh_token.get_or_insert(token);
                return Ok(Some(granted));
            }
        }
    }

    async fn fail(
        &self,
        which: Which,
        owner: Uuid,
        fault: Fault,
        again_in: TimeDelta,
    ) -> Result<(), TokenError> {
        Ok(tokens::fail(&mut *self.pool.acquire().await?, which, owner, fault, again_in).await?)
    }

    /// Gives the lease back; where that fails it runs out.
    async fn release(&self, which: Which, owner: Uuid) {
        let released = async { tokens::release(&mut *self.pool.acquire().await?, which, owner).await };
        if let Err(error) = released.await {
            tracing::debug!(%error, "a lease could not be given back and will run out");
        }
    }
}

/// Returns when a token is refreshed ahead of need; nothing where its end is not known.
pub(crate) fn next_refresh(
    provider: &dyn Provider,
    settings: &Settings,
    now: DateTime<Utc>,
    lifetime: Option<TimeDelta>,
) -> Option<DateTime<Utc>> {
    let lifetime = lifetime?;
    let margin = TimeDelta::seconds(i64::from(settings.refresh_margin_secs));
    Some(now + lifetime - provider.lead(margin, lifetime) - jitter(lifetime))
}

/// Waits before the next try to store, or gives up with the error.
async fn pause_after(error: sqlx::Error, tries: &mut u32) -> Result<(), TokenError> {
    *tries += 1;
    if *tries >= STORE_TRIES {
        return Err(error.into());
    }
    tracing::warn!(%error, "a refreshed token could not be stored yet");
    let pause = STORE_PAUSE.mul_f64(rand::random_range(0.5..=1.0));
    tokio::time::sleep(pause).await;
    Ok(())
}

/// Spreads refreshes, so that connections made on one day do not end in one minute.
fn jitter(lifetime: TimeDelta) -> TimeDelta {
    let most = (lifetime / 10).min(TimeDelta::days(3)).num_seconds().max(0);
    TimeDelta::seconds(rand::random_range(0..=most))
}

/// A minute, two, four, up to an hour, a quarter more or less.
fn backoff(failures: i32) -> TimeDelta {
    let minutes = 2_f64.powi(failures.clamp(0, 6)).min(60.0);
    #[expect(clippy::cast_possible_truncation, reason = "at most 75 minutes")]
    let millis = (minutes * 60_000.0 * rand::random_range(0.75..=1.25)) as i64;
    TimeDelta::milliseconds(millis)
}

fn is_storm(recent: &Recent) -> bool {
    let all = recent.refused + recent.refreshed;
    all >= STORM_LEAST && recent.refused * STORM_SHARE > all
}

fn outcome_name(failure: &Failure) -> &'static str {
    match failure.class() {
        Class::Retry => "transient",
        Class::RetryAt(_) | Class::Reject => "configuration",
        Class::Reauthorise => "invalid_grant",
    }
}

#[cfg(test)]
mod tests;
