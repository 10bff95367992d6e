//! Connections of every platform: look, end.

use std::num::NonZeroU8;

use axum::Json;
use axum::extract::State;
use greenroom_accounts::audit::{self, Action, Entry};
use greenroom_connections::{Summary, Wanted};
use greenroom_model::ConnectionId;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::caller::Caller;
use crate::input::{Id, Params};
use crate::problem::{BAD_QUERY, Problem};
use crate::{Api, tenant};

const DEFAULT_LIMIT: u16 = 50;
const MAX_LIMIT: u8 = 200;

/// Which connections to list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    status: Option<Status>,
    limit: Option<NonZeroU8>,
    /// The `next` of the page before.
    after: Option<ConnectionId>,
}

/// How a connection stands, in the words of its table.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Active,
    Connected,
    Disconnected,
    Error,
}

/// A page of connections.
#[derive(Serialize)]
pub(super) struct Page {
    connections: Vec<Summary>,
    /// To be sent as `after` for what comes next; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<ConnectionId>,
}

pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(query): Params<Query>,
) -> Result<Json<Page>, Problem> {
    caller.must("connection.read")?;
    if query.limit.is_some_and(|limit| limit.get() > MAX_LIMIT) {
        return Err(Problem::new(BAD_QUERY, format!("limit: use 1 to {MAX_LIMIT}")));
    }
    let limit = query.limit.map_or(DEFAULT_LIMIT, |limit| limit.get().into());
    let status = query.status.map(|status| match status {
        Status::Active => "active",
        Status::Connected => "connected",
        Status::Disconnected => "disconnected",
        Status::Error => "error",
    });
    let mut conn = api.queue.pool().acquire().await?;
    let wanted = Wanted { status, organization: caller.0.organization, id: None };
    let mut connections = greenroom_connections::list(&mut conn, &wanted, query.after, limit + 1).await?;
    let more = connections.len() > usize::from(limit);
    connections.truncate(limit.into());
    let next = connections.last().filter(|_| more).map(|last| last.id);
    Ok(Json(Page { connections, next }))
}

pub(super) async fn show(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<ConnectionId>,
) -> Result<Json<Summary>, Problem> {
    caller.must("connection.read")?;
    let mut conn = api.queue.pool().acquire().await?;
    Ok(Json(tenant::connection(&mut conn, &caller.0, id).await?))
}

/// Ends a connection; ending it twice is no error.
pub(super) async fn disconnect(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<ConnectionId>,
) -> Result<Json<Summary>, Problem> {
    caller.must("connection.disconnect")?;
    let mut tx = api.queue.pool().begin().await?;
    let connection = tenant::connection(&mut tx, &caller.0, id).await?;
    let (which, platform) = (connection.which(), connection.known_platform());
    let revocation = greenroom_connections::disconnect(&mut tx, which, platform).await?;
    if revocation.is_some() {
        let entry = Entry {
            action: Action::ConnectionDisconnected,
            user: connection.user_id,
            organization: caller.0.organization,
            resource_type: which.kind.table(),
            resource_id: id.to_string(),
            changes: json!({"by": format!("token {}", caller.0.token_id), "platform": connection.platform}),
        };
        audit::record(&mut tx, &entry).await?;
    }
    let ended = tenant::connection(&mut tx, &caller.0, id).await?;
    tx.commit().await?;
    api.queue.wake(&revocation.unwrap_or_default());
    Ok(Json(ended))
}
