//! A replay says the same on any number of threads, whatever the log holds.

// A test that cannot even start is a test that fails.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const RULES: [&str; 5] =
    ["--no-default-rules", "--rules", "tests/cli/rules", "--rules", "tests/cli/correlations"];

/// What a run left behind, without what differs from run to run.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    alerts: Vec<String>,
    summary: Vec<String>,
    code: Option<i32>,
}

#[track_caller]
fn replay(threads: &str, arguments: &[&str], input: Option<&Path>) -> Said {
    let stdin = input.map_or_else(Stdio::null, |path| File::open(path).unwrap().into());
    let output = Command::new(env!("CARGO_BIN_EXE_masthead"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["replay", "--threads", threads, "--format", "jsonl"])
        .args(RULES)
        .args(arguments)
        .stdin(stdin)
        .output()
        .unwrap();
    let alerts = String::from_utf8(output.stdout).unwrap();
    let summary = String::from_utf8(output.stderr).unwrap();
    Said {
        alerts: alerts.lines().map(without_clock).collect(),
        summary: summary.lines().map(without_speed).collect(),
        code: output.status.code(),
    }
}

fn without_clock(alert: &str) -> String {
    let (before, rest) = alert.split_once(r#""detected_at":""#).unwrap();
    let (_, after) = rest.split_once('"').unwrap();
    format!("{before}{after}")
}

/// The summary ends the lines that name a speed with it, in brackets.
fn without_speed(line: &str) -> String {
    match line.rsplit_once('(') {
        Some((before, speed)) if speed.ends_with("/s)") => {
            before.split_once(" in ").map_or(before, |(size, _)| size).to_owned()
        }
        _ => line.to_owned(),
    }
}

/// The lines of a recorded log, made `number` ones by their audit ids.
fn lines(log: &str, number: usize) -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(log)).unwrap();
    text.lines().map(|line| line.replace(r#""auditID":""#, &format!(r#""auditID":"{number}-"#))).collect()
}

/// A log of several chunks with all that keeps a chunk from being read on its own.
fn hostile_log() -> Vec<u8> {
    let mut log = Vec::new();
    let mut add = |text: &str| {
        log.extend_from_slice(text.as_bytes());
        log.push(b'\n');
    };
    let padding = "y".repeat(2000);
    let quiet = format!(r#"{{"kind":"Event","verb":"get","requestURI":"/{padding}","stage":"Panic"}}"#);
    for number in 0..270 {
        (0..10).for_each(|_| add(&quiet));
        let exec = lines("tests/cli/logs/exec_in_two_stages.jsonl", number);
        match number % 90 {
            7 => add(&exec[0][..exec[0].len() / 2]),
            17 => add(&"\0".repeat(3000)),
            27 => add(&format!("no event at all {padding}")),
            37 => add(&exec.join("\n").replace(',', ",\n  ")),
            47 => add(&format!("[\n{}\n,{}]", vec![&quiet[..]; 700].join(",\n"), exec.join(",\n"))),
            57 => add(&quiet.replace("yyyy", &"y".repeat(6000))),
            67 => add(&format!(r#"{{"kind":"EventList","items":[{}]}}"#, exec.join("\n,\n"))),
            77 => lines("tests/cli/logs/secrets.jsonl", number).iter().for_each(|line| add(line)),
            _ => exec.iter().for_each(|line| add(line)),
        }
    }
    // More than may wait for its turn.
    let exec = r#"{"kind":"Event","verb":"get","stage":"ResponseStarted","objectRef":{"subresource":"exec"}"#;
    (0..1500).for_each(|number| add(&format!(r#" {exec},"auditID":"{number}","user":{{"username":"m"}}}}"#)));
    add(&"{}\n".repeat(40_000));
    add(r#"{"kind":"EventList","items":["#);
    add(&quiet);
    log
}

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("threads");
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn the_number_of_threads_cannot_be_told_from_the_output() {
    let (plain, packed) = (folder().join("audit.log"), folder().join("other.log.zst"));
    let log = hostile_log();
    fs::write(&plain, &log).unwrap();
    fs::write(&packed, zstd::encode_all(&log[..log.len() / 2], 1).unwrap()).unwrap();
    let more = folder().join("more.log.zst");
    fs::write(&more, zstd::encode_all(&log[log.len() / 3..], 1).unwrap()).unwrap();
    let (plain_name, packed_name) = (plain.to_str().unwrap(), packed.to_str().unwrap());
    let more_name = more.to_str().unwrap();
    let several = [packed_name, "no-such-file.log", plain_name, more_name, "tests/cli/logs", "-"];
    for (arguments, input) in [
        (&[plain_name][..], None),
        (&["-", "--fail-on", "low"], Some(plain.as_path())),
        (&["--min-level", "critical", packed_name], None),
        (&[more_name, packed_name], None),
        (&several, Some(packed.as_path())),
    ] {
        let one = replay("1", arguments, input);
        assert!(one.summary.len() > 20, "{:?}", one.summary);
        for threads in ["2", "4"] {
            assert_eq!(replay(threads, arguments, input), one, "{threads} threads, {arguments:?}");
        }
    }
}

#[test]
fn what_comes_slowly_is_told_as_it_comes() {
    use std::io::{BufRead, BufReader, Write};
    for threads in ["1", "3"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_masthead"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["replay", "--threads", threads, "--format", "jsonl", "-"])
            .args(RULES)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut alerts = BufReader::new(child.stdout.take().unwrap()).lines();
        for (number, end) in ["\n", "", "\n{\"kind\""].into_iter().enumerate() {
            let exec = lines("tests/cli/logs/exec_in_two_stages.jsonl", number);
            stdin.write_all((exec[0].clone() + end).as_bytes()).unwrap();
            let alert = alerts.next().unwrap().unwrap();
            assert!(alert.contains(&format!(r#""audit_ids":["{number}-"#)), "{alert}");
        }
        drop(stdin);
        assert!(alerts.next().is_none());
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}
