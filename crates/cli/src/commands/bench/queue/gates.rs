//! What the queue must reach, judged by what was measured.

use serde::Serialize;

use super::contender::{APALIS, GRAPHILE, GREENROOM};
use super::report::{Report, Row};
use super::{facts, loads};

/// Which side of its limit a value must be on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Rule {
    AtLeast,
    AtMost,
}

impl Rule {
    pub(super) fn sign(self) -> char {
        match self {
            Self::AtLeast => '≥',
            Self::AtMost => '≤',
        }
    }

    fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::AtLeast => value >= limit,
            Self::AtMost => value <= limit,
        }
    }
}

/// One promise.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Gate {
    pub name: &'static str,
    pub rule: Rule,
    pub limit: f64,
    pub measured: Option<f64>,
    pub met: Option<bool>,
    /// Whether it is what we aim for rather than what must be.
    pub aim: bool,
}

/// Judges a report.
pub(super) fn judge(report: &Report) -> Vec<Gate> {
    let ours = |load: &str| report.row(load, GREENROOM);
    let per_sec = |row: Option<&Row>| row.map(|row| row.per_sec);
    let ratio = |a: Option<f64>, b: Option<f64>| Some(a? / b.filter(|b| *b > 0.0)?);
    let drain = ours(loads::DRAIN);
    let cost = drain.and_then(|row| row.cost);
    let enqueue = ours(loads::ENQUEUE_8).and_then(|row| row.cost);
    let pick = ours(loads::PICK_UP).and_then(|row| row.pick_ms);
    let against = |peer: &str| ratio(per_sec(drain), per_sec(report.row(loads::DRAIN, peer)));
    let flat = |load: &str| ratio(per_sec(ours(load)), per_sec(ours(loads::PLAIN)));
    let whole_wal = cost.and_then(|drain| Some(drain.wal_bytes + enqueue?.wal_bytes));
    let buffers = report.value(&format!("{}, {}", facts::BUFFERS, facts::BACKLOG));
    let at_least = |name, limit, measured| gate(name, Rule::AtLeast, limit, measured, false);
    let at_most = |name, limit, measured| gate(name, Rule::AtMost, limit, measured, false);
    vec![
        at_least("drain, times apalis-postgres in the same run", 2.5, against(APALIS)),
        at_most("PostgreSQL CPU a drained job, µs", 30.0, cost.map(|cost| cost.postgres_cpu_us)),
        gate(
            "drain, times graphile_worker, which keeps nothing",
            Rule::AtLeast,
            1.0,
            against(GRAPHILE),
            true,
        ),
        gate(
            "PostgreSQL CPU a drained job, µs (graphile_worker's class)",
            Rule::AtMost,
            20.0,
            cost.map(|cost| cost.postgres_cpu_us),
            true,
        ),
        at_least("flat: with a backlog, of the same drain without it", 0.8, flat(loads::PENDING)),
        at_least("flat: under a held snapshot after churn, of the same drain", 0.9, flat(loads::HELD)),
        at_most("WAL a drained job, bytes", 1_200.0, cost.map(|cost| cost.wal_bytes)),
        at_most("WAL from enqueue (singly) to the end, bytes", 1_900.0, whole_wal),
        at_most("buffers a claimed job with the backlog", 60.0, buffers),
        at_most("enqueue to handler, idle worker, p50, ms", 2.0, pick.map(|pick| pick.p50)),
        at_most("enqueue to handler, idle worker, p99, ms", 10.0, pick.map(|pick| pick.p99)),
        at_most("idle worker, transactions a second", 5.0, report.value(facts::IDLE_WORKER)),
        at_most("idle leader, transactions a second", 12.0, report.value(facts::IDLE_LEADER)),
    ]
}

fn gate(name: &'static str, rule: Rule, limit: f64, measured: Option<f64>, aim: bool) -> Gate {
    Gate { name, rule, limit, measured, met: measured.map(|value| rule.holds(value, limit)), aim }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::bench::queue::report::Cost;

    fn row(load: &str, queue: &'static str, per_sec: f64) -> Row {
        let cost = Cost { postgres_cpu_us: 25.0, wal_bytes: 1_100.0, ..Cost::default() };
        Row { load: load.to_owned(), queue, per_sec, cost: Some(cost), ..Row::default() }
    }

    fn met(gates: &[Gate], name: &str) -> Option<bool> {
        gates.iter().find(|gate| gate.name.starts_with(name)).unwrap().met
    }

    #[test]
    fn a_gate_is_met_missed_or_not_measured() {
        let mut report = Report::default();
        report.rows.push(row(loads::DRAIN, GREENROOM, 30_000.0));
        report.rows.push(row(loads::DRAIN, APALIS, 11_000.0));
        report.rows.push(row(loads::ENQUEUE_8, GREENROOM, 8_000.0));
        report.rows.push(row(loads::PLAIN, GREENROOM, 20_000.0));
        report.rows.push(row(loads::HELD, GREENROOM, 17_000.0));
        report.fact(facts::IDLE_WORKER, 5.1, "");
        let gates = judge(&report);
        assert_eq!(met(&gates, "drain, times apalis"), Some(true));
        assert_eq!(met(&gates, "drain, times graphile"), None);
        assert_eq!(met(&gates, "PostgreSQL CPU a drained job, µs ("), Some(false));
        assert_eq!(met(&gates, "flat: under a held"), Some(false));
        assert_eq!(met(&gates, "flat: with a backlog"), None);
        assert_eq!(met(&gates, "WAL a drained"), Some(true));
        assert_eq!(met(&gates, "WAL from enqueue"), Some(false));
        assert_eq!(met(&gates, "idle worker"), Some(false));
    }
}
