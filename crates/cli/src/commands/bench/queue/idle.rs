//! What a worker asks of the database when there is nothing to do.

use std::time::Duration;

use super::contender::{Call, Contender};
use super::{Bench, facts};
use crate::CliError;
use sqlx::Connection as _;

/// How long a worker waits for a job that never comes: once shortly, for what starting and stopping take, and
/// once longer. What lies between is idleness.
const SHORTLY: Duration = Duration::from_secs(3);
const LONGER: Duration = Duration::from_secs(18);

pub(super) async fn run(bench: &mut Bench<'_>) -> Result<(), CliError> {
    let ours = bench.contenders[0].clone();
    for (name, leads) in [(facts::IDLE_LEADER, true), (facts::IDLE_WORKER, false)] {
        let shortly = waits(bench, &ours, leads, SHORTLY).await?;
        let longer = waits(bench, &ours, leads, LONGER).await?;
        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        let each_second = (longer - shortly) as f64 / LONGER.saturating_sub(SHORTLY).as_secs_f64();
        bench.report.fact(name, each_second, "");
    }
    Ok(())
}

/// Returns the transactions of a worker that waits in vain.
async fn waits(
    bench: &mut Bench<'_>,
    ours: &Contender,
    leads: bool,
    timeout: Duration,
) -> Result<i64, CliError> {
    let call = Call { timeout, ..bench.fresh(ours).await? };
    if !leads {
        let mut conn = bench.server.connect().await?;
        sqlx::raw_sql(
            "insert into greenroom.leaders (role, holder, until)
             values ('sweeper', gen_random_uuid(), greenroom.now() + interval '1 hour')",
        )
        .execute(&mut conn)
        .await?;
        conn.close().await?;
    }
    let (_, spent) = bench.measure(ours, &call, &["drain", "1"]).await?;
    Ok(spent.transactions)
}
