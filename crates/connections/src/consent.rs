//! Consents: how an account is connected, and how that ends.
//!
//! ```text
//!   begin ──▶ a state, kept by its hash ──▶ the provider asks the person ──▶ code and state come back
//!                                                                                   │
//!   connect, in the caller's transaction ◀── whose account? ◀── tokens ◀── redeem: the state serves once
//! ```
//!
//! Nothing is held in the database while a provider is asked. What is wrong with a state is not told: replayed,
//! expired, made up and somebody else's all look the same.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use greenroom_http::{Class, Client};
use greenroom_model::{Clock, ConnectionId, LocationId, Platform, UserId};
use greenroom_queue::{Enqueued, NewJob, QueueError, enqueue, note_spent};
use greenroom_vault::{Place, Secret, Vault};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::error::ConsentError;
use crate::jobs::revoke::Revoke;
use crate::provider::{Account, Asked, Code, Granted, Provider, Providers};
use crate::settings::{OauthSettings, Settings};
use crate::store::{instagram, platform, revocations, states, tokens, youtube};
use crate::tokens::next_refresh;
use crate::which::{Kind, Which};

/// Asks for consents and takes what comes of them.
#[derive(Clone, Debug)]
pub struct Consents {
    /// Where states are kept.
    pub pool: PgPool,
    /// By which tokens are sealed.
    pub vault: Vault,
    /// By which providers are asked.
    pub http: Client,
    /// The providers.
    pub providers: Providers,
    /// Where consents are asked for, and where they come back.
    pub oauth: Arc<OauthSettings>,
    /// How tokens are kept.
    pub tokens: Settings,
    /// What time it is.
    pub clock: Clock,
}

/// A consent to ask for.
#[derive(Clone, Debug)]
pub struct NewConsent {
    /// Whose account is to be connected.
    pub user: UserId,
    /// On which platform.
    pub platform: Platform,
    /// For which location, too; a platform that has no table of its own needs one.
    pub location: Option<LocationId>,
    /// Where it comes back; nothing means to the API itself.
    pub redirect_uri: Option<String>,
}

/// A consent that waits for a person.
#[derive(Debug)]
pub struct Begun {
    /// Where the browser goes.
    pub authorize_url: Secret,
    /// What comes back with the code; the only copy.
    pub state: Secret,
    /// Until when.
    pub expires_at: DateTime<Utc>,
}

/// A consent that was given, before it is stored.
#[derive(Debug)]
pub struct Given {
    /// Who gave it.
    pub user: UserId,
    platform: Platform,
    location: Option<LocationId>,
    account: Account,
    granted: Granted,
    received_at: DateTime<Utc>,
}

/// A connection that a consent made or healed.
#[derive(Clone, Debug)]
pub struct Connected {
    /// Its row.
    pub which: Which,
    /// Its platform.
    pub platform: Platform,
    /// Whose it is.
    pub user: UserId,
    /// How its owner knows it.
    pub name: Option<String>,
    /// Whether it was not there before.
    pub is_new: bool,
}

impl Consents {
    /// Returns where consents for a platform come back unless somebody says otherwise.
    pub fn callback_url(&self, platform: Platform) -> String {
        format!("{}/oauth/{platform}/callback", self.public_url())
    }

    /// Returns where browsers reach the API, without a slash at its end.
    pub fn public_url(&self) -> &str {
        self.oauth.public_url.as_str().trim_end_matches('/')
    }

    /// Begins a consent.
    pub async fn begin(&self, conn: &mut PgConnection, new: &NewConsent) -> Result<Begun, ConsentError> {
        let provider = self.provider(new.platform)?;
        let has_own_table = matches!(new.platform, Platform::Youtube | Platform::Instagram);
        if !has_own_table && new.location.is_none() {
            return Err(ConsentError::NeedsLocation(new.platform));
        }
        let redirect_uri = match &new.redirect_uri {
            None => self.callback_url(new.platform),
            Some(uri) if self.oauth.redirect_uris.contains(uri) => uri.clone(),
            Some(_) => return Err(ConsentError::RedirectUri),
        };
        let (state, verifier) = (random(), random());
        let id = Uuid::now_v7();
        let new = states::NewState {
            id,
            state: &state,
            user: new.user,
            platform: new.platform,
            redirect_uri: &redirect_uri,
            code_verifier: &self.vault.seal_for(&verifier_of(id), &verifier),
            location: new.location,
        };
        let expires_at = states::insert(conn, &new).await?;
        let authorize_url = authorize_url(provider, &redirect_uri, &state, &verifier);
        Ok(Begun { authorize_url, state, expires_at })
    }

    /// Returns once more where the browser of a consent goes that waits.
    pub async fn authorize_url(&self, platform: Platform, state: &Secret) -> Result<Secret, ConsentError> {
        let provider = self.provider(platform)?;
        let waiting = states::find(&mut *self.pool.acquire().await?, state, platform).await?;
        let waiting = waiting.ok_or(ConsentError::State)?;
        let verifier = self.vault.open_for(&verifier_of(waiting.id), &waiting.code_verifier);
        let verifier = verifier.map_err(|_| ConsentError::State)?;
        Ok(authorize_url(provider, &waiting.redirect_uri, state, &verifier))
    }

    /// Uses up the state of a consent that was refused.
    pub async fn refuse(&self, platform: Platform, state: &Secret) -> Result<(), ConsentError> {
        states::consume(&mut *self.pool.acquire().await?, state, platform).await?;
        Ok(())
    }

    /// Returns whose consent a state stands for, while it can still be used.
    pub async fn user_of(&self, conn: &mut PgConnection, state: &Secret) -> Result<UserId, ConsentError> {
        states::user_of(conn, state).await?.ok_or(ConsentError::State)
    }

    /// Trades a code for tokens, and finds out whose they are. Of all who bring the same state one gets that far.
    pub async fn redeem(
        &self,
        platform: Platform,
        state: &Secret,
        code: &Secret,
    ) -> Result<Given, ConsentError> {
        let provider = self.provider(platform)?;
        let consumed = states::consume(&mut *self.pool.acquire().await?, state, platform).await?;
        let consumed = consumed.ok_or(ConsentError::State)?;
        let verifier = self.vault.open_for(&verifier_of(consumed.id), &consumed.code_verifier);
        let verifier = verifier.map_err(|_| ConsentError::State)?;
        let code = Code { text: code, redirect_uri: &consumed.redirect_uri, verifier: &verifier };
        let granted = provider.redeem(&self.http, &code).await.map_err(|failure| match failure.class() {
            // The code is wrong, used, or somebody else's.
            Class::Reauthorise | Class::Reject => ConsentError::Code(failure),
            Class::Retry | Class::RetryAt(_) => ConsentError::Provider(failure),
        })?;
        must_suffice(provider, &granted)?;
        let account = provider.account(&self.http, &granted.access_token).await;
        self.count_asking(provider).await;
        let account = account.map_err(ConsentError::Provider)?.ok_or(ConsentError::NoAccount(platform))?;
        let (user, location) = (consumed.user, consumed.location);
        Ok(Given { user, platform, location, account, granted, received_at: self.clock.now() })
    }

    /// Counts what asking for an account has cost. A person who has just consented is not sent away for the lack of a
    /// unit, nor because it cannot be counted.
    async fn count_asking(&self, provider: &dyn Provider) {
        let Some((pool, units)) = provider.account_costs() else { return };
        let counted = async {
            let mut conn = self.pool.acquire().await.map_err(QueueError::from)?;
            note_spent(&mut conn, pool, units).await
        };
        if let Err(error) = counted.await {
            tracing::warn!(pool, %error, "{units} units that a consent has spent were not counted");
        }
    }

    /// Stores the account of a consent, or heals the connection it had; the caller commits.
    pub async fn connect(&self, conn: &mut PgConnection, given: Given) -> Result<Connected, ConsentError> {
        let Given { user, platform, location, account, granted, received_at } = given;
        let lifetime = granted.expires_in.map(|secs| TimeDelta::seconds(i64::from(secs)));
        let expires_at = lifetime.map(|lifetime| received_at + lifetime);
        let next_refresh_at = next_refresh(self.provider(platform)?, &self.tokens, received_at, lifetime);
        let info = |id: ConnectionId| with_connection(account.info.clone(), id);
        let which = match platform {
            Platform::Youtube => {
                let new = youtube::NewConnection {
                    user,
                    channel_id: account.id.clone(),
                    channel_name: account.name.clone(),
                    access_token: granted.access_token,
                    refresh_token: granted.refresh_token,
                    expires_at,
                };
                Which::youtube(youtube::connect(conn, &self.vault, new).await?)
            }
            Platform::Instagram => {
                let new = instagram::NewConnection {
                    user,
                    instagram_user_id: account.id.clone(),
                    username: account.name.clone(),
                    account_type: account.info["account_type"].as_str().map(str::to_owned),
                    access_token: granted.access_token,
                    expires_at,
                    next_refresh_at,
                };
                Which { kind: Kind::Instagram, id: instagram::connect(conn, &self.vault, new).await? }
            }
            _ => {
                let new = platform::NewConnection {
                    location: location.ok_or(ConsentError::NeedsLocation(platform))?,
                    platform,
                    account_info: account.info.clone(),
                    access_token: granted.access_token,
                    refresh_token: granted.refresh_token,
                    expires_at,
                };
                Which { kind: Kind::Platform, id: platform::connect(conn, &self.vault, new).await? }
            }
        };
        if let (Kind::Youtube | Kind::Instagram, Some(location)) = (which.kind, location) {
            platform::note(conn, location, platform, &info(which.id)).await?;
        }
        // A row's tokens are of version 0 until they are replaced; those of a platform are put into a row that is there.
        let first = i64::from(which.kind == Kind::Platform);
        let is_new = tokens::read(conn, which).await?.is_some_and(|row| row.version <= first);
        Ok(Connected { which, platform, user, name: account.name, is_new })
    }

    fn provider(&self, platform: Platform) -> Result<&dyn Provider, ConsentError> {
        Ok(self.providers.get(platform).ok_or(ConsentError::NotConfigured(platform))?.as_ref())
    }
}

/// Ends a connection in the caller's transaction: its tokens are gone from its row, a refresh under way can store
/// nothing any more, and a job asks the provider to take them back. False where it had ended.
///
/// The job is to be woken once the transaction is committed.
pub async fn disconnect(
    conn: &mut PgConnection,
    which: Which,
    platform: Platform,
) -> Result<Option<Vec<Enqueued>>, ConsentError> {
    let Some(cleared) = tokens::clear(conn, which).await? else { return Ok(None) };
    if which.kind != Kind::Platform {
        platform::note_end(conn, platform, which.id).await?;
    }
    let Some(id) = revocations::insert(conn, which, platform, &cleared).await? else {
        return Ok(Some(Vec::new()));
    };
    Ok(Some(enqueue(conn, &[NewJob::of(&Revoke { revocation_id: id, platform: Some(platform) })?]).await?))
}

fn authorize_url(provider: &dyn Provider, redirect_uri: &str, state: &Secret, verifier: &Secret) -> Secret {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.expose()));
    let asked = Asked { redirect_uri, state, challenge: &challenge };
    Secret::from(String::from(provider.authorize_url(&asked)))
}

/// Refuses a consent that leaves out what a connection needs: half a connection fails later, and nobody knows why.
fn must_suffice(provider: &dyn Provider, granted: &Granted) -> Result<(), ConsentError> {
    let Some(scope) = &granted.scope else { return Ok(()) };
    let given: Vec<&str> = scope.split_whitespace().collect();
    let missing: Vec<&str> =
        provider.scopes().iter().copied().filter(|scope| !given.contains(scope)).collect();
    if missing.is_empty() { Ok(()) } else { Err(ConsentError::MissingScopes(missing.join(", "))) }
}

/// Adds the id of the row that has the tokens, so that the end of it can be noted.
fn with_connection(mut info: Value, id: ConnectionId) -> Value {
    info["connection_id"] = json!(id);
    info
}

fn verifier_of(id: Uuid) -> Place {
    Place::new("oauth_state_tokens", id, "code_verifier")
}

/// Makes 256 random bits, as URLs take them.
fn random() -> Secret {
    Secret::from(URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()))
}

#[cfg(test)]
pub(crate) mod tests;
