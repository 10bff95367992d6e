//! `credit_action_costs`: what an action costs us now.

use greenroom_model::Dollars;
use sqlx::PgConnection;
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
    })
}
