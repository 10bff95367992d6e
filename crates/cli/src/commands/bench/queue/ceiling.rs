//! The ceiling: the bare statements, claim by update and complete by update, a thousand jobs each, by pgbench.
//!
//! No lanes, no limits, no client that runs anything: no queue that keeps its history in a row a job is faster.

use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::report::{Cost, Row};
use super::server::Server;
use super::{Bench, facts, loads};
use crate::CliError;
use crate::commands::bench::queue::contender::GREENROOM;

const BATCH: u64 = 1_000;
/// Sessions at work at once: as many as the smallest machine has processors.
const CLIENTS: u64 = 2;

pub(super) async fn run(bench: &mut Bench<'_>) -> Result<(), CliError> {
    let Some(pgbench) = bench.server.program("pgbench") else {
        bench.terminal.note("  pgbench did not come with this server: the bare statements are left out");
        return Ok(());
    };
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    let turns = (bench.jobs / BATCH / CLIENTS).max(1);
    let jobs = turns * BATCH * CLIENTS;
    for _ in 0..bench.runs {
        bench.server.fresh().await?;
        let mut conn = bench.server.connect().await?;
        sqlx::raw_sql(include_str!("ceiling/setup.sql")).execute(&mut conn).await?;
        sqlx::query(include_str!("ceiling/fill.sql"))
            .bind(i64::try_from(jobs).unwrap_or(i64::MAX))
            .execute(&mut conn)
            .await?;
        drop(conn);
        bench.server.tidy().await?;
        let mut command = Command::new(&pgbench);
        command
            .arg("-h")
            .arg(bench.server.room())
            .args(["-p", "5432", "-U", "postgres", "-n", "-M", "prepared"]);
        command.args(["-c", &CLIENTS.to_string(), "-j", "1", "-t", &turns.to_string(), "-f", "-"]);
        command.arg(Server::database());
        let (per_sec, spent) = bench.server.measure(pgbench_rate(command)).await?;
        bench.report.note_others(&spent);
        rates.push(per_sec);
        costs.push(Cost::of(&spent, 0.0, jobs));
    }
    let row = Row::of_runs(loads::BARE, "pgbench", jobs, &rates, &costs);
    if let Some(drain) = bench.report.row(loads::DRAIN, GREENROOM) {
        let share = 100.0 * drain.per_sec / row.per_sec;
        bench.report.fact(facts::SHARE, share, "%");
    }
    bench.report.rows.push(row);
    Ok(())
}

/// Runs pgbench and returns the jobs a second.
async fn pgbench_rate(mut command: Command) -> Result<f64, CliError> {
    let failed = |why: &str| CliError::Failed(format!("pgbench: {why}"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut input = child.stdin.take().ok_or_else(|| failed("it has no input"))?;
    input.write_all(include_bytes!("ceiling/batch.sql")).await?;
    drop(input);
    let ended = child.wait_with_output().await?;
    let said = String::from_utf8_lossy(&ended.stdout);
    rate(&said).ok_or_else(|| failed(String::from_utf8_lossy(&ended.stderr).trim()))
}

/// Reads the transactions a second, and makes jobs of them.
fn rate(said: &str) -> Option<f64> {
    let line = said.lines().find_map(|line| line.strip_prefix("tps = "))?;
    #[expect(clippy::cast_precision_loss, reason = "a thousand is exact")]
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? * BATCH as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_batches_of_a_thousand() {
        let said = "latency average = 17.1 ms\ntps = 116.250000 (without initial connection time)\n";
        assert!((rate(said).unwrap() - 116_250.0).abs() < 1e-6);
        assert_eq!(rate("pgbench: error: no such table"), None);
    }
}
