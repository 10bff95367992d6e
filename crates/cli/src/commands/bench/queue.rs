//! `greenroom bench queue`: what the queue carries and what a job costs, beside other queues in the same run.
//!
//! Each queue is a program of its own that does one thing a call (`bench adapter`; the peers' are built from
//! `bench/`), on a database made anew for it. What a call costs PostgreSQL is read around it: processor time, WAL,
//! transactions, dead rows. Times move with the machine's neighbours, so whatever is compared is measured in turns,
//! the spread of the runs is shown, and so is what others used meanwhile.

mod ceiling;
mod contender;
mod cpu;
mod drains;
mod enqueues;
mod gates;
mod idle;
mod lanes;
mod link;
mod report;
mod server;

use std::path::PathBuf;

use clap::ValueEnum;

use crate::{CliError, Terminal};
use contender::{Answer, Call, Contender};
use report::{Cost, Report, Row};
use server::{Server, Spent};

/// The names of the loads that a gate or another load asks for.
mod loads {
    pub(super) const DRAIN: &str = "drain";
    pub(super) const ENQUEUE_8: &str = "enqueue singly, 8 at once";
    pub(super) const PICK_UP: &str = "pick-up, idle worker";
    pub(super) const PLAIN: &str = "drain, plain";
    pub(super) const PENDING: &str = "drain, with a backlog";
    pub(super) const HELD: &str = "drain, held snapshot after churn";
    pub(super) const BARE: &str = "bare statements, 1,000 each";
}

/// The names of the numbers beside the table.
mod facts {
    pub(super) const BUFFERS: &str = "buffers a claimed job";
    /// When a claim was looked at.
    pub(super) const BACKLOG: &str = "with the backlog";
    pub(super) const SNAPSHOT: &str = "under the held snapshot";
    pub(super) const IDLE_WORKER: &str = "idle worker, transactions a second";
    pub(super) const IDLE_LEADER: &str = "idle worker that sweeps, transactions a second";
    pub(super) const SHARE: &str = "drain, of the bare statements";
}

/// How much, and beside whom.
#[derive(Debug, clap::Args)]
pub(crate) struct QueueArgs {
    /// Jobs of a drain; the small drains have a fifth of them, the churn has four times as many.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    jobs: u64,
    /// Jobs of the backlog.
    #[arg(long, default_value_t = 1_000_000)]
    pending: u64,
    /// How often each drain is run; the median is shown.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=99))]
    runs: u16,
    /// The folder with the programs of the peers (`bench/target/release`); without it they are left out.
    #[arg(long, value_name = "DIR")]
    peers: Option<PathBuf>,
    /// Only these loads; may be given several times.
    #[arg(long, value_enum)]
    only: Vec<Load>,
    /// A look at everything in a minute or two: a tenth of the jobs, a twentieth of the backlog, each once.
    #[arg(long)]
    quick: bool,
}

/// A load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Load {
    /// Bulk enqueue, and a drain by one worker.
    Drain,
    /// The bare statements, by pgbench: the ceiling.
    Bare,
    /// Enqueue one at a time, by 1, 8 and 64 at once.
    Enqueue,
    /// How soon an idle worker begins a job.
    PickUp,
    /// A small drain with a backlog waiting, and what a claim costs then.
    Pending,
    /// A small drain under a held snapshot after churn.
    Held,
    /// One, two and four worker processes.
    Workers,
    /// A millisecond added each way.
    Link,
    /// Every queue with its default settings.
    Defaults,
    /// A lane that owns most of the backlog, among others.
    Fairness,
    /// What a worker asks when there is nothing to do.
    Idle,
}

/// One run of the benchmark.
struct Bench<'a> {
    server: Server,
    contenders: Vec<Contender>,
    jobs: u64,
    pending: u64,
    runs: usize,
    report: Report,
    terminal: &'a mut Terminal,
}

/// Measures, judges the gates, and tells the table.
pub(super) async fn run(args: &QueueArgs, terminal: &mut Terminal) -> Result<(), CliError> {
    let contenders = Contender::all(args.peers.as_deref())?;
    if contenders.len() == 1 {
        terminal.note("without --peers: Greenroom alone");
    }
    let mut server = Server::start().await?;
    let report = Report {
        processors: std::thread::available_parallelism()?.get(),
        postgres: server.version().await?,
        ..Report::default()
    };
    let (jobs, pending, runs) = if args.quick {
        (args.jobs.div_ceil(10), args.pending.div_ceil(20), 1)
    } else {
        (args.jobs, args.pending, args.runs.into())
    };
    let mut bench = Bench { server, contenders, jobs, pending, runs, report, terminal };
    for load in Load::value_variants() {
        if args.only.is_empty() || args.only.contains(load) {
            bench.run(*load).await?;
        }
    }
    let Bench { server, mut report, terminal, .. } = bench;
    server.leave().await?;
    report.gates = gates::judge(&report);
    terminal.answer(&report, || report::text(&report))
}

impl Bench<'_> {
    async fn run(&mut self, load: Load) -> Result<(), CliError> {
        if let Some(name) = load.to_possible_value() {
            self.terminal.note(&format!("{} …", name.get_name()));
        }
        match load {
            Load::Drain => drains::drain(self).await,
            Load::Bare => ceiling::run(self).await,
            Load::Enqueue => enqueues::singly(self).await,
            Load::PickUp => enqueues::pick_up(self).await,
            Load::Pending => drains::pending(self).await,
            Load::Held => drains::held(self).await,
            Load::Workers => drains::workers(self).await,
            Load::Link => drains::link(self).await,
            Load::Defaults => drains::defaults(self).await,
            Load::Fairness => lanes::fairness(self).await,
            Load::Idle => idle::run(self).await,
        }
    }

    /// Returns how many jobs a small drain has.
    fn small(&self) -> u64 {
        self.jobs / 5
    }

    /// Makes the database anew, with the tables of this queue.
    async fn fresh(&mut self, contender: &Contender) -> Result<Call, CliError> {
        self.server.fresh().await?;
        let call = Call::on(self.server.url());
        contender.call(&call, &["setup"]).await?;
        Ok(call)
    }

    /// Has a queue do one thing, and returns what it said and what it cost.
    async fn measure(
        &mut self,
        contender: &Contender,
        call: &Call,
        words: &[&str],
    ) -> Result<(Answer, Spent), CliError> {
        let (answer, spent) = self.server.measure(contender.call(call, words)).await?;
        self.report.note_others(&spent);
        Ok((answer, spent))
    }

    /// Shows a row as soon as it is known, and keeps it.
    fn keep(&mut self, row: Row) {
        self.terminal.note(&format!("  {}: {} {:.0}/s", row.load, row.queue, row.per_sec));
        self.report.rows.push(row);
    }
}

impl Row {
    /// Makes a row of the rates and costs of several runs.
    fn of_runs(load: &str, queue: &'static str, jobs: u64, rates: &[f64], costs: &[Cost]) -> Self {
        Self {
            load: load.to_owned(),
            queue,
            jobs,
            runs: rates.len(),
            per_sec: report::median(rates.to_vec()),
            slowest: rates.iter().copied().fold(f64::INFINITY, f64::min),
            fastest: rates.iter().copied().fold(0.0, f64::max),
            cost: Cost::median(costs),
            ..Self::default()
        }
    }
}
