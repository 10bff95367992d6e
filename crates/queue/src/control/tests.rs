mod bulk;
mod failures;
mod filters;

use greenroom_testkit::Database;
use uuid::Uuid;

/// A row to insert, as a test says it.
#[derive(Clone, Default)]
struct Row {
    /// Its id is of this millisecond.
    millis: u64,
    user: Option<Uuid>,
    kind: &'static str,
    /// `pending`, `running`, `completed`, or why it failed.
    stands: &'static str,
    payload: &'static str,
    error: Option<&'static str>,
    key: Option<&'static str>,
    fingerprint: Option<i64>,
}

impl Row {
    fn of(kind: &'static str, stands: &'static str) -> Self {
        Self { kind, stands, payload: "{}", ..Self::default() }
    }

    async fn insert(self, db: &Database) -> Uuid {
        self.insert_many(db, 1).await.remove(0)
    }

    /// Inserts so many, a millisecond apart; returns their ids, the oldest first.
    async fn insert_many(self, db: &Database, jobs: usize) -> Vec<Uuid> {
        let first = if self.millis == 0 { 1_700_000_000_000 } else { self.millis };
        let ids: Vec<Uuid> = (first..)
            .take(jobs)
            .map(|millis| uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid())
            .collect();
        let failed = !matches!(self.stands, "pending" | "running" | "completed");
        let status = if failed { "failed" } else { self.stands };
        sqlx::query!(
            r#"
            insert into background_jobs (id, user_id, job_type, queue, status, payload, error_message, unique_key, failure,
                                         fingerprint, completed_at, lease_token, leased_until, attempt, run_at)
            select id, $2, $3, 'q.' || $3, $4, $5::text::jsonb, $6, $7, $8, $9,
                   case when $4 in ('completed', 'failed') then greenroom.now() end,
                   case when $4 = 'running' then 7 end, case when $4 = 'running' then greenroom.now() + interval '1 min' end,
                   case when $4 = 'pending' then 0 else 1 end, greenroom.now() + interval '1 hour'
              from unnest($1::uuid[]) as id
            "#,
            &ids,
            self.user,
            self.kind,
            status,
            self.payload,
            self.error,
            self.key,
            failed.then_some(self.stands),
            self.fingerprint,
        )
        .execute(db.pool())
        .await
        .unwrap();
        ids
    }
}

/// Counts jobs by status.
async fn stand(db: &Database) -> Vec<(String, i64)> {
    crate::testing::by_status(db.pool()).await.unwrap().into_iter().collect()
}
