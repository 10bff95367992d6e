//! Credits: what an account has and spent, prices; and for operators grants and refunds.

use std::num::NonZeroU8;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use chrono::{DateTime, Utc};
use greenroom_accounts::audit::{self, Action, Entry};
use greenroom_credits::usage::UsageEvent;
use greenroom_credits::{ActionType, Given, Grant, GrantKind, Refunded, balances, prices, usage};
use greenroom_model::{MicroCredits, UsageEventId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::caller::Caller;
use crate::input::{Id, Input, Params};
use crate::problem::{BAD_BODY, BAD_QUERY, FORBIDDEN, NOT_FOUND, Problem};
use crate::{Api, tenant};

const DEFAULT_LIMIT: u16 = 50;
const MAX_LIMIT: u8 = 200;
/// Longer keys are no names.
const MAX_KEY_BYTES: usize = 200;

/// What an account has; amounts are exact decimals.
#[derive(Serialize)]
pub(super) struct Shown {
    balance: String,
    reserved: String,
    available: String,
    monthly_allowance: String,
    spent_this_period: String,
    next_reset_at: DateTime<Utc>,
    is_unlimited: bool,
}

pub(super) async fn balance(
    State(api): State<Api>,
    caller: Caller,
    Id(user): Id<UserId>,
) -> Result<Json<Shown>, Problem> {
    caller.must("credits.read")?;
    let mut conn = api.queue.pool().acquire().await?;
    tenant::must_see(&mut conn, &caller.0, user).await?;
    let balance = balances::get(&mut conn, user).await?.ok_or_else(|| {
        Problem::new(NOT_FOUND, "this person has no account yet: the first charge or grant opens it")
    })?;
    Ok(Json(Shown {
        balance: balance.current.to_string(),
        reserved: balance.reserved.to_string(),
        available: balance.available().to_string(),
        monthly_allowance: balance.monthly_allowance.to_string(),
        spent_this_period: balance.spent_this_month.to_string(),
        next_reset_at: balance.next_reset_at,
        is_unlimited: balance.is_unlimited,
    }))
}

/// Which events to list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    action: Option<ActionType>,
    /// The `next` of the page before.
    before: Option<UsageEventId>,
    limit: Option<NonZeroU8>,
}

/// A page of events, newest first.
#[derive(Serialize)]
pub(super) struct Page {
    events: Vec<UsageEvent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<UsageEventId>,
}

pub(super) async fn events(
    State(api): State<Api>,
    caller: Caller,
    Id(user): Id<UserId>,
    Params(wanted): Params<Wanted>,
) -> Result<Json<Page>, Problem> {
    caller.must("credits.read")?;
    if wanted.limit.is_some_and(|limit| limit.get() > MAX_LIMIT) {
        return Err(Problem::new(BAD_QUERY, format!("limit: use 1 to {MAX_LIMIT}")));
    }
    let limit = wanted.limit.map_or(DEFAULT_LIMIT, |limit| limit.get().into());
    let mut conn = api.queue.pool().acquire().await?;
    tenant::must_see(&mut conn, &caller.0, user).await?;
    let mut events = usage::list(&mut conn, user, wanted.action, wanted.before, limit + 1).await?;
    let more = events.len() > usize::from(limit);
    events.truncate(limit.into());
    let next = events.last().filter(|_| more).map(|last| last.id);
    Ok(Json(Page { events, next }))
}

pub(super) async fn list_prices(State(api): State<Api>, caller: Caller) -> Result<Json<Value>, Problem> {
    caller.must("credits.read")?;
    let list = prices::list(&mut *api.queue.pool().acquire().await?).await?;
    Ok(Json(json!({"prices": list, "models": api.model_prices.all()})))
}

/// Credits to give, or to take back.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewGrant {
    kind: Option<GrantKind>,
    /// An exact decimal, as text.
    amount: String,
    reason: String,
}

pub(super) async fn grant(
    State(api): State<Api>,
    caller: Caller,
    Id(user): Id<UserId>,
    headers: HeaderMap,
    Input(new): Input<NewGrant>,
) -> Result<(StatusCode, Json<Given>), Problem> {
    must_operate(&caller)?;
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default();
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        let detail =
            format!("name the grant in the header Idempotency-Key, with at most {MAX_KEY_BYTES} bytes");
        return Err(Problem::new(BAD_BODY, detail));
    }
    let amount: MicroCredits =
        new.amount.parse().map_err(|error| Problem::new(BAD_BODY, format!("amount: {error}")))?;
    if new.reason.trim().is_empty() {
        return Err(Problem::new(BAD_BODY, "reason: say why, for whoever reads the ledger"));
    }
    let kind = new.kind.unwrap_or(GrantKind::Bonus);
    let key = format!("api:{key}");
    let mut tx = api.queue.pool().begin().await?;
    let wish = Grant { user, kind, amount, reason: &new.reason, actor: None, key: &key };
    let given = greenroom_credits::grant(&mut tx, &wish).await?;
    if !given.repeated {
        let action =
            if kind == GrantKind::Clawback { Action::CreditsAdjusted } else { Action::CreditsGranted };
        let changes = json!({"kind": kind, "amount": amount.to_string(), "reason": new.reason});
        note(&mut tx, &caller, action, user, ("credit_grants", given.id.to_string()), changes).await?;
    }
    tx.commit().await?;
    Ok((if given.repeated { StatusCode::OK } else { StatusCode::CREATED }, Json(given)))
}

/// Why a charge is reversed.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRefund {
    reason: String,
}

pub(super) async fn refund(
    State(api): State<Api>,
    caller: Caller,
    Id(event): Id<UsageEventId>,
    Input(new): Input<NewRefund>,
) -> Result<(StatusCode, Json<Refunded>), Problem> {
    must_operate(&caller)?;
    if new.reason.trim().is_empty() {
        return Err(Problem::new(BAD_BODY, "reason: say why, for whoever reads the ledger"));
    }
    let mut tx = api.queue.pool().begin().await?;
    let refunded = greenroom_credits::refund(&mut tx, event, &new.reason).await?;
    if !refunded.repeated {
        let changes =
            json!({"reverses": event, "credits": refunded.credits.to_string(), "reason": new.reason});
        let resource = ("credit_usage_events", refunded.event.to_string());
        note(&mut tx, &caller, Action::CreditsAdjusted, refunded.user, resource, changes).await?;
    }
    tx.commit().await?;
    Ok((if refunded.repeated { StatusCode::OK } else { StatusCode::CREATED }, Json(refunded)))
}

/// Money is moved by operators only, whatever a tenant's token covers.
fn must_operate(caller: &Caller) -> Result<(), Problem> {
    caller.must("credits.grant")?;
    if caller.0.is_operator() {
        return Ok(());
    }
    Err(Problem::new(
        FORBIDDEN,
        "use an operator's service token: `greenroom access create --operator` makes one",
    ))
}

async fn note(
    conn: &mut PgConnection,
    caller: &Caller,
    action: Action,
    user: UserId,
    (resource_type, resource_id): (&str, String),
    mut changes: Value,
) -> Result<(), Problem> {
    changes["by"] = json!(format!("token {}", caller.0.token_id));
    let entry = Entry { action, user: Some(user), organization: None, resource_type, resource_id, changes };
    Ok(audit::record(conn, &entry).await?)
}
