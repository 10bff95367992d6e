//! Enqueues one at a time, and how soon an idle worker begins.

use super::contender::{Call, Contender};
use super::report::{Cost, Row};
use super::{Bench, drains, loads};
use crate::CliError;

/// Jobs that are enqueued for an idle worker, and the milliseconds between two.
const PICK_UPS: u64 = 500;
const EVERY_MS: u64 = 10;

/// Enqueues by one, by a few and by many at once, each in a transaction of its own.
pub(super) async fn singly(bench: &mut Bench<'_>) -> Result<(), CliError> {
    let contenders = bench.contenders.clone();
    let loads = [
        // Each waits for its own commit, so alone they are slow and few are enough.
        ("enqueue singly, 1 at once", bench.small() / 5, 1),
        (loads::ENQUEUE_8, bench.small(), 8),
        ("enqueue singly, 64 at once", bench.small(), 64),
    ];
    for (load, jobs, producers) in loads {
        for contender in &contenders {
            let call = bench.fresh(contender).await?;
            once(bench, contender, &call, load, jobs, producers).await?;
        }
    }
    Ok(())
}

pub(super) async fn once(
    bench: &mut Bench<'_>,
    contender: &Contender,
    call: &Call,
    load: &str,
    jobs: u64,
    producers: u32,
) -> Result<(), CliError> {
    let words = ["enqueue", &jobs.to_string(), &producers.to_string()];
    let (answer, spent) = bench.measure(contender, call, &words).await?;
    let cost = Cost::of(&spent, answer.cpu_s, jobs);
    bench.keep(Row::of_runs(load, contender.name, jobs, &[drains::rate(&answer)], &[cost]));
    Ok(())
}

/// How soon an idle worker begins what is enqueued.
pub(super) async fn pick_up(bench: &mut Bench<'_>) -> Result<(), CliError> {
    for contender in &bench.contenders.clone() {
        let call = bench.fresh(contender).await?;
        pick_up_once(bench, contender, &call, loads::PICK_UP).await?;
    }
    Ok(())
}

pub(super) async fn pick_up_once(
    bench: &mut Bench<'_>,
    contender: &Contender,
    call: &Call,
    load: &str,
) -> Result<(), CliError> {
    let (answer, _) =
        bench.measure(contender, call, &["latency", &PICK_UPS.to_string(), &EVERY_MS.to_string()]).await?;
    let row = Row::of_runs(load, contender.name, PICK_UPS, &[drains::rate(&answer)], &[]);
    let note = (answer.lost > 0).then(|| format!("{} never began", answer.lost));
    bench.keep(Row { pick_ms: Some(answer.pick_ms), note, ..row });
    Ok(())
}
