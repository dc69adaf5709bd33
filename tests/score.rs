//! How well the built-in rules do on the recorded logs: every labelled attack is found at the
//! level that it deserves, and what else raises a ticket is little, and listed with a verdict in
//! bench/RESULTS.md.
//!
//! `WRITE_RESULTS=1 cargo test --test score noise` writes that list anew, and keeps the verdicts.
//! Skipped where the recordings are not there.

// The functions around the tests are tests as well.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::print_stderr)]

mod recorded;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use recorded::{alerts, audit_id, events, labels, logs, text};
use serde_json::Value;

/// Attacks of many requests: one alert for all of them is enough, and better than many.
const BURSTS: [&str; 4] = [
    "discovery/access-review-burst",
    "discovery/forbidden-burst",
    "discovery/resource-sweep",
    "impact/mass-delete",
];

/// From this level on somebody is asked to do something.
const TICKET: &str = "medium";
/// How many of a thousand unlabelled requests may raise a ticket.
const NOISE_PER_1000_MAX: usize = 1;

const BEGIN: &str = "<!-- noise:begin -->\n";
const END: &str = "<!-- noise:end -->";
const HEAD: &str = "| log | rule | level | actor | verb | resource | requests | verdict |\n\
                    | --- | --- | --- | --- | --- | --- | --- | --- |\n";
/// What stands where nobody has judged yet.
const UNJUDGED: &str = "?";

#[test]
fn every_labelled_attack_is_found_at_its_level() {
    for log in logs() {
        let present: HashSet<String> = events(&log).iter().map(audit_id).collect();
        let found = ranks(&alerts(&log, &[]));
        let mut techniques: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
        for label in labels(&log).into_iter().filter(|label| present.contains(&label.audit_id)) {
            let rank = found.get(&label.audit_id).copied().unwrap_or(0);
            techniques.entry((label.technique, label.expect)).or_default().push(rank);
        }
        let missed: Vec<String> = techniques
            .iter()
            .filter_map(|((technique, expect), ranks)| shortfall(technique, expect, ranks))
            .collect();
        assert!(missed.is_empty(), "{}: {} missed:\n{}", log.display(), missed.len(), missed.join("\n"));
    }
}

/// What is missing of a technique, if something is.
fn shortfall(technique: &str, expect: &str, ranks: &[usize]) -> Option<String> {
    let needed = match expect {
        "alert" => rank(TICKET),
        "context" => rank("low"),
        _ => return None,
    };
    let enough = ranks.iter().filter(|rank| **rank >= needed).count();
    let is_found = if BURSTS.contains(&technique) { enough > 0 } else { enough == ranks.len() };
    (!is_found).then(|| format!("{technique} ({expect}): {enough} of {} requests", ranks.len()))
}

#[test]
fn the_noise_is_little() {
    let mut problems = Vec::new();
    for log in logs() {
        let labelled: HashSet<String> = labels(&log).into_iter().map(|label| label.audit_id).collect();
        let quiet: BTreeSet<String> =
            events(&log).iter().map(audit_id).filter(|id| !labelled.contains(id)).collect();
        let found = ranks(&alerts(&log, &[]));
        let loud = quiet.iter().filter(|id| found.get(*id).is_some_and(|found| *found >= rank(TICKET)));
        let (loud, all) = (loud.count(), quiet.len());
        if loud * 1000 > all * NOISE_PER_1000_MAX {
            problems.push(format!("{}: {loud} of {all} unlabelled requests raise a ticket", log.display()));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_noise_is_listed_with_a_verdict() {
    let logs = logs();
    if logs.len() < 2 {
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/RESULTS.md");
    let document = fs::read_to_string(&path).expect("bench/RESULTS.md");
    let (before, rest) = document.split_once(BEGIN).expect("a place for the list");
    let (written, after) = rest.split_once(END).expect("an end of the list");
    let verdicts: HashMap<&str, &str> = written.lines().filter_map(judged).collect();
    let mut rows = String::new();
    for log in &logs {
        for (kind, count) in noise(log) {
            let row = format!("{kind} | {count} |");
            let verdict = verdicts.get(kind.as_str()).copied().unwrap_or(UNJUDGED);
            let _ = writeln!(rows, "{row} {verdict} |");
        }
    }
    let expected = format!("{HEAD}{rows}");
    if std::env::var_os("WRITE_RESULTS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}")).expect("bench/RESULTS.md");
        return;
    }
    assert_eq!(written, expected, "`WRITE_RESULTS=1 cargo test --test score noise` writes the list anew");
    let unjudged = rows.lines().filter(|row| row.ends_with(&format!("| {UNJUDGED} |"))).count();
    assert_eq!(unjudged, 0, "say in bench/RESULTS.md of each kind whether it deserves a look");
}

/// The kind and the verdict of a row: what stands before the count and after it.
fn judged(row: &str) -> Option<(&str, &str)> {
    let (rest, verdict) = row.strip_suffix(" |")?.rsplit_once(" | ")?;
    let (kind, count) = rest.rsplit_once(" | ")?;
    count.parse::<usize>().ok().map(|_| (kind, verdict))
}

/// How many unlabelled requests of each kind raise a ticket, in the form of a row.
fn noise(log: &Path) -> BTreeMap<String, usize> {
    let labelled: HashSet<String> = labels(log).into_iter().map(|label| label.audit_id).collect();
    let requests: HashMap<String, Value> =
        events(log).into_iter().map(|event| (audit_id(&event), event)).collect();
    let mut kinds: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for alert in alerts(log, &[]).iter().filter(|alert| level_of(alert) >= rank(TICKET)) {
        for id in audit_ids(alert).filter(|id| !labelled.contains(id)) {
            let Some(request) = requests.get(&id) else { continue };
            kinds.entry(kind(log, alert, request)).or_default().insert(id);
        }
    }
    kinds.into_iter().map(|(kind, ids)| (kind, ids.len())).collect()
}

fn kind(log: &Path, alert: &Value, request: &Value) -> String {
    let resource = text(request, "/objectRef/resource");
    let resource = match text(request, "/objectRef/subresource") {
        subresource if subresource.is_empty() => resource,
        subresource => format!("{resource}/{subresource}"),
    };
    let cells = [
        version(log),
        text(alert, "/rule/title"),
        text(alert, "/rule/level"),
        format!("`{}`", text(request, "/user/username")),
        text(request, "/verb"),
        if resource.is_empty() { text(request, "/requestURI") } else { resource },
    ];
    format!("| {}", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}

/// The version of the API server, after which the folder of its log is called.
fn version(log: &Path) -> String {
    let folder = log.parent().and_then(Path::file_name).map(PathBuf::from).unwrap_or_default();
    folder.display().to_string().replace("k8s-", "")
}

/// The highest rank of an alert about each request.
fn ranks(alerts: &[Value]) -> HashMap<String, usize> {
    let mut ranks: HashMap<String, usize> = HashMap::new();
    for alert in alerts {
        for id in audit_ids(alert) {
            let best = ranks.entry(id).or_default();
            *best = (*best).max(level_of(alert));
        }
    }
    ranks
}

fn audit_ids(alert: &Value) -> impl Iterator<Item = String> + '_ {
    let ids = alert["audit_ids"].as_array().into_iter().flatten();
    ids.map(|id| id.as_str().expect("an id").to_owned())
}

fn level_of(alert: &Value) -> usize {
    rank(&text(alert, "/rule/level"))
}

/// From 1; 0 is for no alert.
fn rank(level: &str) -> usize {
    let levels = ["informational", "low", "medium", "high", "critical"];
    1 + levels.iter().position(|name| *name == level).expect("a level")
}
