//! House rules that a compiler does not know: they run as tests and say what to do.

// The functions around the tests are tests as well.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// No production file may be longer. Lower it when the longest shrinks.
const FILE_LINES_MAX: usize = 620;
/// No function may be longer: a screen.
const FUNCTION_LINES_MAX: usize = 70;

/// Everything that `detect` may depend on, directly or not: it does no I/O, starts no
/// threads and reads no clock, so neither may what it stands on for its own purposes.
const DETECT_DEPENDENCIES: &str = include_str!("detect_dependencies.txt");

#[test]
fn every_module_says_what_it_is() {
    for (path, text) in sources() {
        assert!(text.starts_with("//!"), "{}: begin the file with `//!` and one promise", path.display());
    }
}

#[test]
fn files_and_functions_fit_their_limits() {
    for (path, text) in sources() {
        let production = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines: Vec<&str> = production.lines().collect();
        assert!(
            lines.len() <= FILE_LINES_MAX,
            "{}: {} lines; split it by subject (at most {FILE_LINES_MAX})",
            path.display(),
            lines.len()
        );
        for (start, line) in lines.iter().enumerate().filter(|(_, line)| is_function(line)) {
            let indent = line.len() - line.trim_start().len();
            let close = format!("{}}}", " ".repeat(indent));
            let length = lines[start..].iter().position(|line| *line == close).unwrap_or(0) + 1;
            assert!(
                length <= FUNCTION_LINES_MAX,
                "{}:{}: {length} lines; name its steps as functions (at most {FUNCTION_LINES_MAX})",
                path.display(),
                start + 1
            );
        }
    }
}

fn is_function(line: &str) -> bool {
    let line = line.trim_start();
    let line = line.strip_prefix("pub(crate) ").or(line.strip_prefix("pub ")).unwrap_or(line);
    line.starts_with("fn ") && line.ends_with('{')
}

#[test]
fn nothing_is_left_to_do_in_silence() {
    for (path, text) in sources() {
        for word in ["TO", "FIX"].map(|half| format!("{half}{}", if half == "TO" { "DO" } else { "ME" })) {
            assert!(
                !text.contains(&word),
                "{}: finish it or open an issue instead of `{word}`",
                path.display()
            );
        }
    }
}

#[test]
fn detect_stays_pure() {
    let banned = [
        "std::fs",
        "std::net",
        "std::thread",
        "std::process",
        "std::io",
        "SystemTime",
        "Instant::now",
        "unsafe ",
    ];
    for (path, text) in sources().into_iter().filter(|(path, _)| path.starts_with("detect/src")) {
        let is_excused = |word| word == "unsafe " && path == Path::new("detect/src/scan/x86.rs");
        for word in banned.into_iter().filter(|word| !is_excused(*word)) {
            assert!(!text.contains(word), "{}: `{word}` does not belong into `detect`", path.display());
        }
    }
}

#[test]
fn detect_depends_on_nothing_new() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "-p",
            "masthead-detect",
            "-e",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8_lossy(&output.stdout);
    let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    let allowed: BTreeSet<&str> = DETECT_DEPENDENCIES.lines().collect();
    assert_eq!(names, allowed, "think twice, then change tests/detect_dependencies.txt");
}

#[test]
fn the_table_of_fields_is_the_codes_own() {
    let readme = fs::read_to_string(root().join("rules/README.md")).expect("rules/README.md");
    let (_, rest) = readme.split_once("<!-- fields:begin -->\n").expect("a place for the table");
    let (table, _) = rest.split_once("<!-- fields:end -->").expect("an end of the table");
    let expected = detect::derived::markdown_table();
    assert_eq!(
        table.trim(),
        expected.trim(),
        "put the output of `masthead rules --fields --format markdown` there"
    );
}

#[test]
fn the_comparison_counts_the_published_vectors() {
    let document = fs::read_to_string(root().join("docs/CONFORMANCE.md")).expect("docs/CONFORMANCE.md");
    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    for row in document.lines().filter_map(|line| line.strip_prefix("| `")) {
        let (group, rest) = row.split_once("` | ").expect("a group");
        let count: usize = rest.split(' ').next().and_then(|count| count.parse().ok()).expect("a count");
        *counted.entry(group.to_owned()).or_default() += count;
    }
    let published = files(&root().join("tests/conformance"), "yml").into_iter().map(|path| {
        let text = fs::read_to_string(&path).expect("readable");
        let count = text.lines().filter(|line| line.starts_with("- name:")).count();
        (path.file_stem().expect("a name").to_string_lossy().into_owned(), count)
    });
    assert_eq!(counted, published.collect(), "run the command of docs/CONFORMANCE.md");
}

#[test]
fn the_readme_shows_the_speed_that_was_measured() {
    let section = |path: &str| {
        let text = fs::read_to_string(root().join(path)).expect("a document");
        let (_, rest) = text.split_once("<!-- speed:begin -->\n").expect("a place for the speed");
        rest.split_once("<!-- speed:end -->").expect("an end of the speed").0.to_owned()
    };
    let without_seconds = |row: &str| {
        let cells: Vec<&str> = row.split(" | ").collect();
        [&cells[..2], &cells[4..]].concat().join(" | ")
    };
    let results = section("bench/RESULTS.md");
    let expected = results
        .lines()
        .map(|line| if line.starts_with('|') { without_seconds(line) } else { line.to_owned() });
    let shown = section("README.md");
    assert!(shown.lines().eq(expected), "`bench/compare --write` writes both; README.md has:\n{shown}");
}

#[test]
fn links_in_the_documents_lead_somewhere() {
    for path in files(&root(), "md") {
        let text = fs::read_to_string(&path).expect("readable");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let full = path.parent().expect("a folder").join(target);
            assert!(full.exists(), "{}: `{link}` does not exist", path.display());
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Production sources of all packages, with their paths from the root.
fn sources() -> Vec<(PathBuf, String)> {
    let folders = ["src", "detect/src", "ingest/src", "sinks/src", "bench/src", "bench/conformance/src"];
    let found: Vec<_> = folders
        .iter()
        .flat_map(|folder| files(&root().join(folder), "rs"))
        .filter(|path| !path.ends_with("tests.rs"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("readable");
            (path.strip_prefix(root()).expect("below the root").to_owned(), text)
        })
        .collect();
    assert!(found.len() > 10, "the sources are elsewhere now: change `sources`");
    found
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let is_hidden = name.to_string_lossy().starts_with('.') || name == "target";
        if path.is_dir() && !is_hidden {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}
