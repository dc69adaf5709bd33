//! Every way of writing rules that public collections use loads without a complaint and
//! means what its examples say.

// The functions around the tests are tests as well.
#![allow(clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const FOLDER: &str = "tests/sample_rules";
/// Samples that relate matches: their examples are several events.
const CORRELATIONS: &str = "tests/sample_rules/correlations";
const LISTS: &str = "tests/sample_rules/lists";
const RULES_MIN: usize = 60;

#[test]
fn no_way_of_writing_is_refused_or_doubted() {
    let output = masthead(&["check", FOLDER], "");
    let text = both(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains(" 0 errors, 0 warnings"), "{text}");
    let count = rule_files(FOLDER).len() + rule_files(CORRELATIONS).len();
    assert!(count >= RULES_MIN, "{count} of at least {RULES_MIN} sample rules are left");
}

#[test]
fn every_sample_means_what_its_examples_say() {
    let files = rule_files(FOLDER).into_iter().chain(rule_files(CORRELATIONS));
    let files: Vec<String> = files.map(|path| path.display().to_string()).collect();
    let mut arguments = vec!["test", "--lists", LISTS];
    arguments.extend(files.iter().map(String::as_str));
    let output = masthead(&arguments, "");
    let text = both(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains(" 0 failed") && !text.contains("without examples"), "{text}");
}

#[test]
fn every_sample_alerts_on_an_event_of_its_own() {
    for path in rule_files(FOLDER) {
        let name = path.to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("a rule");
        let examples = fs::read_to_string(path.with_extension("events.jsonl")).expect("its events");
        let arguments = [
            "replay",
            "--format",
            "jsonl",
            "--quiet",
            "--no-default-rules",
            "--lists",
            LISTS,
            "--rules",
            &name,
            "-",
        ];
        let output = masthead(&arguments, &matching(&examples));
        let alerted: BTreeSet<String> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("an alert"))
            .map(|alert| alert["rule"]["id"].as_str().expect("a rule id").to_owned())
            .collect();
        assert_eq!(alerted, ids(&text), "{name}\n{}", both(&output));
    }
}

/// The events that the rule is to match, one a line.
fn matching(examples: &str) -> String {
    let examples = examples.lines().map(|line| serde_json::from_str::<Value>(line).expect("an example"));
    let events =
        examples.filter(|example| example["match"] == true).map(|example| example["event"].to_string());
    events.collect::<Vec<_>>().join("\n")
}

/// The ids of the rules of a file, those of filters left out.
fn ids(text: &str) -> BTreeSet<String> {
    let has_key = |document: &&str, key: &str| document.lines().any(|line| line.starts_with(key));
    let rules = text.split("\n---\n").filter(|document| !has_key(document, "filter:"));
    let lines = rules.flat_map(str::lines).map(|line| line.replace(['"', '\''], ""));
    lines.filter_map(|line| Some(line.strip_prefix("id:")?.trim().to_lowercase())).collect()
}

fn rule_files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "yml")).collect()
}

fn masthead(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_masthead"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).env("NO_COLOR", "1");
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().expect("the binary runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    // A command that does not read its input closes it early, which is fine.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("the binary ends")
}

fn both(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
