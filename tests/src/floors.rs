//! Reads the manifests of all members and refuses an arrow of dependency that does not go down.
//!
//! The drawing is in `docs/architecture.md`; this is the same drawing as a table. A crate that is
//! not in it has to be drawn before it can be built.

use std::fs;
use std::path::Path;

use toml::{Table, Value};

/// Floors from the ground up; arrows go down only, never inside a floor.
const FLOORS: [&[&str]; 8] = [
    &["model"],
    &["boot", "vault", "http", "llm", "queue", "mail", "postgres", "language"],
    &["accounts", "connections", "credits", "sync"],
    &["comments", "content", "studio"],
    &["youtube", "instagram", "campaigns"],
    &["api", "console", "worker"],
    &["cli"],
    &["tests"],
];

/// The arrows inside a floor: who may use whom. A refresh of a token is a run that is logged (ADR 17), and
/// what an audit finds is an entry of the trail.
const CHAINS: [(&str, &str); 10] = [
    ("http", "vault"),
    ("llm", "http"),
    ("llm", "vault"),
    ("mail", "http"),
    ("mail", "queue"),
    ("mail", "vault"),
    ("credits", "accounts"),
    ("credits", "sync"),
    ("connections", "sync"),
    ("connections", "credits"),
];

/// Beside the floors: what each of them may use, and whose programs may carry it. Tests may always.
const BESIDE: [(&str, &[&str], &[&str]); 2] = [
    ("testkit", &["model", "postgres"], &[]),
    ("sandbox", &["model", "vault", "language"], &["cli", "tests"]),
];

const SECTIONS: [&str; 3] = ["dependencies", "build-dependencies", "dev-dependencies"];

fn floor(name: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&name))
}

fn beside(name: &str) -> Option<(&'static [&'static str], &'static [&'static str])> {
    BESIDE.iter().find(|(beside, ..)| *beside == name).map(|(_, uses, users)| (*uses, *users))
}

/// Returns why a crate may not depend on another, if so.
fn objection(from: &str, to: &str, section: &str) -> Option<String> {
    let arrow = format!("{from} -> {to} ({section})");
    if from == to {
        // Only tests can: cargo refuses any other circle. They switch on a feature of their own crate.
        return None;
    }
    if let Some((_, users)) = beside(to) {
        let welcome = section == "dev-dependencies" || users.contains(&from);
        return (!welcome).then(|| format!("{arrow}: {to} is for tests, and for {users:?}"));
    }
    if let Some((uses, _)) = beside(from) {
        return (!uses.contains(&to)).then(|| format!("{arrow}: {from} may use {uses:?} only"));
    }
    match (floor(from), floor(to)) {
        (Some(above), Some(below)) if above > below || CHAINS.contains(&(from, to)) => None,
        (Some(above), Some(below)) if above == below => Some(format!("{arrow}: both are on floor {above}")),
        (Some(_), Some(_)) => Some(format!("{arrow}: the arrow goes up")),
        _ => Some(format!("{arrow}: one of them is not drawn on any floor")),
    }
}

/// Returns everything that is wrong with the manifest of a member in this folder.
fn objections(folder: &str, manifest: &Table) -> Vec<String> {
    let mut found = Vec::new();
    let name = folder.strip_prefix("crates/").unwrap_or(folder);
    if floor(name).is_none() && beside(name).is_none() {
        found.push(format!("{folder}: not drawn on any floor"));
    }
    let package = manifest.get("package").and_then(|package| package.get("name")).and_then(Value::as_str);
    if package != Some(&format!("greenroom-{name}")) {
        found.push(format!("{folder}: the package is {package:?}, not greenroom-{name}"));
    }
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let tables = std::iter::once(manifest).chain(targets.filter_map(Value::as_table));
    for (table, section) in tables.flat_map(|table| SECTIONS.map(|section| (table, section))) {
        let Some(dependencies) = table.get(section).and_then(Value::as_table) else {
            continue;
        };
        for (dependency, says) in dependencies {
            let ours = dependency.strip_prefix("greenroom-");
            found.extend(ours.and_then(|to| objection(name, to, section)));
            if says.get("workspace") != Some(&Value::Boolean(true)) {
                found.push(format!("{folder}: {dependency} does not say `workspace = true`"));
            }
            // Our own crates have features that only some want (`testing`); those of others are set once, at the root.
            if ours.is_none() && says.get("features").is_some() {
                found.push(format!("{folder}: the features of {dependency} belong to the root manifest"));
            }
        }
    }
    found
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn read(folder: &str) -> Table {
    fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap().parse().unwrap()
}

fn members() -> Vec<String> {
    let crates = fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap());
    let crates = crates.filter(|entry| entry.path().join("Cargo.toml").exists());
    let crates = crates.map(|entry| format!("crates/{}", entry.file_name().into_string().unwrap()));
    crates.chain(["tests".into()]).collect()
}

#[test]
fn every_arrow_goes_down() {
    let members = members();
    assert!(members.len() > 10, "only {members:?} were found");
    let found: Vec<String> = members.iter().flat_map(|folder| objections(folder, &read(folder))).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_root_is_virtual_and_has_no_other_members() {
    let root = read(".");
    assert!(!root.contains_key("package"));
    let members: Vec<&str> =
        root["workspace"]["members"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(members, ["crates/*", "tests"]);
}

#[test]
fn a_wrong_arrow_is_refused() {
    let wrong = [
        ("queue", "accounts", "dependencies"),    // up
        ("accounts", "credits", "dependencies"),  // sideways
        ("sync", "credits", "dev-dependencies"),  // sideways, in tests
        ("vault", "http", "dependencies"),        // a chain, backwards
        ("youtube", "instagram", "dependencies"), // two outside worlds
        ("model", "postgres", "dependencies"),    // from the nouns
        ("api", "testkit", "dependencies"),       // a tool of tests in a program
        ("worker", "sandbox", "dependencies"),    // a stand-in in a real program
        ("testkit", "queue", "dependencies"),     // then queue's tests could not use it
        ("sandbox", "youtube", "dependencies"),   // a stand-in must not believe its client
        ("api", "nowhere", "dependencies"),       // not drawn
    ];
    for (from, to, section) in wrong {
        assert!(objection(from, to, section).is_some(), "{from} -> {to} was let through");
    }
    let right = [
        ("llm", "http", "dependencies"),
        ("mail", "queue", "dependencies"),
        ("cli", "sandbox", "dependencies"),
        ("cli", "model", "build-dependencies"),
        ("youtube", "sandbox", "dev-dependencies"),
        ("model", "testkit", "dev-dependencies"),
        ("testkit", "postgres", "dependencies"),
    ];
    for (from, to, section) in right {
        assert_eq!(objection(from, to, section), None);
    }
}

#[test]
fn a_wrong_manifest_is_refused() {
    let said = |folder, text: &str| objections(folder, &text.parse().unwrap()).join("\n");
    let queue = "[package]\nname = 'greenroom-queue'\n";
    assert_eq!(said("crates/queue", queue), "");
    assert!(said("crates/nowhere", "[package]\nname = 'greenroom-nowhere'").contains("not drawn"));
    assert!(said("crates/queue", "[package]\nname = 'queue'").contains("not greenroom-queue"));
    assert!(
        said("crates/queue", &format!("{queue}[dependencies]\nserde = '1'")).contains("workspace = true")
    );
    let features = "[dependencies]\nserde = { workspace = true, features = ['rc'] }";
    assert!(said("crates/queue", &format!("{queue}{features}")).contains("root manifest"));
    let unix = "[target.'cfg(unix)'.dependencies]\ngreenroom-api.workspace = true";
    assert!(said("crates/queue", &format!("{queue}{unix}")).contains("goes up"));
}
