//! What no peer has: fair lanes, and a claim that is as cheap with a backlog as without.

use serde_json::Value;
use sqlx::Connection as _;
use sqlx::types::Json;

use super::contender::GREENROOM;
use super::report::Row;
use super::{Bench, drains, facts};
use crate::CliError;

/// Lanes beside the one that owns most of the backlog.
const OTHERS: i64 = 20;
/// The claim that is looked at, of as many jobs as one statement of a worker takes at most.
const CLAIM: &str = "explain (analyze, buffers, format json)
    select * from greenroom.claim('bench', '', gen_random_uuid(), 500, 1, interval '1 minute')";

/// Has one lane own 60 % of the backlog, and looks at whose jobs are done while all lanes have some.
pub(super) async fn fairness(bench: &mut Bench<'_>) -> Result<(), CliError> {
    let ours = bench.contenders[0].clone();
    let call = bench.fresh(&ours).await?;
    let mut conn = bench.server.connect().await?;
    // As any SQL client enqueues: the lane is what the kind's policy says, the whale's jobs are the oldest.
    sqlx::raw_sql(
        "insert into greenroom.kinds (kind, queue, priority, max_attempts, lane_field)
         values ('bench.nothing', 'bench', 5, 10, 'who')",
    )
    .execute(&mut conn)
    .await?;
    sqlx::query(
        "insert into background_jobs (job_type, payload)
         select 'bench.nothing', jsonb_build_object('seq', n, 'who',
                case when n <= $1 * 6 / 10 then 'whale' else 'lane ' || n % $2 end)
           from generate_series(1, $1) n",
    )
    .bind(i64::try_from(bench.jobs).unwrap_or(i64::MAX))
    .bind(OTHERS)
    .execute(&mut conn)
    .await?;
    // All lanes are there from the first claim on, rather than from when the sweeper finds them.
    sqlx::raw_sql(
        "select greenroom.wake(array_agg(lane), array_agg(queue), array_agg(text ''), array_agg(key), null, array_agg(rank))
           from (select lane, min(queue) as queue, 'who:' || min(payload ->> 'who') as key, min(rank) as rank
                   from background_jobs group by lane) lanes",
    )
    .execute(&mut conn)
    .await?;
    bench.server.tidy().await?;
    // Half of what the others have: they never run dry.
    let drained = bench.jobs * 4 / 10 / 20 / 2 * 21;
    let (answer, _) = bench.measure(&ours, &call, &["drain", &drained.to_string()]).await?;
    let (whales, all): (i64, i64) = sqlx::query_as(
        "select count(*) filter (where payload ->> 'who' = 'whale'), count(*) from background_jobs
          where status = 'completed'",
    )
    .fetch_one(&mut conn)
    .await?;
    conn.close().await?;
    bench.keep(Row::of_runs(
        "drain, 21 lanes, one of them a whale",
        GREENROOM,
        drained,
        &[drains::rate(&answer)],
        &[],
    ));
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    let share = 100.0 * whales as f64 / all.max(1) as f64;
    bench.report.fact("whale of 60 % of the backlog, its share of what was done", share, "%");
    #[expect(clippy::cast_precision_loss, reason = "twenty-one is exact")]
    bench.report.fact("its fair share, one lane of 21", 100.0 / (OTHERS + 1) as f64, "%");
    Ok(())
}

/// Looks at one claim by itself: the buffers it touches a job, and its time.
pub(super) async fn claim_cost(bench: &mut Bench<'_>, when: &str) -> Result<(), CliError> {
    let mut conn = bench.server.connect().await?;
    let mut plan = Value::Null;
    // The first ones of a session read the catalogue and make the plans.
    for _ in 0..4 {
        let mut tx = conn.begin().await?;
        let Json(explained): Json<Value> = sqlx::query_scalar(CLAIM).fetch_one(&mut *tx).await?;
        tx.rollback().await?;
        plan = explained;
    }
    conn.close().await?;
    let (buffers, jobs, ms) = buffers(&plan)
        .ok_or_else(|| CliError::Failed(format!("the plan of the claim is not understood: {plan}")))?;
    bench.report.fact(format!("{}, {when}", facts::BUFFERS), buffers / jobs.max(1.0), "");
    bench.report.fact(format!("claim of {jobs:.0} jobs, {when}"), ms, "ms");
    Ok(())
}

/// Reads buffers, rows and milliseconds of an explained statement.
fn buffers(plan: &Value) -> Option<(f64, f64, f64)> {
    let whole = plan.get(0)?;
    let node = whole.get("Plan")?;
    let number = |name: &str| node.get(name)?.as_f64();
    Some((
        number("Shared Hit Blocks")? + number("Shared Read Blocks")?,
        number("Actual Rows")?,
        whole.get("Execution Time")?.as_f64()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_tells_buffers_rows_and_time() {
        let plan = serde_json::json!([{
            "Plan": {"Shared Hit Blocks": 4_000, "Shared Read Blocks": 50, "Actual Rows": 500, "Plans": []},
            "Execution Time": 7.5
        }]);
        assert_eq!(buffers(&plan), Some((4_050.0, 500.0, 7.5)));
        assert_eq!(buffers(&Value::Null), None);
    }
}
