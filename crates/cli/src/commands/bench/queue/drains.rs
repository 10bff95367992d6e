//! Drains: a worker takes and finishes what waits.

use std::time::Duration;

use futures::future::try_join_all;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::time::Instant;

use super::contender::{Answer, Call, Contender};
use super::report::{Cost, Row, median};
use super::server::Server;
use super::{Bench, enqueues, facts, lanes, link as way, loads};
use crate::CliError;

/// What several runs of one queue saw.
#[derive(Default)]
struct Runs {
    rates: Vec<f64>,
    costs: Vec<Cost>,
    note: Option<String>,
}

impl Runs {
    /// Drains once, on what is in the database.
    async fn drain(
        &mut self,
        bench: &mut Bench<'_>,
        contender: &Contender,
        call: &Call,
        jobs: u64,
    ) -> Result<(), CliError> {
        let (answer, spent) = bench.measure(contender, call, &["drain", &jobs.to_string()]).await?;
        self.rates.push(rate(&answer));
        self.costs.push(Cost::of(&spent, answer.cpu_s, answer.handled));
        self.doubt(&answer, jobs);
        Ok(())
    }

    /// Notes what a rate alone would hide.
    fn doubt(&mut self, answer: &Answer, jobs: u64) {
        if answer.timed_out {
            self.note = Some(format!("gave up at {} of {jobs}", answer.handled));
        } else if answer.done < jobs {
            self.note = Some(format!("only {} of {jobs} are recorded as done", answer.done));
        }
    }

    fn row(self, load: &str, contender: &Contender, jobs: u64) -> Row {
        Row { note: self.note, ..Row::of_runs(load, contender.name, jobs, &self.rates, &self.costs) }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
pub(super) fn rate(answer: &Answer) -> f64 {
    answer.handled.max(if answer.handled == 0 { answer.done } else { 0 }) as f64
        / answer.secs.max(f64::EPSILON)
}

/// Enqueues in bulk and drains, each queue in turn.
pub(super) async fn drain(bench: &mut Bench<'_>) -> Result<(), CliError> {
    let (contenders, jobs) = (bench.contenders.clone(), bench.jobs);
    let mut seen: Vec<(Runs, Runs)> = contenders.iter().map(|_| Default::default()).collect();
    for _ in 0..bench.runs {
        for (contender, (bulk, drain)) in contenders.iter().zip(&mut seen) {
            let call = bench.fresh(contender).await?;
            let (answer, spent) = bench.measure(contender, &call, &["bulk", &jobs.to_string()]).await?;
            bulk.rates.push(rate(&answer));
            bulk.costs.push(Cost::of(&spent, answer.cpu_s, jobs));
            bench.server.tidy().await?;
            drain.drain(bench, contender, &call, jobs).await?;
        }
    }
    let (bulks, drains): (Vec<Runs>, Vec<Runs>) = seen.into_iter().unzip();
    for (load, seen) in [("bulk enqueue, 1,000 each", bulks), (loads::DRAIN, drains)] {
        for (contender, runs) in contenders.iter().zip(seen) {
            bench.keep(runs.row(load, contender, jobs));
        }
    }
    Ok(())
}

/// Drains a few jobs and nothing else: what the loads below are compared with.
async fn plain(bench: &mut Bench<'_>) -> Result<(), CliError> {
    let (contenders, jobs) = (bench.contenders.clone(), bench.small());
    if bench.report.row(loads::PLAIN, contenders[0].name).is_some() {
        return Ok(());
    }
    for contender in &contenders {
        let mut runs = Runs::default();
        // A run is short, so there are more of them.
        for _ in 0..bench.runs * 2 - 1 {
            let call = bench.fresh(contender).await?;
            contender.call(&call, &["bulk", &jobs.to_string()]).await?;
            bench.server.tidy().await?;
            runs.drain(bench, contender, &call, jobs).await?;
        }
        bench.keep(runs.row(loads::PLAIN, contender, jobs));
    }
    Ok(())
}

/// Drains as many of a large backlog, and looks at what a claim costs then.
pub(super) async fn pending(bench: &mut Bench<'_>) -> Result<(), CliError> {
    plain(bench).await?;
    let (contenders, jobs, pending) = (bench.contenders.clone(), bench.small(), bench.pending);
    for contender in &contenders {
        let call = bench.fresh(contender).await?;
        let fill = Call { timeout: Duration::from_hours(1), ..call.clone() };
        contender.call(&fill, &["bulk", &pending.to_string()]).await?;
        bench.server.tidy().await?;
        let mut runs = Runs::default();
        for _ in 0..bench.runs * 2 - 1 {
            runs.drain(bench, contender, &call, jobs).await?;
        }
        // What a queue counts for its answer at the end is most of what a short drain costs with such a backlog.
        runs.costs.clear();
        bench.keep(runs.row(loads::PENDING, contender, jobs));
        if contender.is_ours() {
            lanes::claim_cost(bench, facts::BACKLOG).await?;
        }
    }
    Ok(())
}

/// Drains as many while somebody holds a snapshot from before some churn, so that no dead row can be removed.
pub(super) async fn held(bench: &mut Bench<'_>) -> Result<(), CliError> {
    plain(bench).await?;
    let (contenders, jobs, churn) = (bench.contenders.clone(), bench.small(), bench.jobs * 4);
    for contender in &contenders {
        let call = bench.fresh(contender).await?;
        let mut holder = bench.server.connect().await?;
        sqlx::raw_sql("begin isolation level repeatable read; select 1 from pg_class limit 1")
            .execute(&mut holder)
            .await?;
        contender.call(&call, &["bulk", &churn.to_string()]).await?;
        let mut runs = Runs::default();
        let churned = contender.call(&call, &["drain", &churn.to_string()]).await?;
        runs.doubt(&churned, churn);
        bench.server.tidy().await?;
        for _ in 0..bench.runs * 2 - 1 {
            contender.call(&call, &["bulk", &jobs.to_string()]).await?;
            runs.drain(bench, contender, &call, jobs).await?;
        }
        runs.costs.clear();
        if contender.is_ours() {
            contender.call(&call, &["bulk", &jobs.to_string()]).await?;
            lanes::claim_cost(bench, facts::SNAPSHOT).await?;
        }
        holder.close().await?;
        bench.keep(runs.row(loads::HELD, contender, jobs));
    }
    Ok(())
}

/// Drains with several worker processes, each of which does its part.
pub(super) async fn workers(bench: &mut Bench<'_>) -> Result<(), CliError> {
    let (contenders, jobs) = (bench.contenders.clone(), bench.jobs);
    for contender in &contenders {
        for processes in [1, 2, 4] {
            let part = jobs / processes;
            let call = bench.fresh(contender).await?;
            // Who has done its part has begun some more, which must not be missing to the others.
            contender.call(&call, &["bulk", &(jobs + jobs / 2).to_string()]).await?;
            bench.server.tidy().await?;
            let words = ["drain", &part.to_string()];
            let at_once = try_join_all((0..processes).map(|_| contender.call(&call, &words)));
            let (answers, spent) = bench.server.measure(at_once).await?;
            bench.report.note_others(&spent);
            let mut runs = Runs::default();
            for answer in &answers {
                runs.doubt(answer, part);
            }
            let slowest = answers.iter().map(|answer| answer.secs).fold(0.0, f64::max);
            let handled: u64 = answers.iter().map(|answer| answer.handled).sum();
            #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
            runs.rates.push(handled as f64 / slowest);
            let process_cpu = answers.iter().map(|answer| answer.cpu_s).sum();
            runs.costs.push(Cost::of(&spent, process_cpu, handled));
            let load = format!("drain, {processes} worker process{}", if processes == 1 { "" } else { "es" });
            bench.keep(runs.row(&load, contender, part * processes));
        }
    }
    Ok(())
}

/// Everything that waits for an answer, with a millisecond added each way.
pub(super) async fn link(bench: &mut Bench<'_>) -> Result<(), CliError> {
    let port = way::open(&bench.server.socket(), Duration::from_millis(1))?;
    let (contenders, jobs) = (bench.contenders.clone(), bench.small());
    for contender in &contenders {
        let near = bench.fresh(contender).await?;
        if contender.is_ours() {
            let there_and_back = round_trip(port).await?;
            bench.report.fact("link: there and back, measured, ms", there_and_back, "");
        }
        let far = Call::on(Server::url_at(port));
        let mut runs = Runs::default();
        for _ in 0..bench.runs {
            contender.call(&near, &["bulk", &jobs.to_string()]).await?;
            runs.drain(bench, contender, &far, jobs).await?;
        }
        bench.keep(runs.row("drain, 1 ms away", contender, jobs));
        enqueues::once(bench, contender, &far, "enqueue singly, 8 at once, 1 ms away", jobs / 5, 8).await?;
        bench.fresh(contender).await?;
        enqueues::pick_up_once(bench, contender, &far, "pick-up, idle worker, 1 ms away").await?;
    }
    Ok(())
}

/// Returns what one question costs over the link, in milliseconds.
async fn round_trip(port: u16) -> Result<f64, CliError> {
    let options: sqlx::postgres::PgConnectOptions = Server::url_at(port).parse()?;
    let mut conn = options.connect().await?;
    let mut times = Vec::new();
    for _ in 0..20 {
        let begun = Instant::now();
        sqlx::query("select 1").execute(&mut conn).await?;
        times.push(begun.elapsed().as_secs_f64() * 1_000.0);
    }
    conn.close().await?;
    Ok(median(times))
}

/// Drains and picks up with the settings that each queue has if nobody sets any.
pub(super) async fn defaults(bench: &mut Bench<'_>) -> Result<(), CliError> {
    let (contenders, jobs) = (bench.contenders.clone(), bench.small());
    for contender in &contenders {
        let mut runs = Runs::default();
        for _ in 0..bench.runs {
            let call = Call { defaults: true, ..bench.fresh(contender).await? };
            contender.call(&call, &["bulk", &jobs.to_string()]).await?;
            bench.server.tidy().await?;
            runs.drain(bench, contender, &call, jobs).await?;
        }
        bench.keep(runs.row("drain, default settings", contender, jobs));
        let call = Call { defaults: true, ..bench.fresh(contender).await? };
        enqueues::pick_up_once(bench, contender, &call, "pick-up, default settings").await?;
    }
    Ok(())
}
