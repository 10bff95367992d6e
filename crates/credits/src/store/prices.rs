//! `credit_action_costs`: what an action costs us now.

use greenroom_model::Dollars;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::{ActionType, CreditsError, Price};

/// Returns the price in force, or refuses work that has none.
pub async fn in_force(conn: &mut PgConnection, action: ActionType) -> Result<Price, CreditsError> {
    sqlx::query!(
        r#"select id,
                  (base_cost_dollars * 1000000000000)::bigint as "base!",
                  (compute_cost_dollars * 1000000000000)::bigint as "compute!",
                  created_at
             from credit_action_costs
            where action_type = $1 and is_active"#,
        action as ActionType,
    )
    .fetch_optional(conn)
    .await?
    .map(|row| Price {
        id: row.id,
        action,
        base: Dollars(row.base),
        compute: Dollars(row.compute),
        since: row.created_at,
        model: None,
    })
    .ok_or(CreditsError::PriceUnknown { action })
}

/// Returns a price by its id, whether or not it is still in force.
pub(crate) async fn by_id(conn: &mut PgConnection, id: Uuid) -> Result<Price, sqlx::Error> {
    let row = sqlx::query!(
        r#"select action_type as "action: ActionType",
                  (base_cost_dollars * 1000000000000)::bigint as "base!",
                  (compute_cost_dollars * 1000000000000)::bigint as "compute!",
                  created_at
             from credit_action_costs
            where id = $1"#,
        id,
    )
    .fetch_one(conn)
    .await?;
    Ok(Price {
        id,
        action: row.action,
        base: Dollars(row.base),
        compute: Dollars(row.compute),
        since: row.created_at,
        model: None,
    })
}

/// A price as people look at it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PriceRow {
    /// Its id, by which events name it.
    pub id: Uuid,
    /// What it is the price of.
    pub action: ActionType,
    /// What one unit costs us, in dollars, as an exact decimal.
    pub base_cost_dollars: String,
    /// What computing one unit costs us.
    pub compute_cost_dollars: String,
    /// What that is in credits, as an exact decimal.
    pub credits: String,
    /// In words.
    pub description: Option<String>,
    /// Since when.
    pub since: chrono::DateTime<chrono::Utc>,
}

/// Lists the prices in force.
pub async fn list(conn: &mut PgConnection) -> Result<Vec<PriceRow>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select id, action_type as "action: ActionType", base_cost_dollars::text as "base!",
                  compute_cost_dollars::text as "compute!",
                  ((base_cost_dollars + compute_cost_dollars) * 1000000000000)::bigint as "total!",
                  description, created_at
             from credit_action_costs where is_active order by action_type"#
    )
    .fetch_all(conn)
    .await?;
    let price = rows.into_iter().map(|row| PriceRow {
        id: row.id,
        action: row.action,
        base_cost_dollars: row.base,
        compute_cost_dollars: row.compute,
        credits: Dollars(row.total).credits_rounded_up().to_string(),
        description: row.description,
        since: row.created_at,
    });
    Ok(price.collect())
}

/// Puts a new price in force; the old one stays in the table, for the events that name it.
pub async fn change(
    conn: &mut PgConnection,
    action: ActionType,
    base: Dollars,
    compute: Dollars,
) -> Result<Uuid, sqlx::Error> {
    let mut tx = conn.begin().await?;
    let description = sqlx::query_scalar!(
        "update credit_action_costs set is_active = false, updated_at = greenroom.now()
          where action_type = $1 and is_active returning description",
        action as ActionType,
    )
    .fetch_optional(&mut *tx)
    .await?
    .flatten();
    let id = sqlx::query_scalar!(
        "insert into credit_action_costs (action_type, base_cost_dollars, compute_cost_dollars, description)
         values ($1, $2::bigint * 0.000000000001, $3::bigint * 0.000000000001, $4) returning id",
        action as ActionType,
        base.0,
        compute.0,
        description,
    )
    .fetch_one(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(id)
}
