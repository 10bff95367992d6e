//! How the planner means to run the statements that the queue lives by.
//!
//! As in `greenroom.claim` and `sweep.rs`, and planned as there: without a look at the parameters.

use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgConnection, Row as _};

use crate::doctor::{Finding, some};

/// Bytes below which the planner may do as it likes.
const SMALL: i64 = 4 * 1024 * 1024;

/// A statement, how it is planned, and the index that gives its rows in their order.
const STATEMENTS: [(&str, &str, &str); 4] = [
    (
        "the claim's pick",
        "prepare greenroom_doctor (bigint, bigint) as
         select id, rank, job_type from public.background_jobs
          where lane = $1 and status = 'pending' and rank >= $2 order by rank limit 100 for update skip locked;
         explain (format json) execute greenroom_doctor (0, 0);
         deallocate greenroom_doctor",
        "background_jobs_ready",
    ),
    (
        "the sweeper's promotion",
        "prepare greenroom_doctor as
         select id from public.background_jobs
          where status = 'pending' and rank is null and held is null and run_at <= greenroom.now()
          order by run_at limit 500 for update skip locked;
         explain (format json) execute greenroom_doctor;
         deallocate greenroom_doctor",
        "background_jobs_due",
    ),
    (
        "the sweeper's rescue",
        "prepare greenroom_doctor as
         select id, worker_id from public.background_jobs
          where status = 'running' and leased_until < greenroom.now()
          order by leased_until limit 500 for update skip locked;
         explain (format json) execute greenroom_doctor;
         deallocate greenroom_doctor",
        "background_jobs_lease",
    ),
    (
        "the sweeper's walk over the lanes",
        "prepare greenroom_doctor (bigint) as
         select id, lane, rank from public.background_jobs
          where status = 'pending' and rank is not null and lane > $1 order by lane, rank limit 1;
         explain (format json) execute greenroom_doctor (0);
         deallocate greenroom_doctor",
        "background_jobs_ready",
    ),
];

/// Whether those statements find their rows by the index made for them.
pub(in crate::doctor) async fn plans(conn: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let size = sqlx::query_scalar!(r#"select pg_relation_size('public.background_jobs') as "bytes!""#)
        .fetch_one(&mut *conn)
        .await?;
    if size < SMALL {
        return Ok(Finding::ok("the table is too small to tell"));
    }
    sqlx::raw_sql("set plan_cache_mode = force_generic_plan").execute(&mut *conn).await?;
    let mut wrong = Vec::new();
    for (name, statement, index) in STATEMENTS {
        let row = sqlx::raw_sql(statement).fetch_one(&mut *conn).await?;
        let Json(plan): Json<Value> = row.try_get(0)?;
        wrong.extend(objection(&plan, index).map(|what| format!("{name} {what}")));
    }
    sqlx::raw_sql("reset plan_cache_mode").execute(conn).await?;
    if wrong.is_empty() {
        return Ok(Finding::ok("the queue's statements use their indexes"));
    }
    Ok(Finding::problem(
        some(&wrong),
        "analyze background_jobs, and see indexes; if it stays, look at the planner's cost settings",
    ))
}

fn objection(plan: &Value, index: &str) -> Option<String> {
    let mut nodes = Vec::new();
    collect(plan, &mut nodes);
    let has = |field: &str, value: &str| nodes.iter().any(|node| node.get(field).is_some_and(|v| v == value));
    if has("Node Type", "Seq Scan") {
        Some("reads the whole table".to_owned())
    } else if !has("Index Name", index) {
        Some(format!("does not use {index}"))
    } else if has("Node Type", "Sort") || has("Node Type", "Incremental Sort") {
        Some("sorts".to_owned())
    } else {
        None
    }
}

/// Gathers the nodes of a plan, wherever they stand in it.
fn collect<'a>(plan: &'a Value, nodes: &mut Vec<&'a serde_json::Map<String, Value>>) {
    match plan {
        Value::Array(parts) => parts.iter().for_each(|part| collect(part, nodes)),
        Value::Object(node) => {
            nodes.push(node);
            node.values().for_each(|part| collect(part, nodes));
        }
        _ => {}
    }
}
