//! The handle that enqueuers hold: the pool, and the wake that follows a commit.
//!
//! The first wake goes at once; what comes while it is under way, or within 5 ms after, is merged into
//! the next. A wake shortens latency and nothing else: the sweeper finds what nobody woke.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::claim::timed;
use crate::enqueue::WakeLane;
use crate::units::Units;
use crate::{EnqueueError, Enqueued, Job, NewJob, enqueue, tell};

/// The channel on which a queue's name says that it has work.
pub(crate) const WAKE_CHANNEL: &str = "greenroom_wake";

const MERGE_WINDOW: Duration = Duration::from_millis(5);
const WAKE_TIMEOUT: Duration = Duration::from_secs(5);
const ENQUEUE_TIMEOUT: Duration = Duration::from_secs(30);

/// A cheap handle on the queue of one database: enqueue by it, wake by it.
#[derive(Clone, Debug)]
pub struct Queue {
    pool: PgPool,
    wakes: mpsc::UnboundedSender<Wake>,
    units: Units,
}

impl Queue {
    /// Makes a handle and starts its waker, which ends with the last clone. Needs a tokio runtime.
    pub fn new(pool: PgPool) -> Self {
        let (wakes, asked) = mpsc::unbounded_channel();
        tokio::spawn(run_waker(pool.clone(), asked));
        Self { units: Units::new(pool.clone()), pool, wakes }
    }

    /// Returns the pool it works on.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    pub(crate) fn units(&self) -> &Units {
        &self.units
    }

    /// Enqueues one job, and wakes its lane.
    pub async fn enqueue<J: Job>(&self, job: &J) -> Result<Enqueued, EnqueueError> {
        let answers = self.enqueue_many(&[NewJob::of(job)?]).await?;
        answers.into_iter().next().ok_or_else(|| EnqueueError::Database(sqlx::Error::RowNotFound))
    }

    /// Enqueues all of the jobs or none, and wakes their lanes. What is one statement needs no transaction.
    pub async fn enqueue_many(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>, EnqueueError> {
        let late = |_| EnqueueError::Timeout(ENQUEUE_TIMEOUT.as_millis());
        let mut conn = tokio::time::timeout(ENQUEUE_TIMEOUT, self.pool.acquire()).await.map_err(late)??;
        let written = tokio::time::timeout(ENQUEUE_TIMEOUT, enqueue(&mut conn, jobs)).await;
        if written.is_err() {
            // An answer may still come to it.
            conn.close_on_drop();
        }
        let answers = written.map_err(late)??;
        self.wake(&answers);
        Ok(answers)
    }

    /// Wakes the lanes of jobs whose transaction has committed, and counts them. Returns at once.
    pub fn wake(&self, jobs: &[Enqueued]) {
        tell::enqueued(jobs);
        // In one message: a lane woken for its later jobs first would show them first.
        let lanes: Vec<WakeLane> = jobs.iter().filter_map(|job| job.lane.clone()).collect();
        if !lanes.is_empty() {
            // The waker only ends when this handle is dropped; then there is nobody to tell.
            let _ = self.wakes.send(Wake::Lanes(lanes));
        }
    }

    /// Waits until every wake that was asked for has been sent: for a process that enqueues and ends.
    /// Without it the sweeper finds the jobs, a second or so later.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.wakes.send(Wake::Flush(done)).is_ok() {
            let _ = flushed.await;
        }
    }
}

/// What the waker is asked.
#[derive(Debug)]
enum Wake {
    Lanes(Vec<WakeLane>),
    /// To answer when everything before it is done.
    Flush(oneshot::Sender<()>),
}

async fn run_waker(pool: PgPool, mut asked: mpsc::UnboundedReceiver<Wake>) {
    let mut batch = Vec::new();
    while asked.recv_many(&mut batch, 10_000).await > 0 {
        let (mut lanes, mut flushed) = (Vec::new(), Vec::new());
        for wake in batch.drain(..) {
            match wake {
                Wake::Lanes(some) => lanes.extend(some),
                Wake::Flush(done) => flushed.push(done),
            }
        }
        if !lanes.is_empty() {
            let lanes = merge(lanes.into_iter());
            let wake = async |conn: &mut PgConnection| wake_lanes(conn, &lanes).await;
            if let Err(error) = timed(&pool, WAKE_TIMEOUT, wake).await {
                warn!(%error, "Could not wake {} lanes; the sweeper will", lanes.len());
            }
        }
        for done in flushed {
            // Who asked may have gone.
            let _ = done.send(());
        }
        tokio::time::sleep(MERGE_WINDOW).await;
    }
}

/// Keeps one entry a lane, with its lowest rank.
fn merge(lanes: impl Iterator<Item = WakeLane>) -> Vec<WakeLane> {
    let mut by_id: BTreeMap<i64, WakeLane> = BTreeMap::new();
    for lane in lanes {
        by_id.entry(lane.id).and_modify(|kept| kept.rank = kept.rank.min(lane.rank)).or_insert(lane);
    }
    by_id.into_values().collect()
}

/// Wakes lanes and tells the workers of their queues, in one statement. It does not wait for the disk:
/// the sweeper finds what a crash of the server leaves asleep.
async fn wake_lanes(conn: &mut PgConnection, lanes: &[WakeLane]) -> Result<(), sqlx::Error> {
    let queues: BTreeSet<&str> = lanes.iter().map(|lane| lane.queue.as_str()).collect();
    sqlx::query!(
        r#"
        select set_config('synchronous_commit', 'off', true) as "off!", greenroom.wake($1, $2, $3, $4, $5, $6),
               (select count(pg_notify($7, q.name)) from unnest($8::text[]) as q (name)) as "told!"
        "#,
        &lanes.iter().map(|l| l.id).collect::<Vec<_>>(),
        &lanes.iter().map(|l| l.queue.clone()).collect::<Vec<_>>(),
        &lanes.iter().map(|l| l.pool.clone()).collect::<Vec<_>>(),
        &lanes.iter().map(|l| l.key.clone()).collect::<Vec<_>>(),
        &lanes.iter().map(|l| l.cap).collect::<Vec<_>>() as &[Option<i32>],
        &lanes.iter().map(|l| l.rank).collect::<Vec<_>>(),
        WAKE_CHANNEL,
        &queues.into_iter().map(str::to_owned).collect::<Vec<_>>(),
    )
    .fetch_one(conn)
    .await?;
    Ok(())
}

/// Tells listening workers which queues have work.
pub(crate) async fn notify(conn: &mut PgConnection, queues: &[String]) -> Result<(), sqlx::Error> {
    sqlx::query!("select pg_notify($1, q.name) from unnest($2::text[]) as q (name)", WAKE_CHANNEL, queues)
        .fetch_all(conn)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_woken_once_from_its_lowest_rank() {
        let lane = |id, rank| WakeLane {
            id,
            queue: "q".into(),
            pool: String::new(),
            key: "k".into(),
            cap: None,
            rank,
        };
        let merged = merge([lane(2, 9), lane(1, 5), lane(2, 3)].into_iter());
        assert_eq!(merged.iter().map(|l| (l.id, l.rank)).collect::<Vec<_>>(), [(1, 5), (2, 3)]);
    }
}
