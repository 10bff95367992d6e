//! What mail providers tell: verified on the body as it came, stored once, worked off by a job.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use greenroom_mail::events::{Delivery, Provider, store, verify};
use tracing::warn;

use crate::Api;
use crate::problem::{NOT_FOUND, Problem, UNVERIFIED};

/// The largest body.
pub(super) const MAX_BYTES: usize = 1024 * 1024;

pub(super) async fn email(
    State(api): State<Api>,
    Path(provider): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    let known = api.webhooks.iter().find(|(known, _)| known.as_str() == provider);
    let (provider, secret) =
        known.ok_or_else(|| Problem::new(NOT_FOUND, "there is no such path: check it"))?;
    let mut tx = api.queue.pool().begin().await?;
    let now = sqlx::query_scalar!(r#"select greenroom.now() as "now!""#).fetch_one(&mut *tx).await?;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let delivery = Delivery { body: &body, header: &header, now };
    let Ok(verified) = verify(*provider, delivery, secret) else { return Err(refused(*provider)) };
    let stored = store(&mut tx, *provider, &verified).await?;
    let Ok(stored) = stored else { return Err(refused(*provider)) };
    let jobs = if stored > 0 { greenroom_mail::take_events(&mut tx).await? } else { Vec::new() };
    tx.commit().await?;
    api.queue.wake(&jobs);
    Ok(StatusCode::OK)
}

fn refused(provider: Provider) -> Problem {
    warn!(provider = provider.as_str(), "A body that a mail provider should have signed was refused");
    Problem::new(UNVERIFIED, "the signature is not valid: check the secret and the clock")
}
