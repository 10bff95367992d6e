//! A job is enqueued with the row that is its reason, and completed with the rows that are its effect.

use std::sync::Arc;

use greenroom_queue::testing::{by_status, drain};
use greenroom_queue::{Context, Done, Job, Jobs, NewJob, Policy, Queue, Stop, enqueue};
use greenroom_testkit::Database;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

use crate::Outcome;
use crate::stage::Notes;

#[derive(Serialize, Deserialize)]
struct SendInvoice {
    order: i64,
}

impl Job for SendInvoice {
    const KIND: &'static str = "example.send_invoice";
    const POLICY: Policy = Policy::on("invoices");
    type State = PgPool;
    type Report = &'static str;

    async fn run(self, pool: &PgPool, ctx: &Context) -> Result<Done<&'static str>, Stop> {
        let mut tx = pool.begin().await?;
        sqlx::query("update orders set invoiced = true where id = $1")
            .bind(self.order)
            .execute(&mut *tx)
            .await?;
        // The last statement before the commit: the order is invoiced and the job done, or neither.
        let done = ctx.complete(&mut tx, "invoiced").await?;
        tx.commit().await?;
        Ok(done)
    }
}

pub(crate) async fn run(db: &Database, notes: &Arc<Notes>) -> Outcome {
    let (pool, queue) = (db.pool(), Queue::new(db.pool().clone()));
    sqlx::raw_sql("create table orders (id bigint primary key, invoiced boolean not null default false)")
        .execute(pool)
        .await?;

    for (order, commits) in [(1, false), (2, true)] {
        let mut tx = pool.begin().await?;
        sqlx::query("insert into orders values ($1)").bind(order).execute(&mut *tx).await?;
        let enqueued = enqueue(&mut tx, &[NewJob::of(&SendInvoice { order })?]).await?;
        if commits {
            tx.commit().await?;
            // After the commit, never before: a worker may look at once. Without it the sweeper finds the job.
            queue.wake(&enqueued);
        } else {
            tx.rollback().await?;
        }
        notes.say(format!("order {order} committed: {commits}; jobs: {:?}", by_status(pool).await?));
    }

    drain(&queue, &Jobs::new().with::<SendInvoice>(Some(&Arc::new(pool.clone())))).await?;
    let invoiced: Vec<i64> =
        sqlx::query_scalar("select id from orders where invoiced").fetch_all(pool).await?;
    notes.say(format!("invoiced: {invoiced:?}; jobs: {:?}", by_status(pool).await?));
    Ok(())
}
