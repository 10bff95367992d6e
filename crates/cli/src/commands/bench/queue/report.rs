//! What was measured, and how it is shown.

use std::fmt::Write as _;

use serde::Serialize;

use super::gates::Gate;
use super::server::Spent;
use crate::commands::bench::adapter::Percentiles;

/// Everything that one run saw.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub processors: usize,
    pub postgres: String,
    pub rows: Vec<Row>,
    pub facts: Vec<Fact>,
    pub gates: Vec<Gate>,
    /// Share of the machine's processors that others used while we measured, in percent.
    pub others_percent: f64,
    #[serde(skip)]
    pub others: Others,
}

/// What others used, over the measurements so far.
#[derive(Debug, Default)]
pub(super) struct Others {
    cpu: f64,
    available: f64,
}

/// One line of the table: a queue under one load.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Row {
    pub load: String,
    pub queue: &'static str,
    pub jobs: u64,
    pub runs: usize,
    /// Jobs a second: the median of the runs, and the slowest and the fastest.
    pub per_sec: f64,
    pub slowest: f64,
    pub fastest: f64,
    /// What a job costs: the median of the runs, or nothing where others share the time.
    pub cost: Option<Cost>,
    /// From the end of the enqueue to the start of the handler, in milliseconds.
    pub pick_ms: Option<Percentiles>,
    pub note: Option<String>,
}

/// What one job costs.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Cost {
    pub postgres_cpu_us: f64,
    /// Of the queue's own process.
    pub process_cpu_us: f64,
    pub wal_bytes: f64,
    pub full_pages: f64,
    pub transactions: f64,
    pub dead_rows: f64,
}

/// A number that stands for itself.
#[derive(Debug, Serialize)]
pub(super) struct Fact {
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
}

impl Report {
    pub(super) fn fact(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.facts.push(Fact { name: name.into(), value, unit });
    }

    /// Finds the row of a queue under a load.
    pub(super) fn row(&self, load: &str, queue: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.load == load && row.queue == queue)
    }

    pub(super) fn value(&self, name: &str) -> Option<f64> {
        self.facts.iter().find(|fact| fact.name == name).map(|fact| fact.value)
    }

    #[expect(clippy::cast_precision_loss, reason = "a machine has few processors")]
    pub(super) fn note_others(&mut self, spent: &Spent) {
        self.others.cpu += spent.others_cpu;
        self.others.available += spent.secs * self.processors as f64;
        self.others_percent = 100.0 * self.others.cpu / self.others.available.max(f64::EPSILON);
    }
}

impl Cost {
    #[expect(clippy::cast_precision_loss, reason = "averages for people")]
    pub(super) fn of(spent: &Spent, process_cpu: f64, jobs: u64) -> Self {
        let each = |total: f64| total / jobs.max(1) as f64;
        Self {
            postgres_cpu_us: each(spent.server_cpu * 1e6),
            process_cpu_us: each(process_cpu * 1e6),
            wal_bytes: each(spent.wal_bytes as f64),
            full_pages: each(spent.full_pages as f64),
            transactions: each(spent.transactions as f64),
            dead_rows: each(spent.dead_rows as f64),
        }
    }

    /// Returns the median of each.
    pub(super) fn median(costs: &[Self]) -> Option<Self> {
        let middle = |of: fn(&Self) -> f64| median(costs.iter().map(of).collect());
        (!costs.is_empty()).then(|| Self {
            postgres_cpu_us: middle(|cost| cost.postgres_cpu_us),
            process_cpu_us: middle(|cost| cost.process_cpu_us),
            wal_bytes: middle(|cost| cost.wal_bytes),
            full_pages: middle(|cost| cost.full_pages),
            transactions: middle(|cost| cost.transactions),
            dead_rows: middle(|cost| cost.dead_rows),
        })
    }
}

/// Returns the middle one, or the mean of the two in the middle.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (Some(upper), 0) => f64::midpoint(values.get(middle - 1).copied().unwrap_or(*upper), *upper),
        (Some(value), _) => *value,
        (None, _) => 0.0,
    }
}

/// Writes everything for a person.
pub(super) fn text(report: &Report) -> String {
    let mut text = format!(
        "{} processors, PostgreSQL {}; others used {:.0} % of the processors meanwhile\n\n",
        report.processors, report.postgres, report.others_percent
    );
    let _ = writeln!(
        text,
        "{:<37}{:<17}{:>8}{:>9}{:>17}{:>8}{:>9}{:>7}{:>8}{:>7}  pick-up p50/p95/p99 ms",
        "load", "queue", "jobs", "jobs/s", "slowest–fastest", "PG µs", "proc µs", "WAL B", "tx/job", "dead",
    );
    for row in &report.rows {
        line(&mut text, row);
    }
    text.push('\n');
    for fact in &report.facts {
        let _ = writeln!(text, "{:<60}{:>10.1} {}", fact.name, fact.value, fact.unit);
    }
    text.push('\n');
    for gate in &report.gates {
        let measured = gate.measured.map_or_else(|| "not measured".to_owned(), |value| format!("{value:.2}"));
        let said = match (gate.met, gate.aim) {
            (None, _) => "-",
            (Some(true), _) => "met",
            (Some(false), false) => "NOT MET",
            (Some(false), true) => "not reached (an aim)",
        };
        let _ =
            writeln!(text, "{:<66}{:>13} {} {:<8} {said}", gate.name, measured, gate.rule.sign(), gate.limit);
    }
    text
}

fn line(text: &mut String, row: &Row) {
    let spread = format!("{:.0}–{:.0}", row.slowest, row.fastest);
    let _ = write!(text, "{:<37}{:<17}{:>8}{:>9.0}{spread:>17}", row.load, row.queue, row.jobs, row.per_sec);
    match &row.cost {
        Some(cost) => {
            let _ = write!(
                text,
                "{:>8.1}{:>9.1}{:>7.0}{:>8.3}{:>7.2}",
                cost.postgres_cpu_us, cost.process_cpu_us, cost.wal_bytes, cost.transactions, cost.dead_rows
            );
        }
        None => {
            let _ = write!(text, "{:>39}", "");
        }
    }
    if let Some(pick) = &row.pick_ms {
        let _ = write!(text, "  {:.2} / {:.2} / {:.2}", pick.p50, pick.p95, pick.p99);
    }
    if let Some(note) = &row.note {
        let _ = write!(text, "  {note}");
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert!((median(vec![9.0, 1.0, 5.0]) - 5.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0, 2.0, 8.0]) - 3.0).abs() < f64::EPSILON);
        assert!(median(Vec::new()).abs() < f64::EPSILON);
    }

    #[test]
    fn a_cost_is_a_job_s_and_a_median_is_of_each_column() {
        let spent = |server_cpu, wal_bytes| Spent { server_cpu, wal_bytes, ..Spent::default() };
        let costs = [
            Cost::of(&spent(0.2, 12_000_000), 0.1, 10_000),
            Cost::of(&spent(0.4, 10_000_000), 0.1, 10_000),
            Cost::of(&spent(0.3, 11_000_000), 0.1, 10_000),
        ];
        let cost = Cost::median(&costs).unwrap();
        assert!((cost.postgres_cpu_us - 30.0).abs() < 1e-6, "{cost:?}");
        assert!((cost.wal_bytes - 1_100.0).abs() < 1e-6, "{cost:?}");
        assert!(Cost::median(&[]).is_none());
    }
}
