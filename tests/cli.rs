//! What people and scripts see of the real binary.

// A test that cannot even start is a test that fails.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

const SECRETS_LOG: &str = "tests/cli/logs/secrets.jsonl";
const EXEC_LOG: &str = "tests/cli/logs/exec_in_two_stages.jsonl";
const MALFORMED_LOG: &str = "tests/cli/logs/malformed.jsonl";
const HOSTILE_LOG: &str = "tests/cli/logs/hostile.jsonl";
const BLIND_LOG: &str = "tests/cli/logs/metadata_only.jsonl";
/// The rules of these tests alone, so that they do not change with the built-in ones.
const OWN_RULES: [&str; 3] = ["--rules", "tests/cli/rules", "--no-default-rules"];

/// What a run of the binary left behind.
struct Run {
    stdout: String,
    stderr: String,
    code: Option<i32>,
}

fn masthead() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_masthead"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("NO_COLOR").env("TERM", "xterm-256color");
    command
}

fn run(arguments: &[&str]) -> Run {
    run_with_input(arguments, b"")
}

fn run_with_input(arguments: &[&str], input: &[u8]) -> Run {
    let mut command = masthead();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A command that does not read its input closes it early, which is fine.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Run {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code(),
    }
}

fn replay(arguments: &[&str]) -> Run {
    run(&[&["replay"], &OWN_RULES[..], arguments].concat())
}

/// Everything a run left behind as one text, without what differs from run to run.
fn transcript(run: &Run) -> String {
    format!("exit code: {:?}\n── stdout\n{}── stderr\n{}", run.code, run.stdout, run.stderr)
}

fn assert_snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.add_filter(r#""detected_at":"[^"]+""#, r#""detected_at":"[now]""#);
    settings.add_filter(r"in \d+\.\d\d s \([^)]+\)", "in [time] ([speed])");
    settings.add_filter(r"\([\d,]+/s\)", "([speed])");
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn the_first_command_of_the_readme_prints_what_the_readme_shows() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let command = readme.lines().find_map(|line| line.strip_prefix("cargo run -- ")).unwrap();
    let mut arguments: Vec<&str> = command.split_whitespace().collect();
    arguments.extend(["--format", "text"]);
    let printed = run(&arguments).stdout;
    let (_, shown) = readme.split_once("The first one prints, among others:\n\n```\n").unwrap();
    let blocks: Vec<&str> = shown.split_once("\n```").unwrap().0.split("\n\n").collect();
    assert!(blocks.len() >= 3, "{shown}");
    for block in blocks {
        assert!(printed.contains(block), "not printed:\n{block}\nbut:\n{printed}");
    }
}

#[test]
fn a_folder_without_rules_is_an_error_and_named_once() {
    let folder = std::env::temp_dir().join(format!("masthead-no-rules-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.to_str().unwrap();
    let runs = [run(&["check", path]), run(&["test", path]), run(&["replay", "--rules", path, EXEC_LOG])];
    std::fs::remove_dir(&folder).unwrap();
    for run in runs {
        assert_eq!(run.stderr, format!("error: cannot read `{path}`: no `.yml` or `.yaml` file in it\n"));
        assert_eq!(run.code, Some(2));
    }
    let missing = run(&["check", path]);
    let reason = "no such file or folder";
    assert_eq!(missing.stderr, format!("error: cannot read `{path}`: {reason}\n"));
}

#[test]
#[cfg(target_os = "linux")]
fn a_report_that_cannot_be_written_is_not_a_rule_error() {
    let full = run(&["test", "--junit", "/dev/full"]);
    assert_eq!(full.code, Some(3), "{}", full.stderr);
    let reason = "No space left on device (os error 28)";
    assert_eq!(full.stderr, format!("error: cannot write `/dev/full`: {reason}\n"));
}

#[test]
fn every_command_has_help_with_an_example() {
    for command in ["run", "alerts", "replay", "check", "test", "rules", "explain", "completions", "man"] {
        let help = run(&[command, "--help"]);
        assert_eq!(help.code, Some(0), "{command}");
        assert!(help.stdout.contains("Examples:\n  masthead"), "{command}");
        assert_snapshot(&format!("help_{command}"), &help.stdout);
    }
    assert_snapshot("help", &run(&["--help"]).stdout);
}

#[test]
fn a_pipe_gets_json_lines_and_the_summary_goes_to_standard_error() {
    assert_snapshot("replay_jsonl", &transcript(&replay(&[EXEC_LOG, "--no-event"])));
}

#[test]
fn people_get_a_block_for_each_alert() {
    assert_snapshot(
        "replay_text",
        &transcript(&replay(&[EXEC_LOG, "--format", "text", "--cluster", "prod"])),
    );
}

#[test]
fn the_event_comes_with_the_alert_unless_it_is_left_out() {
    let logged = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(EXEC_LOG)).unwrap();
    let first: serde_json::Value = serde_json::from_str(logged.lines().next().unwrap()).unwrap();
    let alerts = replay(&[EXEC_LOG]);
    let alert: serde_json::Value = serde_json::from_str(alerts.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(alert["event"], first);
    assert_eq!(alert["schema"], "masthead.alert/v1");
    assert!(!replay(&[EXEC_LOG, "--no-event"]).stdout.contains("\"event\""));
}

#[test]
fn an_exec_that_is_logged_at_two_stages_alerts_once() {
    let alerts = replay(&[EXEC_LOG, "--no-event", "--quiet"]).stdout;
    assert_eq!(alerts.lines().filter(|line| line.contains("\"a1\"")).count(), 1, "{alerts}");
}

#[test]
fn a_forged_audit_id_on_different_requests_hides_none_of_them() {
    let event = |number: usize| {
        format!(
            r#"{{"kind":"Event","auditID":"forged","stage":"ResponseComplete","verb":"get","requestURI":"/api/v1/namespaces/dev/pods/web-{number}/exec?command=id","user":{{"username":"mallory"}},"objectRef":{{"resource":"pods","subresource":"exec"}}}}"#
        )
    };
    let log: Vec<String> = (0..1000).map(event).collect();
    let arguments = [&["replay", "-", "--quiet"], &OWN_RULES[..]].concat();
    let alerts = run_with_input(&arguments, log.join("\n").as_bytes()).stdout;
    let ids: std::collections::HashSet<String> = alerts
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 1000);
    assert_eq!(alerts.lines().count(), 1000);
}

#[test]
fn malformed_items_are_shown_with_their_place_and_cost_only_themselves() {
    assert_snapshot("replay_malformed", &transcript(&replay(&[MALFORMED_LOG, "--no-event"])));
}

#[test]
fn only_the_first_malformed_items_are_shown() {
    let arguments = [&["replay"], &OWN_RULES[..]].concat();
    let run = run_with_input(&arguments, "{\"kind\":\"Pod\"}\n".repeat(500).as_bytes());
    assert_eq!(run.stderr.lines().filter(|line| line.starts_with("warning: ")).count(), 21);
    assert!(run.stderr.contains("500  not an event"), "{}", run.stderr);
}

#[test]
fn a_terminal_is_safe_from_what_events_say() {
    for format in ["text", "jsonl"] {
        let run = replay(&[HOSTILE_LOG, "--format", format, "--color", "never"]);
        let said = format!("{}{}", run.stdout, run.stderr);
        let is_bad =
            |character: &char| character.is_control() && *character != '\n' || *character == '\u{202e}';
        let bad: Vec<char> = said.chars().filter(is_bad).collect();
        assert!(bad.is_empty(), "{bad:?} in {said:?}");
        assert_snapshot(&format!("replay_hostile_{format}"), &transcript(&run));
    }
}

#[test]
fn rules_that_could_not_see_what_they_read_are_named() {
    let run = replay(&[BLIND_LOG]);
    assert!(run.stderr.contains("blind rules  1 event  Pod in the network of its node"), "{}", run.stderr);
}

#[test]
fn levels_choose_what_is_shown_and_what_fails() {
    let shown = |level| replay(&[EXEC_LOG, "--min-level", level]).stdout.lines().count();
    assert_eq!((shown("high"), shown("critical")), (2, 0));
    let code = |level| replay(&[EXEC_LOG, "--fail-on", level]).code;
    assert_eq!((code("medium"), code("high"), code("critical")), (Some(1), Some(1), Some(0)));
}

#[test]
fn the_address_is_the_last_that_no_proxy_added() {
    let log = r#"{"verb":"get","sourceIPs":["203.0.113.9","10.0.0.5"],"objectRef":{"subresource":"exec"}}"#;
    for (proxies, address) in [(&[][..], "10.0.0.5"), (&["--proxy", "192.0.2.1,10.0.0.0/8"], "203.0.113.9")] {
        let arguments = [&["replay", "-"], &OWN_RULES[..], proxies].concat();
        let alerts = run_with_input(&arguments, log.as_bytes()).stdout;
        let alert: serde_json::Value = serde_json::from_str(&alerts).unwrap();
        assert_eq!(alert["source"]["ip"], address);
    }
    let replayed = |list: &str| {
        run_with_input(&[&["replay", "-"], &OWN_RULES[..], &["--lists", list]].concat(), log.as_bytes())
    };
    assert!(replayed("tests/cli/proxies/listed").stdout.contains(r#""ip":"203.0.113.9""#));
    let refused = replayed("tests/cli/proxies/misspelt");
    assert!(refused.stderr.contains("`lb.example.com` is not a network"), "{}", refused.stderr);
    assert_eq!(refused.code, Some(2));
}

#[test]
fn standard_input_is_read_with_a_dash_and_without_any_path() {
    let log = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(EXEC_LOG)).unwrap();
    for path in [&["-"][..], &[]] {
        let arguments = [&["replay"], &OWN_RULES[..], path].concat();
        assert_eq!(run_with_input(&arguments, &log).stdout.lines().count(), 2);
    }
}

#[test]
fn a_log_that_cannot_be_read_is_said_and_the_others_are_read() {
    let run = replay(&["no-such-file.log", EXEC_LOG]);
    assert_eq!((run.code, run.stdout.lines().count()), (Some(3), 2));
    assert!(run.stderr.contains("error: no-such-file.log: no such file"), "{}", run.stderr);
    let alone = replay(&["no-such-file.log"]);
    assert_eq!((alone.code, &*alone.stderr), (Some(3), "error: no-such-file.log: no such file or folder\n"));
}

#[test]
fn what_is_no_audit_log_at_all_is_an_error_and_what_is_empty_is_not() {
    let arguments = [&["replay"], &OWN_RULES[..]].concat();
    for input in [&b"\x7fELF\x02\x01\x01\0\0\xff\xfe"[..], b"time,user\n1,mallory\n", b"{\"kind\":\"Pod\"}"] {
        let run = run_with_input(&arguments, input);
        assert_eq!(run.code, Some(3), "{}", run.stderr);
        assert!(run.stderr.contains("error: <stdin>: not one audit event in it, only "), "{}", run.stderr);
    }
    for input in [&b""[..], b" \r\n\t\n", br#"{"kind":"EventList","items":[]}"#] {
        let run = run_with_input(&arguments, input);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert!(!run.stderr.contains("warning") && run.stderr.contains("events  none\n"), "{}", run.stderr);
    }
    let packed = run_with_input(&arguments, b"\xfd7zXZ\0\0\x04");
    let expected =
        "error: -: compressed by xz; only gzip and zstd are unpacked: `xz -dc FILE | masthead replay -`\n";
    assert_eq!((packed.code, &*packed.stderr), (Some(3), expected));
    // One event is enough for a log, and one log that is none for an error; on any number of threads.
    let folder = tempfile::tempdir().unwrap();
    let foreign = folder.path().join("foreign.log.gz");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(b"not an event\n").unwrap();
    std::fs::write(&foreign, encoder.finish().unwrap()).unwrap();
    let foreign = foreign.to_str().unwrap();
    for threads in ["1", "4"] {
        assert_eq!(replay(&[MALFORMED_LOG, "--threads", threads]).code, Some(0));
        let run = replay(&[MALFORMED_LOG, EXEC_LOG, foreign, "--threads", threads]);
        assert_eq!(run.code, Some(3), "{}", run.stderr);
        let errors: Vec<&str> = run.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors, [format!("error: {foreign}: not one audit event in it, only 1 malformed item")]);
    }
}

#[test]
fn wrong_usage_and_missing_rules_end_with_two() {
    assert_eq!(run(&["replay", "--frobnicate"]).code, Some(2));
    assert_eq!(run(&["replay", EXEC_LOG, "--rules", "no-such-folder"]).code, Some(2));
    let none = run(&["replay", EXEC_LOG, "--no-default-rules"]);
    assert_eq!(none.code, Some(2));
    assert!(none.stderr.starts_with("error: no rules"), "{}", none.stderr);
    assert_eq!(run(&["replay", EXEC_LOG, "--proxy", "10.0.0.0/33"]).code, Some(2));
}

#[test]
fn a_reader_that_has_enough_ends_the_replay_quietly() {
    let event = r#"{"kind":"Event","auditID":"@","verb":"get","requestURI":"/x","user":{"username":"m"},"objectRef":{"resource":"pods","subresource":"exec"}}"#;
    let log: String = (0..20_000).map(|number| event.replace('@', &number.to_string()) + "\n").collect();
    let mut child = masthead()
        .args(["replay", "-"])
        .args(OWN_RULES)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || drop(stdin.write_all(log.as_bytes())));
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[cfg(unix)]
#[test]
fn an_interrupted_replay_says_what_it_did() {
    let mut child = masthead()
        .args(["replay", "-", "--no-event"])
        .args(OWN_RULES)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let log = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(EXEC_LOG)).unwrap();
    stdin.write_all(&log).unwrap();
    let mut stdout = child.stdout.take().unwrap();
    // The first alert says that the replay has begun and listens for the signal.
    stdout.read_exact(&mut [0; 10]).unwrap();
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    // If it has ended by now, there is nobody to read this.
    let _ = stdin.write_all(&log);
    drop(stdin);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("interrupted"), "{stderr}");
}

#[test]
fn colours_are_for_terminals_unless_asked_for() {
    let text = |color: &[&str]| replay(&[&[EXEC_LOG, "--format", "text"], color].concat()).stdout;
    assert!(!text(&[]).contains('\u{1b}'));
    assert!(text(&["--color", "always"]).contains("\u{1b}["));
}

#[test]
fn mistakes_in_rules_are_pointed_at() {
    let run = run(&["check", "tests/broken_rules"]);
    assert_eq!(run.code, Some(2));
    assert_snapshot("check_broken_rules", &transcript(&run));
}

#[test]
fn rules_without_mistakes_pass_the_check() {
    assert_snapshot("check_good_rules", &transcript(&run(&["check", "tests/cli/rules"])));
    assert_eq!(run(&["check"]).code, Some(0), "the built-in rules");
}

#[test]
fn filters_are_checked_with_the_rules_that_they_name() {
    let check = |paths: &[&str]| transcript(&run(&[&["check"], paths].concat()));
    assert_snapshot("check_filters", &check(&["tests/cli/rules", "tests/cli/filters"]));
    assert_snapshot("check_filter_without_its_rule", &check(&["tests/cli/filters"]));
}

#[test]
fn a_filter_may_name_a_built_in_rule() {
    let filter = "title: f\nlogsource: {product: kubernetes}\nfilter:\n  rules: f486081f-5d24-4d64-abe9-b1e2f3924800\n  \
        ours: {actor.name: ours}\n  condition: not ours\n";
    let path = std::env::temp_dir().join(format!("masthead-filter-{}.yml", std::process::id()));
    std::fs::write(&path, filter).unwrap();
    let run = run(&["check", path.to_str().unwrap()]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (Some(0), "0 rules, 1 filter in 1 file, 0 errors, 0 warnings\n")
    );
}

#[test]
fn filters_keep_alerts_away() {
    let alerts_about_mallory = |rules: &[&str]| {
        let replay = ["replay", "--quiet", "--format", "jsonl", "--no-default-rules", EXEC_LOG];
        let run = run(&[&replay[..], rules].concat());
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        run.stdout.lines().filter(|line| line.contains("mallory")).count()
    };
    assert_eq!(alerts_about_mallory(&["--rules", "tests/cli/rules"]), 1);
    assert_eq!(alerts_about_mallory(&["--rules", "tests/cli/rules", "--rules", "tests/cli/filters"]), 0);
    let filtered = ["--rules", "tests/cli/rules", "--rules", "tests/cli/filters", "--no-default-rules"];
    let listed = run(&[&["rules", "--format", "text"], &filtered[..]].concat()).stdout;
    let (without_lists, _) = listed.rsplit_once(", ").unwrap(); // of which more and more are built in
    assert_snapshot("rules_with_filters", without_lists);
    assert_snapshot(
        "explain_filtered_rule",
        &run(&[&["explain", "pod_exec"], &filtered[..]].concat()).stdout,
    );
}

#[test]
fn an_episode_is_told_once_with_what_made_it() {
    let replay = ["replay", "--no-default-rules", "--rules", "tests/cli/correlations", SECRETS_LOG];
    assert_snapshot("replay_correlations", &transcript(&run(&[&replay[..], &["--format", "text"]].concat())));
    assert_snapshot(
        "replay_correlations_jsonl",
        &run(&[&replay[..], &["--format", "jsonl"]].concat()).stdout,
    );
}

#[test]
fn matches_in_several_logs_are_put_in_order() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(SECRETS_LOG)).unwrap();
    let folder = std::env::temp_dir().join(format!("masthead-servers-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    // As two API servers would have logged them, the one whose name comes first an hour later.
    let (early, late): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.contains("T12:0"));
    std::fs::write(folder.join("b.jsonl"), early.join("\n")).unwrap();
    std::fs::write(folder.join("a.jsonl"), late.join("\n")).unwrap();
    let rules = ["--no-default-rules", "--rules", "tests/cli/correlations"];
    let run = run(&[&["replay", folder.to_str().unwrap(), "--format", "text"], &rules[..]].concat());
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(run.stdout.contains("4 different object.name in 4 requests"), "{}", run.stdout);
    assert!(!run.stderr.contains("uncorrelated"), "{}", run.stderr);
}

#[test]
fn a_correlation_is_tested_with_events_that_have_times() {
    let own = run(&["test", "tests/cli/correlations"]);
    assert_eq!(
        (own.code, own.stdout.as_str()),
        (Some(0), "1 rule file, 5 examples, 0 failed\n"),
        "{}",
        own.stderr
    );
    assert_snapshot("test_correlations", &transcript(&run(&["test", "tests/cli/correlations_failing"])));
}

#[test]
fn a_correlation_that_only_serves_another_gives_no_alerts() {
    let rules = ["--no-default-rules", "--rules", "tests/cli/chain.yml"];
    let log = ["replay", "tests/cli/chain.jsonl", "--format", "jsonl", "--quiet"];
    let run = run(&[&log[..], &rules[..]].concat());
    assert_eq!(run.stdout.lines().count(), 1, "{}", run.stdout);
    assert!(run.stdout.contains(r#""title":"Outer""#), "{}", run.stdout);
}

#[test]
fn a_correlation_is_explained_by_its_windows() {
    let rules = ["--no-default-rules", "--rules", "tests/cli/correlations"];
    let explain =
        |rule: &str, more: &[&str]| transcript(&run(&[&["explain", rule], &rules[..], more].concat()));
    let listed = run(&[&["rules", "--format", "text"], &rules[..]].concat()).stdout;
    assert_snapshot("rules_with_correlations", &listed);
    assert_snapshot("explain_correlation", &explain("Many secrets read", &[]));
    assert_snapshot("explain_windows", &explain("Many secrets read", &["--event", SECRETS_LOG]));
    assert_snapshot("explain_first_seen", &explain("A new client reads secrets", &["--event", SECRETS_LOG]));
}

#[test]
fn rules_about_other_logs_are_skipped_and_counted() {
    assert_snapshot("check_other_logs", &transcript(&run(&["check", "tests/cli/other_logs.yml"])));
    let replayed = run(&["replay", "--rules", "tests/cli/other_logs.yml", "--no-default-rules", EXEC_LOG]);
    let expected = "skipped 2 rules about windows/process_creation, 1 filter about windows\n";
    assert!(replayed.stderr.starts_with(expected), "{}", replayed.stderr);
}

#[test]
fn lists_come_from_folders_of_rules_and_as_named() {
    let named = ["--lists", "tests/cli/office_networks.txt"];
    let rules = ["--no-default-rules", "--rules", "tests/cli/listed"];
    assert_snapshot("check_list_missing", &transcript(&run(&["check", "tests/cli/listed"])));
    let broken = ["check", "tests/cli/rules", "--lists", "tests/cli/broken_lists"];
    assert_snapshot("check_list_broken", &transcript(&run(&broken)));
    assert_eq!(run(&[&["check", "tests/cli/listed"], &named[..]].concat()).code, Some(0));
    assert_eq!(run(&[&["test", "tests/cli/listed"], &named[..]].concat()).code, Some(0));
    assert!(
        run(&[&["rules"], &rules[..], &named].concat()).stdout.contains("Command run by somebody unexpected")
    );
    let explained = run(&[&["explain", "exec_by_untrusted"], &rules[..], &named].concat()).stdout;
    assert!(explained.contains("203.0.113.0/24"), "{explained}");
    let replay = ["replay", "--quiet", "--format", "jsonl", EXEC_LOG];
    let alerts = run(&[&replay[..], &rules, &named].concat()).stdout;
    assert!(alerts.contains("bob") && !alerts.contains("mallory"), "{alerts}");
}

#[test]
fn lists_that_are_not_there_are_told() {
    let run = run(&["check", "--lists", "tests/cli/filters"]);
    assert_eq!((run.code, run.stderr.contains("no `.txt` file in it")), (Some(2), true), "{}", run.stderr);
}

#[test]
fn pipelines_change_rules_and_filters() {
    let check =
        |more: &[&str]| transcript(&run(&[&["check", "tests/cli/shipped_fields.yml"], more].concat()));
    assert_snapshot("check_pipeline_left_out", &check(&[]));
    assert_snapshot("check_pipeline", &check(&["--pipeline", "tests/cli/pipeline.yml"]));
    assert_snapshot("check_pipeline_broken", &check(&["--pipeline", "tests/cli/broken_pipeline.yml"]));
    let rules = [
        "--no-default-rules",
        "--rules",
        "tests/cli/shipped_fields.yml",
        "--pipeline",
        "tests/cli/pipeline.yml",
    ];
    let replay = ["replay", "--quiet", "--format", "jsonl", EXEC_LOG];
    let alerts = run(&[&replay[..], &rules].concat()).stdout;
    assert_eq!(alerts.lines().count(), 1, "{alerts}");
}

#[test]
fn two_rules_with_one_id_are_an_error_that_names_both() {
    assert_snapshot("check_twins", &transcript(&run(&["check", "tests/cli/rules", "tests/cli/twin.yml"])));
}

#[test]
fn problems_as_json_have_their_place() {
    let run = run(&["check", "--format", "jsonl", "tests/cli/rules", "tests/cli/twin.yml"]);
    let problem: serde_json::Value = serde_json::from_str(run.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(problem["path"], "tests/cli/twin.yml");
    assert_eq!((&problem["line"], &problem["column"], &problem["width"]), (&2.into(), &5.into(), &36.into()));
}

#[test]
fn examples_test_their_rules() {
    assert_snapshot("test_passes", &transcript(&run(&["test", "tests/cli/rules"])));
    assert_snapshot("test_fails", &transcript(&run(&["test", "tests/cli/failing"])));
}

#[test]
fn test_results_go_to_other_tools_as_junit() {
    let path = std::env::temp_dir().join(format!("masthead-junit-{}.xml", std::process::id()));
    let run = run(&["test", "tests/cli/failing", "--junit", path.to_str().unwrap()]);
    let xml = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(run.code, Some(1));
    assert_snapshot("test_junit", &xml);
}

#[test]
fn rules_are_listed_for_people_and_for_programs() {
    let rules = |format| run(&[&["rules", "--format", format], &OWN_RULES[..]].concat()).stdout;
    assert_snapshot("rules_text", &rules("text"));
    assert_snapshot("rules_jsonl", &rules("jsonl"));
}

#[test]
fn what_rules_cover_is_listed_for_people_and_for_programs() {
    let coverage =
        |format| run(&[&["rules", "--coverage", "--format", format], &OWN_RULES[..]].concat()).stdout;
    let markdown = coverage("markdown");
    for row in [
        "| Execution | T1053 Scheduled Task/Job | no rule |  |",
        "|  | T1609 Container Administration Command | rule with events | 1, up to high |",
        "|  | T1611 Escape to Host | rule | 1, up to medium |",
    ] {
        assert!(markdown.lines().any(|line| line == row), "{row} in {markdown}");
    }
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let layer = json(&coverage("json"));
    assert_eq!(layer["versions"]["layer"], "4.5");
    let techniques = layer["techniques"].as_array().unwrap();
    let scores = |id: &str| {
        let of = techniques.iter().find(|technique| technique["techniqueID"] == id).unwrap();
        (of["score"].as_u64().unwrap(), of["metadata"].as_array().unwrap().len())
    };
    assert_eq!((scores("T1609"), scores("T1611"), scores("T1613")), ((100, 1), (50, 1), (0, 0)));
    let lines = coverage("jsonl");
    let exec = lines.lines().map(json).find(|line| line["id"] == "T1609").unwrap();
    assert_eq!(exec["rules"], serde_json::json!(["Command run in a pod"]));
    let clash = run(&["rules", "--coverage", "--fields"]);
    assert_eq!(clash.code, Some(2), "{}", clash.stderr);
}

#[test]
fn a_list_of_rules_can_be_one_document() {
    let rules = run(&[&["rules", "--format", "json"], &OWN_RULES[..]].concat()).stdout;
    let rules: serde_json::Value = serde_json::from_str(&rules).unwrap();
    assert_eq!(rules[0]["title"], "Command run in a pod");
    assert_snapshot(
        "rules_markdown",
        &run(&[&["rules", "--format", "markdown"], &OWN_RULES[..]].concat()).stdout,
    );
}

#[test]
fn the_fields_that_rules_can_use_are_listed() {
    let text = run(&["rules", "--fields", "--format", "text"]).stdout;
    for field in ["outcome", "actor.name", "source.ip", "container.image.registry", "csr.organization"] {
        assert!(text.contains(field), "{field} in {text}");
    }
    let first = run(&["rules", "--fields", "--format", "jsonl"]).stdout;
    assert!(
        serde_json::from_str::<serde_json::Value>(first.lines().next().unwrap()).unwrap()["name"].is_string()
    );
}

#[test]
fn a_rule_is_explained_in_words() {
    assert_snapshot("explain_rule", &transcript(&run(&[&["explain", "pod_exec"], &OWN_RULES[..]].concat())));
}

#[test]
fn an_event_is_explained_condition_by_condition() {
    let log = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(EXEC_LOG)).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    let arguments = [&["explain", "Command run in a pod", "--event", "-"], &OWN_RULES[..]].concat();
    assert_snapshot("explain_match", &transcript(&run_with_input(&arguments, lines[0].as_bytes())));
    assert_snapshot("explain_no_match", &transcript(&run_with_input(&arguments, lines[2].as_bytes())));
    let arguments = [&["explain", "host_network_pod", "--event", BLIND_LOG], &OWN_RULES[..]].concat();
    assert_snapshot("explain_hidden", &transcript(&run(&arguments)));
}

#[test]
fn a_rule_that_is_not_there_is_suggested() {
    let run = run(&[&["explain", "pod_exce"], &OWN_RULES[..]].concat());
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("did you mean `pod_exec`"), "{}", run.stderr);
}

#[test]
fn a_name_that_is_like_none_gets_no_suggestion() {
    for (name, suggested) in [("nonsense", None), ("comand_run_in_pod", Some("`command_run_in_pod`"))] {
        let said = run(&["explain", name]).stderr;
        assert_eq!(said.contains("did you mean"), suggested.is_some(), "{said}");
        assert!(said.contains(suggested.unwrap_or("masthead rules")), "{said}");
    }
}

#[test]
fn completions_and_the_manual_come_from_the_same_source_as_the_help() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(run(&["completions", shell]).stdout.contains("no-default-rules"), "{shell}");
    }
    let man = run(&["man"]).stdout;
    assert!(man.contains(".TH masthead") && man.contains("no\\-default\\-rules"), "{man}");
    assert!(man.find(".nh\n.ad l\n") < man.find(".SH NAME"), "{man}");
    let extras: Vec<&str> = man.split(".SH EXTRA\n").skip(1).collect();
    assert!(extras.len() > 5, "{man}");
    for extra in extras {
        let (lines, _) = extra.split_once("\n.fi\n").unwrap();
        assert!(lines.starts_with(".nf\nExamples:\n") && !lines.contains("\n."), "{lines}");
    }
}

#[test]
fn a_configuration_is_checked_with_all_that_it_names() {
    let broken = run(&["check", "--config", "tests/cli/configuration/masthead.yml"]);
    assert_eq!(broken.code, Some(2));
    assert_snapshot("check_configuration", &transcript(&broken));
    let lines = run(&["check", "--config", "tests/cli/configuration/masthead.yml", "--format", "jsonl"]);
    assert_eq!(lines.stdout.lines().count(), 9, "{}", lines.stdout);
    let right = run(&["check", "--config", "tests/cli/configuration/right.yml"]);
    assert_snapshot("check_configuration_right", &transcript(&right));
}

#[test]
fn the_schema_of_configurations_is_json() {
    let run = run(&["check", "--schema"]);
    let schema: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(schema["title"], "Configuration of masthead");
    assert_eq!(run.code, Some(0));
}
