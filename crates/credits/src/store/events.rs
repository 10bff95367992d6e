//! `credit_usage_events`: one row a unit of work, only added to.

use greenroom_model::{MicroCredits, ReservationId, UsageEventId, UserId};
use serde_json::{Map, Value};
use sqlx::PgConnection;

use super::ai_usage;
use crate::{ActionType, Cost, CreditsError, Details, Key, Price, Settled};

/// Where `event_metadata` holds what could not be collected.
pub(crate) const UNCOLLECTED: &str = "uncollected_credits";

/// Dollars are kept in trillionths and counted in millionths.
const TRILLIONTHS_A_MILLIONTH: u64 = 1_000_000;

pub(crate) struct NewEvent<'a> {
    pub(crate) user: UserId,
    pub(crate) action: ActionType,
    pub(crate) key: &'a Key,
    pub(crate) charged: MicroCredits,
    pub(crate) cost: &'a Cost,
    pub(crate) reservation: Option<ReservationId>,
    pub(crate) details: &'a Details,
    pub(crate) metadata: Map<String, Value>,
}

/// Returns an event's metadata with the price it was charged by, so that the charge can be recomputed
/// from the event alone.
pub(crate) fn priced(details: &Details, price: &Price) -> Map<String, Value> {
    let mut metadata = details.metadata.clone();
    metadata.insert("price_id".to_owned(), price.id.to_string().into());
    metadata.insert("price_version".to_owned(), price.since.to_rfc3339().into());
    if let Some(model) = &price.model {
        metadata.insert("model_price".to_owned(), serde_json::json!(model));
    }
    metadata
}

/// Inserts an event, unless its key names work that has one.
pub(crate) async fn insert(
    conn: &mut PgConnection,
    event: NewEvent<'_>,
) -> Result<Option<UsageEventId>, sqlx::Error> {
    let resource = event.details.resource.as_ref();
    let id = sqlx::query_scalar!(
        "insert into credit_usage_events (
             id, user_id, action_type, description, idempotency_key, reservation_id, credits_charged,
             base_cost, api_cost, compute_cost, input_tokens, output_tokens, model_used,
             resource_type, resource_id, event_metadata)
         values ($1, $2, $3, $4, $5, $6, $7::bigint * 0.000001,
             $8::bigint * 0.000000000001, $9::bigint * 0.000000000001, $10::bigint * 0.000000000001,
             $11, $12, $13, $14, $15, $16)
         on conflict (idempotency_key) do nothing
         returning id",
        UsageEventId::new().0,
        event.user.0,
        event.action as ActionType,
        event.details.description,
        event.key.as_str(),
        event.reservation.map(|r| r.0),
        event.charged.0,
        event.cost.base.0,
        event.cost.api.0,
        event.cost.compute.0,
        event.details.input_tokens,
        event.details.output_tokens,
        event.details.model,
        resource.map(|r| r.kind.as_str()),
        resource.map(|r| r.id.as_str()),
        Value::Object(event.metadata),
    )
    .fetch_optional(&mut *conn)
    .await?;
    if id.is_some() {
        if let Some(model) = &event.details.model {
            ai_usage::log(conn, event.user, model, event.action, event.cost, event.details).await?;
        }
        let labels = [
            ("action_type", event.action.as_str().to_owned()),
            ("model", event.details.model.clone().unwrap_or_default()),
        ];
        metrics::counter!("greenroom_credits_charged_micro_total", &labels)
            .increment(event.charged.0.unsigned_abs());
        metrics::counter!("greenroom_credits_cost_microdollars_total", &labels)
            .increment(event.cost.total().0.unsigned_abs() / TRILLIONTHS_A_MILLIONTH);
    }
    Ok(id.map(UsageEventId))
}

/// An event that was recorded before.
pub(crate) struct Recorded {
    pub(crate) id: UsageEventId,
    pub(crate) charged: MicroCredits,
    user: UserId,
    action: ActionType,
    resource: (Option<String>, Option<String>),
    uncollected: MicroCredits,
}

impl Recorded {
    /// Refuses a key that names other work than before.
    pub(crate) fn must_be_of(
        self,
        key: &Key,
        user: UserId,
        action: ActionType,
        details: &Details,
    ) -> Result<Self, CreditsError> {
        let resource = details.resource.as_ref().map(|r| (r.kind.clone(), r.id.clone())).unzip();
        if (self.user, self.action, &self.resource) == (user, action, &resource) {
            Ok(self)
        } else {
            Err(CreditsError::KeyReuse { key: key.clone() })
        }
    }

    pub(crate) fn settled(&self, repeated: bool) -> Settled {
        Settled { event: self.id, credits: self.charged, uncollected: self.uncollected, repeated }
    }
}

/// Returns the event of this key, which must be of the same work.
pub(crate) async fn same_work(
    conn: &mut PgConnection,
    key: &Key,
    user: UserId,
    action: ActionType,
    details: &Details,
) -> Result<Recorded, CreditsError> {
    let event = by_key(conn, key).await?.ok_or(sqlx::Error::RowNotFound)?;
    event.must_be_of(key, user, action, details)
}

/// Returns the event of this key.
pub(crate) async fn by_key(conn: &mut PgConnection, key: &Key) -> Result<Option<Recorded>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select id, user_id, action_type as "action: ActionType", resource_type, resource_id,
                  (credits_charged * 1000000)::bigint as "charged!",
                  coalesce(((event_metadata ->> $2)::numeric * 1000000)::bigint, 0) as "uncollected!"
             from credit_usage_events where idempotency_key = $1"#,
        key.as_str(),
        UNCOLLECTED,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(Recorded::from))
}

/// Returns an event by its id.
pub(crate) async fn by_id(conn: &mut PgConnection, id: UsageEventId) -> Result<Recorded, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select id, user_id, action_type as "action: ActionType", resource_type, resource_id,
                  (credits_charged * 1000000)::bigint as "charged!",
                  coalesce(((event_metadata ->> $2)::numeric * 1000000)::bigint, 0) as "uncollected!"
             from credit_usage_events where id = $1"#,
        id.0,
        UNCOLLECTED,
    )
    .fetch_one(conn)
    .await?;
    Ok(row.into())
}

struct Row {
    id: uuid::Uuid,
    user_id: uuid::Uuid,
    action: ActionType,
    resource_type: Option<String>,
    resource_id: Option<String>,
    charged: i64,
    uncollected: i64,
}

impl From<Row> for Recorded {
    fn from(row: Row) -> Self {
        Self {
            id: UsageEventId(row.id),
            charged: MicroCredits(row.charged),
            user: UserId(row.user_id),
            action: row.action,
            resource: (row.resource_type, row.resource_id),
            uncollected: MicroCredits(row.uncollected),
        }
    }
}
