//! Pauses: what operators hold up, without losing any of it.
//!
//! A paused queue is not claimed from, a paused lane or pool is not looked at. Jobs of a paused kind are
//! set aside one by one as the claim comes upon them, since they share lanes with others, and put back by
//! the sweeper when the kind is resumed. What runs is left alone.

use std::fmt;

use sqlx::{Connection as _, PgConnection};

use crate::{QueueError, lane, wake};

/// What can be paused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pausable {
    /// A queue; it need not have a job yet.
    Queue(String),
    /// A kind that some worker has declared.
    Kind(String),
    /// A lane, by its queue, its pool (empty for none) and its key, such as `account:…`.
    Lane {
        /// The queue.
        queue: String,
        /// The pool; empty where its jobs draw on none.
        pool: String,
        /// The key.
        key: String,
    },
    /// A pool.
    Pool(String),
}

impl fmt::Display for Pausable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue(name) => write!(f, "queue {name}"),
            Self::Kind(kind) => write!(f, "kind {kind}"),
            Self::Lane { queue, key, .. } => write!(f, "lane {key} of queue {queue}"),
            Self::Pool(name) => write!(f, "pool {name}"),
        }
    }
}

/// Pauses or resumes; tells whether that changed anything.
pub async fn set_paused(conn: &mut PgConnection, what: &Pausable, paused: bool) -> Result<bool, QueueError> {
    let changed = match what {
        Pausable::Queue(name) => {
            sqlx::query_scalar!(
                r#"
                insert into greenroom.queues as q (name, paused)
                select $1, $2 where $2 or exists (select from greenroom.queues where name = $1)
                on conflict (name) do update set paused = $2, updated_at = greenroom.now() where q.paused <> $2
                returning name
                "#,
                name,
                paused,
            )
            .fetch_optional(&mut *conn)
            .await?
            .is_some()
        }
        Pausable::Kind(kind) => {
            let before = sqlx::query_scalar!(
                "update greenroom.kinds k set paused = $2, updated_at = greenroom.now()
                   from (select kind, paused from greenroom.kinds where kind = $1 for update) before
                  where k.kind = before.kind returning before.paused",
                kind,
                paused,
            )
            .fetch_optional(&mut *conn)
            .await?;
            before.ok_or_else(|| QueueError::NoSuch { what: "kind", name: kind.clone() })? != paused
        }
        Pausable::Lane { queue, pool, key } => {
            let mut tx = conn.begin().await?;
            let id = lane::make(&mut tx, queue, pool, key).await?;
            let changed = sqlx::query!("update greenroom.lanes set paused = $2 where id = $1 and paused <> $2", id, paused)
                .execute(&mut *tx)
                .await?
                .rows_affected()
                > 0;
            if paused {
                lane::hush(&mut tx, id).await?;
            } else {
                lane::rouse(&mut tx, id).await?;
            }
            tx.commit().await?;
            changed
        }
        Pausable::Pool(name) => {
            let before = sqlx::query_scalar!(
                "update greenroom.pools p set paused = $2, updated_at = greenroom.now()
                   from (select name, paused from greenroom.pools where name = $1 for update) before
                  where p.name = before.name returning before.paused",
                name,
                paused,
            )
            .fetch_optional(&mut *conn)
            .await?;
            before.ok_or_else(|| QueueError::NoSuch { what: "pool", name: name.clone() })? != paused
        }
    };
    if let (Pausable::Queue(queue) | Pausable::Lane { queue, .. }, false) = (what, paused) {
        wake::notify(conn, std::slice::from_ref(queue)).await?;
    }
    Ok(changed)
}

/// Puts jobs back that were set aside for a kind that is not paused any more; returns their queues.
pub(crate) async fn put_back(conn: &mut PgConnection, batch: i64) -> Result<Vec<String>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        with aside as (
            select j.id
              from greenroom.kinds k
             cross join lateral (
                   select b.id from background_jobs b
                    where b.status = 'pending' and b.held is not null and b.held = 'kind' and b.job_type = k.kind
                    order by b.id limit $1 for update skip locked) j
             where not k.paused
             limit $1
        ), back as (
            update background_jobs b
               set held = null, rank = greenroom.job_rank(b.run_at, b.priority), updated_at = greenroom.now()
              from aside where b.id = aside.id
            returning b.id, b.lane, b.queue, b.pool, b.rank, b.job_type, b.payload
        ), named as (
            select b.lane, b.queue, b.pool, b.rank, k.lane_cap,
                   greenroom.lane_key(k.lane_field, b.payload, b.id) as key
              from back b join greenroom.kinds k on k.kind = b.job_type
        )
        select coalesce(array_agg(distinct queue), '{}') as "queues!",
               greenroom.wake(array_agg(lane), array_agg(queue), array_agg(pool), array_agg(key), array_agg(lane_cap), array_agg(rank))
          from named
        "#,
        batch
    )
    .fetch_one(conn)
    .await?;
    Ok(row.queues)
}
