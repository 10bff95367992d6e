//! `sync_logs`: one row a run of a product job.

use greenroom_http::scrub;
use greenroom_model::{ConnectionId, JobId, SyncRunId};
use sqlx::PgConnection;

use crate::SyncError;

/// More of an error than this helps nobody.
const ERROR_CHARS: usize = 2_000;
/// How many runs a sweep closes at a time.
const SWEEP: i64 = 500;

/// What a run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A row of `youtube_connections`.
    Youtube(ConnectionId),
    /// A row of `instagram_connections`.
    Instagram(ConnectionId),
    /// No single connection: a batch over many, a mailing, a reset.
    Many,
}

/// A run that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its row.
    pub id: SyncRunId,
    /// Whether an earlier attempt of the same job opened it and was killed.
    pub resumed: bool,
    /// What it has moved so far, by earlier attempts.
    pub counts: Counts,
}

/// What a run has moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Videos, or media.
    pub videos: u32,
    /// Comments.
    pub comments: u32,
}

/// Opens the run of a job, or carries on the one that its killed attempt left open.
///
/// Commit it before the first outside call, so that the log shows what is going on.
pub async fn open(
    conn: &mut PgConnection,
    job: JobId,
    kind: &str,
    subject: Subject,
) -> Result<Run, SyncError> {
    let (youtube, instagram) = match subject {
        Subject::Youtube(connection) => (Some(connection.0), None),
        Subject::Instagram(connection) => (None, Some(connection.0)),
        Subject::Many => (None, None),
    };
    let id = SyncRunId::new();
    let row = sqlx::query!(
        "insert into sync_logs (id, job_id, sync_type, channel_id, instagram_connection_id, started_at)
         values ($1, $2, $3, $4, $5, greenroom.now())
         on conflict (job_id) where status = 'pending' do update set updated_at = greenroom.now()
         returning id, videos_synced, comments_synced",
        id.0,
        job.0,
        kind,
        youtube,
        instagram,
    )
    .fetch_one(conn)
    .await?;
    let counts =
        Counts { videos: row.videos_synced.unsigned_abs(), comments: row.comments_synced.unsigned_abs() };
    Ok(Run { id: SyncRunId(row.id), resumed: row.id != id.0, counts })
}

/// Adds what a page has moved, in the page's transaction.
pub async fn progress(conn: &mut PgConnection, run: SyncRunId, more: Counts) -> Result<(), SyncError> {
    let done = sqlx::query!(
        "update sync_logs
            set videos_synced = videos_synced + $2, comments_synced = comments_synced + $3,
                updated_at = greenroom.now()
          where id = $1 and status = 'pending'",
        run.0,
        whole(more.videos),
        whole(more.comments),
    )
    .execute(conn)
    .await?;
    must_be_open(run, done.rows_affected())
}

/// Adds what is left to add and closes the run as a success, in the transaction that completes its job.
pub async fn succeed(conn: &mut PgConnection, run: SyncRunId, more: Counts) -> Result<(), SyncError> {
    let done = sqlx::query!(
        "update sync_logs
            set status = 'success', completed_at = greenroom.now(), updated_at = greenroom.now(),
                videos_synced = videos_synced + $2, comments_synced = comments_synced + $3
          where id = $1 and status = 'pending'",
        run.0,
        whole(more.videos),
        whole(more.comments),
    )
    .execute(conn)
    .await?;
    must_be_open(run, done.rows_affected())
}

/// Closes the run as failed with an error a person can read; returns whether it was open.
///
/// Secrets are taken out of the error and what is too long is cut.
pub async fn fail(conn: &mut PgConnection, run: SyncRunId, error: &str) -> Result<bool, SyncError> {
    let done = sqlx::query!(
        "update sync_logs
            set status = 'failed', completed_at = greenroom.now(), updated_at = greenroom.now(),
                error_message = $2
          where id = $1 and status = 'pending'",
        run.0,
        readable(error),
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A run that was found open although its job was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// The run, closed as failed.
    pub run: SyncRunId,
    /// What was synced, unless it is gone.
    pub subject: Option<Subject>,
}

/// Closes a batch of the runs of a kind whose job is no longer open: it ended without a word, was
/// cancelled, or its row is gone. Returns them, so that the caller can write what a failed run leaves
/// behind in the same transaction; an empty batch is the end. Safe to run by several at once.
pub async fn close_orphans(conn: &mut PgConnection, kind: &str) -> Result<Vec<Orphan>, SyncError> {
    let orphans = sqlx::query!(
        r#"select l.id as "id: SyncRunId", l.channel_id, l.instagram_connection_id,
                  j.failure as "failure?", j.error_message as "error?", j.id is null as "gone!"
             from sync_logs l
             left join background_jobs j on j.id = l.job_id
            where l.status = 'pending' and l.sync_type = $1
              and (j.id is null or j.status in ('completed', 'failed'))
            order by l.started_at
            limit $2
              for update of l skip locked"#,
        kind,
        SWEEP,
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut closed = Vec::with_capacity(orphans.len());
    for row in orphans {
        let error = match (row.gone, row.failure.as_deref(), row.error) {
            (true, ..) => "The job was removed before it ended.".to_owned(),
            (_, Some("cancelled"), _) => "The job was cancelled.".to_owned(),
            (_, _, Some(error)) => format!("The job failed: {error}"),
            (_, Some(failure), None) => format!("The job failed: {failure}."),
            _ => "The job ended without closing its run.".to_owned(),
        };
        if fail(conn, row.id, &error).await? {
            let youtube = row.channel_id.map(|id| Subject::Youtube(ConnectionId(id)));
            let instagram = row.instagram_connection_id.map(|id| Subject::Instagram(ConnectionId(id)));
            closed.push(Orphan { run: row.id, subject: youtube.or(instagram) });
        }
    }
    Ok(closed)
}

fn must_be_open(run: SyncRunId, rows: u64) -> Result<(), SyncError> {
    if rows == 1 { Ok(()) } else { Err(SyncError::RunClosed(run)) }
}

/// Returns an error as a person may read it: without secrets, on few lines, never empty.
fn readable(error: &str) -> String {
    // PostgreSQL refuses a text with a zero in it.
    let clean: String = scrub(error.trim()).chars().filter(|c| *c != '\0').take(ERROR_CHARS).collect();
    if clean.is_empty() { "It failed and did not say why.".to_owned() } else { clean }
}

fn whole(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use greenroom_testkit::Database;

    use super::*;

    const KIND: &str = "youtube.sync_channel";

    async fn job(db: &Database) -> JobId {
        let job = JobId::new();
        let sql = "insert into background_jobs (id, job_type) values ($1, $2)";
        sqlx::query(sql).bind(job.0).bind(KIND).execute(db.pool()).await.unwrap();
        job
    }

    async fn channel(db: &Database) -> ConnectionId {
        let id = sqlx::query_scalar(
            "with u as (insert into users (email) values ('a@example.com') returning id)
             insert into youtube_connections (user_id, channel_id) select id, 'UC1' from u returning id",
        )
        .fetch_one(db.pool())
        .await
        .unwrap();
        ConnectionId(id)
    }

    /// Status, error, videos and comments of a run.
    async fn row(db: &Database, run: SyncRunId) -> (String, Option<String>, i32, i32) {
        sqlx::query_as(
            "select status, error_message, videos_synced, comments_synced from sync_logs where id = $1",
        )
        .bind(run.0)
        .fetch_one(db.pool())
        .await
        .unwrap()
    }

    #[tokio::test]
    async fn a_run_opens_moves_and_closes() {
        let db = Database::new().await;
        let mut conn = db.pool().acquire().await.unwrap();
        let subject = Subject::Youtube(channel(&db).await);
        let run = open(&mut conn, job(&db).await, KIND, subject).await.unwrap();
        assert!(!run.resumed);
        progress(&mut conn, run.id, Counts { videos: 50, comments: 0 }).await.unwrap();
        progress(&mut conn, run.id, Counts { videos: 3, comments: 100 }).await.unwrap();
        assert_eq!(row(&db, run.id).await, ("pending".to_owned(), None, 53, 100));
        db.advance(Duration::from_mins(2)).await;
        succeed(&mut conn, run.id, Counts { videos: 0, comments: 1 }).await.unwrap();
        assert_eq!(row(&db, run.id).await, ("success".to_owned(), None, 53, 101));
        let secs: f64 = sqlx::query_scalar(
            "select extract(epoch from completed_at - started_at)::double precision from sync_logs",
        )
        .fetch_one(&mut *conn)
        .await
        .unwrap();
        assert!((120.0..180.0).contains(&secs), "{secs}");
        assert!(!fail(&mut conn, run.id, "too late").await.unwrap());
        for late in [
            progress(&mut conn, run.id, Counts::default()).await,
            succeed(&mut conn, run.id, Counts::default()).await,
        ] {
            assert!(matches!(late, Err(SyncError::RunClosed(_))), "{late:?}");
        }
    }

    #[tokio::test]
    async fn a_killed_job_carries_its_run_on() {
        let db = Database::new().await;
        let mut conn = db.pool().acquire().await.unwrap();
        let job = job(&db).await;
        let first = open(&mut conn, job, KIND, Subject::Many).await.unwrap();
        progress(&mut conn, first.id, Counts { videos: 7, comments: 0 }).await.unwrap();
        let second = open(&mut conn, job, KIND, Subject::Many).await.unwrap();
        assert_eq!((second.id, second.resumed, second.counts.videos), (first.id, true, 7));
        // After an attempt that failed, the next one is a run of its own.
        assert!(fail(&mut conn, first.id, "YouTube answered 500").await.unwrap());
        let third = open(&mut conn, job, KIND, Subject::Many).await.unwrap();
        assert_ne!(third.id, first.id);
        assert_eq!(third.counts, Counts::default());
    }

    #[tokio::test]
    async fn an_error_is_readable_and_holds_no_secret() {
        let db = Database::new().await;
        let mut conn = db.pool().acquire().await.unwrap();
        let long = format!("refused: access_token=ya29.abcdef\0 {}", "x".repeat(5_000));
        for (error, begin) in [(long.as_str(), "refused: access_token=[redacted]"), (" ", "It failed and")] {
            let run = open(&mut conn, job(&db).await, KIND, Subject::Many).await.unwrap();
            fail(&mut conn, run.id, error).await.unwrap();
            let (status, text, ..) = row(&db, run.id).await;
            let text = text.unwrap();
            assert_eq!(status, "failed");
            assert!(
                text.starts_with(begin) && text.len() <= ERROR_CHARS && !text.contains("abcdef"),
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn runs_of_jobs_that_ended_are_closed() {
        let db = Database::new().await;
        let mut conn = db.pool().acquire().await.unwrap();
        let mut runs = Vec::new();
        for sql in [
            "select $1::uuid",
            "delete from background_jobs where id = $1",
            "update background_jobs set status = 'completed', completed_at = greenroom.now() where id = $1",
            "update background_jobs set status = 'failed', completed_at = greenroom.now(), failure = 'cancelled'
              where id = $1",
            "update background_jobs set status = 'failed', completed_at = greenroom.now(), failure = 'exhausted',
                    error_message = 'no answer, Bearer abc' where id = $1",
        ] {
            let job = job(&db).await;
            runs.push(open(&mut conn, job, KIND, Subject::Many).await.unwrap().id);
            sqlx::query(sql).bind(job.0).execute(&mut *conn).await.unwrap();
        }
        assert_eq!(close_orphans(&mut conn, "instagram.sync_account").await.unwrap(), []);
        let closed: Vec<_> = close_orphans(&mut conn, KIND).await.unwrap().iter().map(|o| o.run).collect();
        assert_eq!(closed, runs[1..]);
        assert_eq!(close_orphans(&mut conn, KIND).await.unwrap(), []);
        assert_eq!(row(&db, runs[0]).await.0, "pending", "its job is still open");
        for (run, error) in runs[1..].iter().zip([
            "The job was removed before it ended.",
            "The job ended without closing its run.",
            "The job was cancelled.",
            "The job failed: no answer, Bearer [redacted]",
        ]) {
            let (status, text, ..) = row(&db, *run).await;
            assert_eq!((status.as_str(), text.as_deref()), ("failed", Some(error)));
        }
    }

    #[tokio::test]
    async fn a_closed_run_says_what_was_synced() {
        let db = Database::new().await;
        let mut conn = db.pool().acquire().await.unwrap();
        let subject = Subject::Youtube(channel(&db).await);
        let run = open(&mut conn, job(&db).await, KIND, subject).await.unwrap().id;
        sqlx::query("delete from background_jobs").execute(&mut *conn).await.unwrap();
        let closed = close_orphans(&mut conn, KIND).await.unwrap();
        assert_eq!(closed, [Orphan { run, subject: Some(subject) }]);
    }
}
