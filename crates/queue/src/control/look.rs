//! Looks at jobs: a page, one, its attempts, and how many there are.

use greenroom_model::JobId;
use sqlx::{Connection as _, PgConnection, Postgres, Transaction};
use uuid::Uuid;

use super::filter::{Filter, matching};
use super::rows::{Attempt, JobRow, Page, read};
use crate::{Fingerprint, QueueError};

/// The longest that a search may take, after which the server ends it.
const SEARCH_SECS: u64 = 10;

/// Lists jobs, newest first, after the given one; the connection must be in no transaction.
pub async fn list(
    conn: &mut PgConnection,
    filter: &Filter,
    after: Option<JobId>,
    limit: u16,
) -> Result<Page, QueueError> {
    let limit = usize::from(limit);
    let mut tx = search(conn).await?;
    let mut ids = page(&mut tx, filter, after.map(|id| id.0), limit + 1).await?;
    let more = ids.len() > limit;
    ids.truncate(limit);
    let jobs = read(&mut tx, &ids).await?;
    tx.commit().await?;
    Ok(Page { jobs, next: ids.last().filter(|_| more).map(|id| JobId(*id)) })
}

/// Begins a search: its statements see one moment, are planned for their values, and the server ends those that
/// take too long.
pub(super) async fn search(conn: &mut PgConnection) -> Result<Transaction<'_, Postgres>, QueueError> {
    let mut tx = conn.begin_with("begin isolation level repeatable read, read only").await?;
    sqlx::query_scalar!(
        "select set_config('plan_cache_mode', 'force_custom_plan', true)
             || set_config('statement_timeout', $1, true)",
        format!("{SEARCH_SECS}s"),
    )
    .fetch_one(&mut *tx)
    .await?;
    Ok(tx)
}

/// Tells a search that the server ended from other errors.
pub(super) fn searched<T>(answer: Result<T, sqlx::Error>) -> Result<T, QueueError> {
    answer.map_err(|error| match &error {
        sqlx::Error::Database(refused) if refused.code().as_deref() == Some("57014") => {
            QueueError::SearchTooLong(SEARCH_SECS)
        }
        _ => error.into(),
    })
}

/// Returns the ids of a page, newest first.
pub(super) async fn page(
    search: &mut PgConnection,
    filter: &Filter,
    after: Option<Uuid>,
    limit: usize,
) -> Result<Vec<Uuid>, QueueError> {
    filter.check()?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    searched(
        matching!(
            query_scalar!()
            r#"
            select m.id as "id!"
              from unnest(coalesce($5, array[null::uuid])) as u (id)
             cross join lateral (
                select b.id from background_jobs b"#,
            r"
                   and ($13::uuid is null or b.id < $13)
                 order by b.id desc
                 limit $14) m
             order by m.id desc
             limit $14",
            filter.values(),
            after,
            limit
        )
        .fetch_all(search)
        .await,
    )
}

/// How many jobs of a kind stand alike.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Count {
    /// The kind.
    pub kind: String,
    /// The status.
    pub status: String,
    /// How many.
    pub jobs: i64,
}

/// Counts jobs by kind and status; the connection must be in no transaction.
pub async fn count(conn: &mut PgConnection, filter: &Filter) -> Result<Vec<Count>, QueueError> {
    let mut tx = search(conn).await?;
    let counts = count_after(&mut tx, filter, None).await?;
    tx.commit().await?;
    Ok(counts)
}

/// Counts the jobs of a list that come after the given one.
pub(super) async fn count_after(
    search: &mut PgConnection,
    filter: &Filter,
    after: Option<Uuid>,
) -> Result<Vec<Count>, QueueError> {
    filter.check()?;
    let counts = matching!(
        query_as!(Count,)
        r#"
        select b.job_type as kind, b.status, count(*) as "jobs!"
          from unnest(coalesce($5, array[null::uuid])) as u (id) cross join background_jobs b"#,
        "
           and ($13::uuid is null or b.id < $13)
         group by 1, 2
         order by 1, 2",
        filter.values(),
        after
    )
    .fetch_all(search)
    .await;
    searched(counts)
}

/// Returns one job.
pub async fn show(conn: &mut PgConnection, job: JobId) -> Result<JobRow, QueueError> {
    read(conn, &[job.0]).await?.pop().ok_or(QueueError::NotFound(job))
}

/// Returns a job's attempts that did not simply succeed, oldest first.
pub async fn attempts(conn: &mut PgConnection, job: JobId) -> Result<Vec<Attempt>, QueueError> {
    Ok(sqlx::query_as!(
        Attempt,
        r#"select attempt as number, outcome, error, fingerprint as "fingerprint: Fingerprint", worker_id,
                  started_at, finished_at
             from greenroom.attempts where job_id = $1 order by id"#,
        job.0,
    )
    .fetch_all(conn)
    .await?)
}
