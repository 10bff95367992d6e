//! `greenroom.email_outbox`: one row an intended message.

use std::time::Duration;

use greenroom_model::UserId;
use serde_json::Value;
use sqlx::PgConnection;

/// Something that a person has to know about their own account; no consent to marketing is asked for.
#[derive(Clone, Debug)]
pub struct Notice<'a> {
    /// Who is told.
    pub user: UserId,
    /// What it is about, such as `connection_error`: the template's name.
    pub step: &'a str,
    /// Which time of it: the same is told once.
    pub occurrence: &'a str,
    /// What the template says; nothing secret.
    pub params: Value,
    /// After which it is too old to be told.
    pub lasts: Duration,
}

/// Writes a notice, unless this occurrence has one; returns whether it was written.
pub async fn notify(conn: &mut PgConnection, notice: &Notice<'_>) -> sqlx::Result<bool> {
    let written = sqlx::query!(
        "insert into greenroom.email_outbox (user_id, campaign, step, occurrence, class, template, params, expires_at)
         values ($1, 'notices', $2, $3, 'service', $2, $4, greenroom.now() + make_interval(secs => $5))
         on conflict do nothing",
        notice.user.0,
        notice.step,
        notice.occurrence,
        notice.params,
        notice.lasts.as_secs_f64(),
    )
    .execute(conn)
    .await?;
    Ok(written.rows_affected() == 1)
}

#[cfg(test)]
mod tests {
    use greenroom_testkit::Database;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn an_occurrence_is_told_once() {
        let db = Database::new().await;
        let mut conn = db.pool().acquire().await.unwrap();
        let user = UserId::new();
        sqlx::query("insert into users (id, email) values ($1, 'a@example.test')")
            .bind(user.0)
            .execute(&mut *conn)
            .await
            .unwrap();
        let notice = |occurrence| Notice {
            user,
            step: "connection_error",
            occurrence,
            params: json!({"name": "A channel"}),
            lasts: Duration::from_hours(24),
        };
        assert!(notify(&mut conn, &notice("one")).await.unwrap());
        assert!(!notify(&mut conn, &notice("one")).await.unwrap());
        assert!(notify(&mut conn, &notice("two")).await.unwrap());
        let mut tx = db.pool().begin().await.unwrap();
        assert!(notify(&mut tx, &notice("three")).await.unwrap());
        tx.rollback().await.unwrap();
        let rows: i64 =
            sqlx::query_scalar("select count(*) from greenroom.email_outbox where state = 'queued'")
                .fetch_one(&mut *conn)
                .await
                .unwrap();
        assert_eq!(rows, 2);
    }
}
