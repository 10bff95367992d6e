//! Holds what is ignored to a naming rule, so that `.ci/run` can find it and nothing is skipped silently.
//!
//! A test that needs a foreign tool is `needs_…` and is run by `.ci/run`, which brings the tools; one
//! that takes long is `long_…` and is run by hand. A part of another test is run by that test.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns what is wrong with the ignored tests of a source file.
fn objections(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with("#[ignore")) {
        let name = lines[at..].iter().find_map(|line| line.split("fn ").nth(1)?.split('(').next());
        let name = name.unwrap_or_default();
        let reason = line.split('"').nth(1).unwrap_or_default();
        let fits = match reason.split([' ', ',']).next() {
            Some("needs") => name.starts_with("needs_"),
            Some("long") => name.starts_with("long_"),
            _ => reason.starts_with("a part of ") && !name.contains("needs_"),
        };
        if !fits {
            found.push(format!("line {}: `{name}` is ignored for {reason:?}", at + 1));
        }
    }
    found
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

#[test]
fn what_is_ignored_says_why_by_reason_and_name() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let sources = [sources(&root.join("crates")), sources(&root.join("tests"))].concat();
    assert!(sources.len() > 50, "only {} sources were found", sources.len());
    let found: Vec<String> = sources
        .iter()
        .flat_map(|path| {
            let found = objections(&fs::read_to_string(path).unwrap());
            found.into_iter().map(move |what| format!("{}, {what}", path.display()))
        })
        .collect();
    assert!(
        found.is_empty(),
        "name it needs_…, long_…, or give \"a part of …\" as reason:\n{}",
        found.join("\n")
    );
}

#[test]
fn a_silent_skip_is_refused() {
    let ignored = |reason: &str, name: &str| {
        objections(&format!("    #[test]\n    #[ignore{reason}]\n    fn {name}() {{}}"))
    };
    for (reason, name) in [
        ("", "needs_honcho"),
        (" = \"needs honcho\"", "starts_all"),
        (" = \"flaky\"", "starts_all"),
        (" = \"long, 3 minutes\"", "crunches"),
    ] {
        assert_eq!(ignored(reason, name).len(), 1, "{name} passed with {reason:?}");
    }
    assert!(ignored(" = \"needs honcho\"", "needs_honcho_all_start").is_empty());
    assert!(ignored(" = \"long, 3 minutes\"", "long_crunch").is_empty());
    assert!(ignored(" = \"a part of the test below\"", "other_process").is_empty());
}
