//! `greenroom.quota_usage`: units spent of a platform's budget, by its own day.
//!
//! A record only. Who may spend is decided by the pools of the queue before a call is made.

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::America::Los_Angeles;
use greenroom_model::Clock;
use sqlx::PgConnection;

use crate::SyncError;

/// Adds units that were spent to the present Pacific day.
pub async fn record(
    conn: &mut PgConnection,
    project: &str,
    bucket: &str,
    units: u32,
    clock: &Clock,
) -> Result<(), SyncError> {
    sqlx::query!(
        "insert into greenroom.quota_usage as q (project, bucket, day, used)
         values ($1, $2, $3, $4)
         on conflict (project, bucket, day) do update
            set used = q.used + excluded.used, updated_at = greenroom.now()",
        project,
        bucket,
        pacific_day(clock.now()),
        i64::from(units),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Returns the units spent in the present Pacific day.
pub async fn used(
    conn: &mut PgConnection,
    project: &str,
    bucket: &str,
    clock: &Clock,
) -> Result<u64, SyncError> {
    let used = sqlx::query_scalar!(
        "select used from greenroom.quota_usage where project = $1 and bucket = $2 and day = $3",
        project,
        bucket,
        pacific_day(clock.now()),
    )
    .fetch_optional(conn)
    .await?;
    Ok(used.unwrap_or(0).unsigned_abs())
}

/// Returns the day whose budget an instant belongs to: Google's and Meta's days turn in California.
pub fn pacific_day(instant: DateTime<Utc>) -> NaiveDate {
    instant.with_timezone(&Los_Angeles).date_naive()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::TimeDelta;
    use greenroom_testkit::Database;

    use super::*;

    #[test]
    fn days_turn_in_california() {
        for (instant, day) in [
            ("2026-01-15T07:59:59Z", "2026-01-14"),
            ("2026-01-15T08:00:00Z", "2026-01-15"),
            // Summer there: an hour earlier by ours.
            ("2026-07-15T06:59:59Z", "2026-07-14"),
            ("2026-07-15T07:00:00Z", "2026-07-15"),
            // The day on which the clocks change begins in winter and ends in summer.
            ("2026-03-08T08:00:00Z", "2026-03-08"),
            ("2026-03-09T06:59:59Z", "2026-03-08"),
            ("2026-03-09T07:00:00Z", "2026-03-09"),
        ] {
            let instant: DateTime<Utc> = instant.parse().unwrap();
            assert_eq!(pacific_day(instant).to_string(), day, "{instant}");
        }
    }

    #[tokio::test]
    async fn units_add_up_and_a_new_day_begins_at_nothing() {
        let db = Database::new().await;
        let mut conn = db.pool().acquire().await.unwrap();
        let clock = db.clock();
        // Noon in California, whenever this runs, so that the three below are of one day.
        let noon = pacific_day(clock.now() + TimeDelta::days(1)).and_hms_opt(12, 0, 0).unwrap();
        let noon = noon.and_local_timezone(Los_Angeles).unwrap().to_utc();
        db.advance((noon - clock.now()).to_std().unwrap()).await;
        record(&mut conn, "p", "data", 1, &clock).await.unwrap();
        record(&mut conn, "p", "data", 50, &clock).await.unwrap();
        record(&mut conn, "p", "stats", 7, &clock).await.unwrap();
        assert_eq!(used(&mut conn, "p", "data", &clock).await.unwrap(), 51);
        assert_eq!(used(&mut conn, "p", "stats", &clock).await.unwrap(), 7);
        assert_eq!(used(&mut conn, "q", "data", &clock).await.unwrap(), 0);
        db.advance(Duration::from_hours(13)).await;
        assert_eq!(used(&mut conn, "p", "data", &clock).await.unwrap(), 0);
    }
}
