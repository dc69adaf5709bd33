//! Events in wrappers give the alerts that they give bare.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

const LOG: &str = include_str!("cli/logs/secrets.jsonl");

/// Alerts by id, without when they were found, and what is said about the replay.
fn replay(log: &str) -> (BTreeMap<String, Value>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_masthead"))
        .args(["replay", "--format", "jsonl", "--color", "never", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let log = log.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(log.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let alerts = lines.map(|line| {
        let mut alert: Value = serde_json::from_slice(line).unwrap();
        alert["detected_at"] = Value::Null;
        (alert["id"].as_str().unwrap().to_owned(), alert)
    });
    (alerts.collect(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn wrapped_logs_give_the_same_alerts() {
    let (bare, summary) = replay(LOG);
    assert!(!bare.is_empty() && !summary.contains("unwrapped"), "{summary}");
    let count = LOG.lines().count();
    let each = |wrap: &dyn Fn(&str) -> String| LOG.lines().map(wrap).collect::<Vec<_>>();
    let records = each(&|event| {
        json!({ "category": "kube-audit", "properties": { "log": event }, "resourceId": "/A/B" }).to_string()
    });
    for wrapped in [
        each(&|event| json!({ "date": 1.5, "log": format!("{event}\n") }).to_string()).join("\n"),
        each(&|event| format!(r#"{{"message":{event},"source_type":"file"}}"#)).join("\n"),
        // Fields of its own make it no event.
        each(&|event| json!({ "verb": "get", "requestURI": "/", "level": "info", "log": event }).to_string())
            .join("\n"),
        each(&|event| format!("2026-01-31T10:00:00.1Z stdout F {event}")).join("\n"),
        format!(r#"{{"records":[{}]}}"#, records.join(",")),
    ] {
        let (alerts, summary) = replay(&wrapped);
        assert_eq!(alerts, bare);
        assert!(
            summary.contains(&format!("unwrapped  {count} of them, from shippers or a cloud")),
            "{summary}"
        );
    }
}

#[test]
fn other_logs_of_a_cloud_are_counted_and_no_complaint() {
    let other = json!({ "category": "guard", "properties": { "log": "I0131" }, "resourceId": "/A/B" });
    let (_, summary) = replay(&format!("{other}\n{other}\n{LOG}"));
    assert!(summary.contains("skipped  2 records of other logs, as a cloud says"), "{summary}");
    assert!(!summary.contains("malformed") && !summary.contains("warning"), "{summary}");
}
