//! What people allow beyond what the work needs.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use greenroom_accounts::consents::{self, Purpose};
use greenroom_model::UserId;
use serde::Serialize;

use crate::caller::Caller;
use crate::problem::{NOT_FOUND, Problem};
use crate::{Api, tenant};

const WRITE: &str = "consent.write";

/// A consent, or that there is none.
#[derive(Serialize)]
pub(super) struct Shown {
    user_id: UserId,
    purpose: Purpose,
    given: bool,
}

/// Reads whose consent and for what.
fn read((user, purpose): (String, String)) -> Result<(UserId, Purpose), Problem> {
    let user =
        user.parse().map_err(|_| Problem::new(NOT_FOUND, "the id in the path is not a UUID: check it"))?;
    let purpose = serde_json::from_value(purpose.into());
    let purpose = purpose.map_err(|_| Problem::new(NOT_FOUND, "there are consents for: training"))?;
    Ok((user, purpose))
}

pub(super) async fn show(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<(String, String)>,
) -> Result<Json<Shown>, Problem> {
    caller.must(WRITE)?;
    let (user_id, purpose) = read(path)?;
    let mut conn = api.queue.pool().acquire().await?;
    tenant::must_see(&mut conn, &caller.0, user_id).await?;
    Ok(Json(Shown { user_id, purpose, given: consents::is_given(&mut conn, user_id, purpose).await? }))
}

pub(super) async fn give(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<(String, String)>,
) -> Result<Json<Shown>, Problem> {
    caller.must(WRITE)?;
    let (user_id, purpose) = read(path)?;
    let mut conn = api.queue.pool().acquire().await?;
    tenant::must_see(&mut conn, &caller.0, user_id).await?;
    consents::give(&mut conn, user_id, purpose).await?;
    Ok(Json(Shown { user_id, purpose, given: true }))
}

/// Ends a consent; what was kept by it is gone at once.
pub(super) async fn withdraw(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    caller.must(WRITE)?;
    let (user_id, purpose) = read(path)?;
    let mut conn = api.queue.pool().acquire().await?;
    tenant::must_see(&mut conn, &caller.0, user_id).await?;
    consents::withdraw(&mut conn, user_id, purpose).await?;
    Ok(StatusCode::NO_CONTENT)
}
