//! `ai_usage_logs`: a row a call of a language model, beside the event that charges it.

use greenroom_model::UserId;
use sqlx::PgConnection;

use crate::{ActionType, Cost, Details};

/// Logs a call: what it read and wrote, and what the provider asks for it, whether or not its user pays.
pub(crate) async fn log(
    conn: &mut PgConnection,
    user: UserId,
    model: &str,
    action: ActionType,
    cost: &Cost,
    details: &Details,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into ai_usage_logs (user_id, model, input_tokens, output_tokens, estimated_cost, endpoint)
         values ($1, $2, coalesce($3, 0), coalesce($4, 0), $5::bigint * 0.000000000001, $6)",
        user.0,
        model,
        details.input_tokens,
        details.output_tokens,
        cost.api.0,
        action.as_str(),
    )
    .execute(conn)
    .await?;
    Ok(())
}
