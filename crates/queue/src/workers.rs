//! Worker processes, as they say of themselves in `greenroom.workers`.

use chrono::{DateTime, Utc};
use greenroom_model::JobId;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{QueueError, Settings};

/// A worker, as it last said.
#[derive(Clone, Debug, serde::Serialize)]
pub struct WorkerRow {
    /// Its id, as jobs and attempts carry it.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Where it runs.
    pub host: String,
    /// Its process there.
    pub pid: i32,
    /// Its release.
    pub version: String,
    /// The queues it serves.
    pub queues: Vec<String>,
    /// Its slots for each of them.
    pub queue_slots: Vec<i32>,
    /// All of its slots.
    pub slots: i32,
    /// Jobs it has in hand.
    pub busy: i32,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// How long it has said nothing.
    pub silent_secs: f64,
    /// Whether that is too long: its jobs may be rescued, and nobody counts on it.
    pub silent: bool,
    /// Whether it is the one that sweeps.
    pub sweeps: bool,
}

/// Lists the workers, the oldest first.
pub async fn list(conn: &mut PgConnection, settings: &Settings) -> Result<Vec<WorkerRow>, QueueError> {
    Ok(sqlx::query_as!(
        WorkerRow,
        r#"
        select w.id, w.name, w.host, w.pid, w.version, w.queues, w.queue_slots, w.slots, w.busy, w.started_at,
               date_part('epoch', greenroom.now() - w.seen_at) as "silent_secs!",
               w.seen_at < greenroom.now() - make_interval(secs => $1) as "silent!",
               coalesce(l.until > greenroom.now(), false) as "sweeps!"
          from greenroom.workers w left join greenroom.leaders l on l.role = 'sweeper' and l.holder = w.id
         order by w.started_at, w.id
        "#,
        settings.lease().as_secs_f64() / 2.0,
    )
    .fetch_all(conn)
    .await?)
}

/// A queue this worker serves, and how many of its jobs it runs at once.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub name: String,
    pub slots: u32,
}

/// Writes that a worker has started.
pub(crate) async fn started(
    conn: &mut PgConnection,
    id: Uuid,
    name: &str,
    served: &[Served],
) -> Result<(), sqlx::Error> {
    let host = std::env::var("HOSTNAME")
        .ok()
        .or_else(|| std::fs::read_to_string("/etc/hostname").ok())
        .map_or_else(|| "unknown".to_owned(), |host| host.trim().to_owned());
    sqlx::query!(
        r#"
        insert into greenroom.workers (id, name, host, pid, version, queues, queue_slots, slots)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        "#,
        id,
        name,
        host,
        i32::try_from(std::process::id()).unwrap_or(0),
        env!("CARGO_PKG_VERSION"),
        &served.iter().map(|served| served.name.clone()).collect::<Vec<_>>(),
        &served.iter().map(|served| i32::try_from(served.slots).unwrap_or(i32::MAX)).collect::<Vec<_>>(),
        i32::try_from(served.iter().map(|served| u64::from(served.slots)).sum::<u64>()).unwrap_or(i32::MAX),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes that a worker lives; tells whether it is known. One that was silent for long is forgotten.
pub(crate) async fn seen(conn: &mut PgConnection, id: Uuid, busy: i32) -> Result<bool, sqlx::Error> {
    let seen = sqlx::query!(
        "update greenroom.workers set seen_at = greenroom.now(), busy = $2 where id = $1",
        id,
        busy
    );
    Ok(seen.execute(conn).await?.rows_affected() > 0)
}

/// Returns which of these jobs this worker ran last and are at their end.
pub(crate) async fn ended_here(
    conn: &mut PgConnection,
    id: Uuid,
    jobs: &[JobId],
) -> Result<Vec<JobId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select id as "id: JobId" from background_jobs
            where id = any($1) and worker_id = $2 and lease_token is null"#,
        &jobs.iter().map(|job| job.0).collect::<Vec<_>>(),
        id,
    )
    .fetch_all(conn)
    .await
}

/// Forgets a worker that stopped.
pub(crate) async fn stopped(conn: &mut PgConnection, id: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from greenroom.workers where id = $1", id).execute(conn).await?;
    Ok(())
}

/// Forgets workers that have not been seen for ten leases: they died without a word.
pub(crate) async fn forget_dead(conn: &mut PgConnection, lease_secs: f64) -> Result<u64, sqlx::Error> {
    let gone = sqlx::query!(
        "delete from greenroom.workers where seen_at < greenroom.now() - make_interval(secs => $1)",
        lease_secs * 10.0,
    )
    .execute(conn)
    .await?;
    Ok(gone.rows_affected())
}
