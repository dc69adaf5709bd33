//! Finds the recorded corpus and runs the binary over it.

// Each test uses a part of it.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What a person said about one recorded request.
pub(crate) struct Label {
    pub(crate) audit_id: String,
    pub(crate) technique: String,
    pub(crate) expect: String,
}

/// A path of the recorded corpus beside the checkout. Where it is not there the test has
/// nothing to do, unless `MASTHEAD_REQUIRE_CORPUS` is set.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let full = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(path);
    if full.exists() {
        return Some(full);
    }
    assert!(std::env::var_os("MASTHEAD_REQUIRE_CORPUS").is_none(), "{} is missing", full.display());
    eprintln!("skipped: no recorded corpus at {}", full.display());
    None
}

/// The recorded logs.
pub(crate) fn logs() -> Vec<PathBuf> {
    let versions = ["1.20", "1.36"].iter();
    versions.filter_map(|version| shared(&format!("corpus/k8s-{version}/audit.jsonl.zst"))).collect()
}

/// The id of a request.
pub(crate) fn audit_id(event: &Value) -> String {
    text(event, "/auditID")
}

/// A text in an object; empty if it is not there.
pub(crate) fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The alerts of a replay.
pub(crate) fn alerts(log: &Path, arguments: &[&str]) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_masthead"))
        .args(["replay", "--format", "jsonl", "--quiet"])
        .args(arguments)
        .arg(log)
        .output()
        .expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    lines(&output.stdout)
}

/// The events of a log.
pub(crate) fn events(log: &Path) -> Vec<Value> {
    let file = std::fs::File::open(log).expect("a log");
    lines(&zstd::decode_all(file).expect("zstd"))
}

/// The labels beside a log.
pub(crate) fn labels(log: &Path) -> Vec<Label> {
    let text = std::fs::read_to_string(log.with_file_name("labels.tsv")).expect("labels");
    let label = |line: &str| {
        let columns: Vec<&str> = line.split('\t').collect();
        Label { audit_id: columns[0].into(), technique: columns[2].into(), expect: columns[3].into() }
    };
    text.lines().skip(1).map(label).collect()
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).expect("JSON")).collect()
}
