//! Holds the code, the dashboard and the alerts to one list of metrics.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use greenroom_boot::metrics::{Kind, NAMES};

const MACROS: [(&str, Kind); 3] =
    [("counter!(", Kind::Counter), ("gauge!(", Kind::Gauge), ("histogram!(", Kind::Histogram)];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

/// Returns the metrics that a source counts, with the kind it counts them by.
fn counted(source: &str) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for (call, kind) in MACROS {
        for (_, after) in source.match_indices(call).map(|(at, _)| source.split_at(at + call.len())) {
            if let Some(name) = after.trim_start().strip_prefix('"').and_then(|text| text.split('"').next()) {
                found.insert((name.to_owned(), format!("{kind:?}")));
            }
        }
    }
    found
}

/// Returns every metric of ours that a text names.
fn named(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.match_indices("greenroom_")
        .filter(|(at, _)| !text[..*at].ends_with(is_part))
        .map(|(at, _)| text[at..].split(|c| !is_part(c)).next().unwrap_or_default().to_owned())
        .collect()
}

/// Returns what a text names that nobody exports. A histogram is read by its parts.
fn unknown(text: &str) -> Vec<String> {
    let exported: BTreeSet<String> = NAMES
        .iter()
        .flat_map(|name| match name.kind {
            Kind::Histogram => {
                ["_bucket", "_sum", "_count"].iter().map(|part| format!("{}{part}", name.name)).collect()
            }
            _ => vec![name.name.to_owned()],
        })
        .collect();
    named(text).difference(&exported).cloned().collect()
}

#[test]
fn the_list_has_what_the_code_counts_and_nothing_else() {
    let crates = sources(&root().join("crates"));
    let counted: BTreeSet<_> =
        crates.iter().flat_map(|path| counted(&fs::read_to_string(path).unwrap())).collect();
    let listed: BTreeSet<_> =
        NAMES.iter().map(|name| (name.name.to_owned(), format!("{:?}", name.kind))).collect();
    assert_eq!(counted, listed, "crates/boot/src/metrics/names.rs describes what is counted");
}

#[test]
fn the_dashboard_and_the_alerts_name_what_is_exported() {
    for file in ["ops/grafana/greenroom.json", "ops/prometheus/alerts.yml"] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        assert!(named(&text).len() > 5, "{file} names hardly any metric");
        assert_eq!(unknown(&text), [""; 0], "{file}");
    }
}

#[test]
fn the_manual_explains_every_metric() {
    let manual = fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let explained = named(&manual);
    let missing: Vec<_> =
        NAMES.iter().map(|name| name.name).filter(|name| !explained.contains(*name)).collect();
    assert_eq!(missing, [""; 0], "docs/operating.md");
}

#[test]
fn the_dashboard_can_be_read() {
    let text = fs::read_to_string(root().join("ops/grafana/greenroom.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 5);
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().unwrap();
        assert!(targets.iter().all(|target| target["expr"].is_string()), "{panel}");
    }
}

#[test]
fn what_nobody_exports_is_found() {
    assert_eq!(unknown("rate(greenroom_jobs_gone_total[5m]) > 0"), ["greenroom_jobs_gone_total"]);
    assert_eq!(
        unknown("greenroom_job_wait_seconds{}"),
        ["greenroom_job_wait_seconds"],
        "only its parts are there"
    );
    assert_eq!(unknown("greenroom_job_wait_seconds_bucket and greenroom_leader"), [""; 0]);
    let source = "metrics::counter!(\n    \"greenroom_a_total\", \"x\" => y); gauge!(\"greenroom_b\")";
    let found = [("greenroom_a_total", "Counter"), ("greenroom_b", "Gauge")];
    assert_eq!(counted(source), found.map(|(name, kind)| (name.to_owned(), kind.to_owned())).into());
}

#[test]
#[ignore = "needs promtool"]
fn needs_promtool_the_alerts_are_read_by_prometheus() {
    for part in [&["check", "rules"][..], &["test", "rules"]] {
        let file = if part[0] == "check" { "alerts.yml" } else { "alerts_test.yml" };
        let done = std::process::Command::new("promtool")
            .args(part)
            .arg(file)
            .current_dir(root().join("ops/prometheus"))
            .output()
            .unwrap_or_else(|error| panic!("promtool does not start ({error}): is it on the path?"));
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "promtool {part:?} {file}:\n{out}{err}");
    }
}
