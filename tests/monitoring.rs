//! What tells people how Masthead is: metrics, alert rules, the dashboard, and the commands that they name.

// Helpers of tests may fail.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::Command;

const ALERT_RULES: &str = "deploy/prometheus/masthead.rules.yml";
const DASHBOARD: &str = "deploy/grafana/masthead.json";

/// Texts that tell people what to type.
const TEXTS: [&str; 9] = [
    ALERT_RULES,
    DASHBOARD,
    "README.md",
    "deploy/README.md",
    "deploy/helm/masthead/templates/NOTES.txt",
    "deploy/kafka/README.md",
    "deploy/masthead.yml",
    "deploy/systemd/masthead.service",
    "docs/run.md",
];

/// Whoever is woken by an alert types what it says.
#[test]
fn commands_that_people_are_told_to_use_exist() {
    for path in TEXTS {
        for command in commands(&text(path)) {
            // Help is given once everything before it has been understood.
            let words = command.split_whitespace().skip(1).chain(["--help"]);
            let output = Command::new(env!("CARGO_BIN_EXE_masthead")).args(words).output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{path}: `{command}`: {told}");
        }
    }
}

#[test]
fn commands_are_found_wherever_they_stand() {
    let found = |text| commands(text).into_iter().collect::<Vec<_>>();
    assert_eq!(
        found("see `masthead alerts dead\n  --sink {{ $labels.sink }}`, `masthead`"),
        ["masthead alerts dead --sink VALUE"]
    );
    assert_eq!(
        found("#   masthead check a.yml   # all of it\n```\nmasthead run | jq\n```\n"),
        ["masthead check a.yml", "masthead run"]
    );
    assert_eq!(found("exec m-0 -- /usr/local/bin/masthead alerts list\n"), ["masthead alerts list"]);
}

/// The commands of Masthead in a text: between backticks, or on a line of their own.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (index, part) in text.split("```").enumerate() {
        let spans = if index % 2 == 0 { part.split('`').skip(1).step_by(2).collect() } else { Vec::new() };
        found.extend(spans.into_iter().filter(|span| span.starts_with("masthead ")).map(str::to_owned));
        for line in part.lines().map(|line| line.trim_start_matches(['#', ' '])) {
            let line = line.split_once("/usr/local/bin/").map_or(line, |(_, command)| command);
            found.extend(line.starts_with("masthead ").then(|| line.to_owned()));
        }
    }
    found.iter().map(|command| plain(command)).collect()
}

/// A command without what a shell or a template makes of it.
fn plain(command: &str) -> String {
    let command = command.split(['#', '|', '>', '&']).next().unwrap_or_default();
    let parts = command.split("{{").enumerate().map(|(index, part)| match index {
        0 => part.to_owned(),
        _ => format!("VALUE{}", part.split_once("}}").unwrap().1),
    });
    parts.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn text(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}
