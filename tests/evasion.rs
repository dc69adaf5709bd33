//! Tricks to get past rules: each beside the plain act that it stands for, which must be found as
//! well, and an everyday request that looks alike, which must not.
//!
//! The tricks are in `tests/evasion/*.json`. An event says only what is special about it:
//! `plain` stands on the common parts below, `evasive` and `everyday` stand on `plain`; each key
//! replaces what was there, `null` takes it away.

// The functions around the tests are tests as well.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// How many tricks there are at least, lest a file is not read.
const TRICKS_MIN: usize = 40;
const LEVELS: [&str; 5] = ["informational", "low", "medium", "high", "critical"];

type Event = Map<String, Value>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Trick {
    /// What the evasive event does to stay unseen.
    name: String,
    /// The rule that finds the plain act and is not to be evaded: tactic and file name.
    rule: String,
    /// The rule that finds the evasive act, where that is another act with the same effect; it
    /// may be one level lower.
    found_by: Option<String>,
    plain: Event,
    evasive: Event,
    /// The body of the evasive request as text, where its spelling is the trick.
    evasive_body: Option<String>,
    everyday: Event,
    /// Below which level the everyday event must stay: `medium`, unless every request of its
    /// sort is told about.
    #[serde(default = "ticket")]
    quiet_below: String,
}

fn ticket() -> String {
    "medium".to_owned()
}

/// An alert about one request: the rule's path and its level.
type Found = BTreeSet<(String, usize)>;

#[test]
fn no_trick_gets_past_the_rules() {
    let tricks = tricks();
    let found = found(&tricks);
    let mut problems = Vec::new();
    for (number, trick) in tricks.iter().enumerate() {
        let by = trick.found_by.as_ref().unwrap_or(&trick.rule);
        let mut levels = Vec::new();
        for (what, rule) in [("plain", &trick.rule), ("evasive", by)] {
            let found = &found[&id_of(number, what)];
            let level = found.iter().find(|(path, _)| path == rule).map(|(_, level)| *level);
            if level.is_none() {
                problems.push(format!("{}: `{rule}` misses the {what} act; {found:?}", trick.name));
            }
            levels.push(level.unwrap_or(0));
        }
        if levels[1] + 1 < levels[0] {
            problems.push(format!("{}: `{by}` is much lower than `{}`", trick.name, trick.rule));
        }
        let limit = rank(&trick.quiet_below);
        let loud = found[&id_of(number, "everyday")].iter().filter(|(_, level)| *level >= limit);
        let loud = loud.map(|(path, _)| format!("{}: everyday work alerts by `{path}`", trick.name));
        problems.extend(loud);
    }
    assert!(problems.is_empty(), "{} of {} tricks:\n{}", problems.len(), tricks.len(), problems.join("\n"));
}

/// The alerts about single requests, episodes of one request among them, by audit id.
fn found(tricks: &[Trick]) -> BTreeMap<String, Found> {
    let paths = paths_by_id();
    let mut found = BTreeMap::new();
    let mut log = String::new();
    for (number, trick) in tricks.iter().enumerate() {
        let plain = over(&common(), &trick.plain);
        let evasive = over(&plain, &trick.evasive);
        let everyday = over(&plain, &trick.everyday);
        for (what, event) in [("plain", &plain), ("evasive", &evasive), ("everyday", &everyday)] {
            let body = trick.evasive_body.as_deref().filter(|_| what == "evasive");
            let id = id_of(number, what);
            log.push_str(&line(event, &id, found.len(), body));
            log.push('\n');
            found.insert(id, Found::new());
        }
    }
    for alert in alerts(&log) {
        let ids = alert["audit_ids"].as_array().expect("ids");
        // What is told about several requests is no answer to one, and the log is nobody's history.
        if ids.len() != 1 || alert["correlation"]["type"] == "first_seen" {
            continue;
        }
        let path = paths[alert["rule"]["id"].as_str().expect("an id")].clone();
        let of_request = found.get_mut(ids[0].as_str().expect("an id")).expect("a request of the log");
        of_request.insert((path, rank(alert["rule"]["level"].as_str().expect("a level"))));
    }
    found
}

fn id_of(number: usize, what: &str) -> String {
    format!("{what}-{number}")
}

/// An event as a line of the log, more than a day after the one before: nothing of one trick is
/// to count for another.
fn line(event: &Event, id: &str, position: usize, body: Option<&str>) -> String {
    let start = chrono::DateTime::from_timestamp(1_767_225_600, 0).expect("a time");
    let time = start + chrono::TimeDelta::hours(25 * i64::try_from(position).expect("few tricks"));
    let time = time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    let mut event = event.clone();
    event.insert("auditID".to_owned(), id.into());
    event.insert("requestReceivedTimestamp".to_owned(), time.clone().into());
    event.insert("stageTimestamp".to_owned(), time.into());
    if body.is_some() {
        event.remove("requestObject");
    }
    let text = Value::Object(event).to_string();
    match body {
        None => text,
        Some(body) => format!("{},\"requestObject\":{body}}}", text.strip_suffix('}').expect("an object")),
    }
}

/// What is the same in most events: a person with `kubectl` whose request succeeds.
fn common() -> Event {
    let common = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse", "stage": "ResponseComplete",
        "user": {"username": "dana@example.com", "groups": ["developers", "system:authenticated"]},
        "sourceIPs": ["10.20.0.7"],
        "userAgent": "kubectl/v1.33.1 (linux/amd64) kubernetes/8adc0f0",
        "responseStatus": {"metadata": {}, "code": 200},
        "annotations": {"authorization.k8s.io/decision": "allow"},
    });
    common.as_object().expect("an object").clone()
}

fn over(below: &Event, above: &Event) -> Event {
    let mut event = below.clone();
    for (key, value) in above {
        match value {
            Value::Null => drop(event.remove(key)),
            value => drop(event.insert(key.clone(), value.clone())),
        }
    }
    event
}

fn alerts(log: &str) -> Vec<Value> {
    let path = std::env::temp_dir().join(format!("masthead-evasion-{}.jsonl", std::process::id()));
    fs::write(&path, log).expect("a log");
    let output =
        masthead(&["replay", "--format", "jsonl", "--quiet", "--no-event", path.to_str().expect("UTF-8")]);
    fs::remove_file(&path).expect("the log");
    output.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The path of each built-in rule: tactic and file name.
fn paths_by_id() -> BTreeMap<String, String> {
    let rules = masthead(&["rules", "--format", "jsonl"]);
    let rules = rules.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let text = |rule: &Value, key: &str| rule[key].as_str().expect("a text").to_owned();
    let path = |path: String| path.trim_start_matches("rules/").trim_end_matches(".yml").to_owned();
    rules.map(|rule| (text(&rule, "id"), path(text(&rule, "path")))).collect()
}

fn masthead(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_masthead")).args(arguments).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn tricks() -> Vec<Trick> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/evasion");
    let entries = fs::read_dir(folder).expect("the tricks").flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect();
    paths.sort();
    let read = |path: &PathBuf| -> Vec<Trick> {
        let text = fs::read_to_string(path).expect("readable");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let tricks: Vec<Trick> = paths.iter().flat_map(read).collect();
    assert!(tricks.len() >= TRICKS_MIN, "{} tricks", tricks.len());
    tricks
}

fn rank(level: &str) -> usize {
    LEVELS.iter().position(|known| *known == level).expect("a level")
}
