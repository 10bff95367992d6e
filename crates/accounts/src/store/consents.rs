//! `greenroom.consents`: what people allow beyond what the work needs.

use greenroom_model::UserId;
use sqlx::PgConnection;

/// What a consent is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// That what they correct is kept, for their own use only.
    Training,
}

impl Purpose {
    /// Returns the word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Training => "training",
        }
    }
}

/// Notes a consent; giving it twice is no error.
pub async fn give(conn: &mut PgConnection, user: UserId, purpose: Purpose) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into greenroom.consents (user_id, purpose) values ($1, $2) on conflict do nothing",
        user.0,
        purpose.as_str(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends a consent, and what was kept by it; returns whether there was one.
pub async fn withdraw(conn: &mut PgConnection, user: UserId, purpose: Purpose) -> sqlx::Result<bool> {
    let gone = sqlx::query!(
        "with kept as (delete from ai_training_data where user_id = $1 and $2 = 'training')
         delete from greenroom.consents where user_id = $1 and purpose = $2",
        user.0,
        purpose.as_str(),
    )
    .execute(conn)
    .await?;
    Ok(gone.rows_affected() == 1)
}

/// Returns whether a consent is in force.
pub async fn is_given(conn: &mut PgConnection, user: UserId, purpose: Purpose) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (select from greenroom.consents where user_id = $1 and purpose = $2) as "given!""#,
        user.0,
        purpose.as_str(),
    )
    .fetch_one(conn)
    .await
}
