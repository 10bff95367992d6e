//! What people allow beyond what the work needs.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use greenroom_accounts::consents::{self, Purpose};
use greenroom_model::UserId;
use serde::Serialize;
use sqlx::PgConnection;

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

/// Whose consent and for what, of a person whom the caller may see.
async fn of(
    conn: &mut PgConnection,
    caller: &Caller,
    (user, purpose): (String, String),
) -> Result<(UserId, Purpose), Problem> {
    caller.must(WRITE)?;
    let user =
        user.parse().map_err(|_| Problem::new(NOT_FOUND, "the id in the path is not a UUID: check it"))?;
    let purpose = serde_json::from_value(purpose.into());
    let purpose = purpose.map_err(|_| Problem::new(NOT_FOUND, "there are consents for: training"))?;
    tenant::must_see(conn, &caller.0, user).await?;
    Ok((user, purpose))
}

pub(super) async fn show(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<(String, String)>,
) -> Result<Json<Shown>, Problem> {
    let mut conn = api.queue.pool().acquire().await?;
    let (user_id, purpose) = of(&mut conn, &caller, path).await?;
    Ok(Json(Shown { user_id, purpose, given: consents::is_given(&mut conn, user_id, purpose).await? }))
}

pub(super) async fn give(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<(String, String)>,
) -> Result<Json<Shown>, Problem> {
    let mut conn = api.queue.pool().acquire().await?;
    let (user_id, purpose) = of(&mut conn, &caller, path).await?;
    consents::give(&mut conn, user_id, purpose).await?;
    Ok(Json(Shown { user_id, purpose, given: true }))
}

/// Ends a consent; what was kept by it is gone at once.
pub(super) async fn withdraw(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let mut conn = api.queue.pool().acquire().await?;
    let (user_id, purpose) = of(&mut conn, &caller, path).await?;
    consents::withdraw(&mut conn, user_id, purpose).await?;
    Ok(StatusCode::NO_CONTENT)
}
