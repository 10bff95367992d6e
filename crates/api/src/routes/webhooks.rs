//! What mail providers tell: verified on the body as it came, stored once, worked off by a job.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use greenroom_mail::events::{Delivery, Provider, Refusal, SES, Verified, store, verify};
use sqlx::PgConnection;
use tracing::warn;

use crate::Api;
use crate::problem::{NOT_FOUND, Problem, UNAVAILABLE, UNVERIFIED};

/// The largest body.
pub(super) const MAX_BYTES: usize = 1024 * 1024;

pub(super) async fn email(
    State(api): State<Api>,
    Path(provider): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    if provider == SES {
        return ses(&api, &body).await;
    }
    let known = api.webhooks.iter().find(|(known, _)| known.as_str() == provider);
    let (provider, secret) = known.ok_or_else(nowhere)?;
    let mut tx = api.queue.pool().begin().await?;
    let now = sqlx::query_scalar!(r#"select greenroom.now() as "now!""#).fetch_one(&mut *tx).await?;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let delivery = Delivery { body: &body, header: &header, now };
    let provider: Provider = *provider;
    let verified = verify(provider, delivery, secret).map_err(|_| refused(provider.as_str()))?;
    let jobs = keep(&mut tx, provider.as_str(), &verified).await?;
    tx.commit().await?;
    api.queue.wake(&jobs);
    Ok(StatusCode::OK)
}

/// Takes what SES tells; a certificate may have to be fetched first, so no transaction is open meanwhile.
async fn ses(api: &Api, body: &[u8]) -> Result<StatusCode, Problem> {
    let sns = api.sns.as_ref().ok_or_else(nowhere)?;
    let verified = sns.verify(body).await.map_err(|refusal| match refusal {
        Refusal::Unverified(_) => refused(SES),
        Refusal::Unreached => Problem::new(UNAVAILABLE, refusal.to_string()),
    })?;
    let mut tx = api.queue.pool().begin().await?;
    let jobs = keep(&mut tx, SES, &verified).await?;
    tx.commit().await?;
    api.queue.wake(&jobs);
    Ok(StatusCode::OK)
}

/// Stores events, and has the new ones worked off.
async fn keep(
    conn: &mut PgConnection,
    provider: &str,
    verified: &Verified,
) -> Result<Vec<greenroom_queue::Enqueued>, Problem> {
    let stored = store(conn, provider, verified).await?.map_err(|_| refused(provider))?;
    Ok(if stored > 0 { greenroom_mail::take_events(conn).await? } else { Vec::new() })
}

fn nowhere() -> Problem {
    Problem::new(NOT_FOUND, "there is no such path: check it")
}

fn refused(provider: &str) -> Problem {
    warn!(provider, "A body that a mail provider should have signed was refused");
    Problem::new(UNVERIFIED, "the signature is not valid: check the secret and the clock")
}
