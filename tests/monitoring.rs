//! What tells people how Masthead is: metrics, alert rules, the dashboard, and the commands that they name.

// Helpers of tests may fail.
#![allow(clippy::unwrap_used, clippy::panic)]

mod running;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use running::{Site, client, until};

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

/// What docs/run.md says of a metric.
struct Metric {
    labels: BTreeSet<String>,
    kind: String,
    help: String,
}

#[test]
fn every_metric_of_the_code_is_documented_and_no_other() {
    let mut found = BTreeSet::new();
    for path in sources(&root().join("src")) {
        if !path.ends_with("catalog.rs") {
            found.extend(names(&std::fs::read_to_string(path).unwrap(), "\"masthead_"));
        }
    }
    assert_eq!(found, documented().into_keys().collect());
}

#[test]
fn alert_rules_and_documents_speak_of_metrics_that_exist() {
    let documented = documented();
    for path in TEXTS.into_iter().chain(["deploy/prometheus/masthead.test.yml", "deploy/audit-policy.yml"]) {
        for name in names(&text(path), "masthead_") {
            assert!(documented.contains_key(&name), "{path}: `{name}`");
        }
    }
}

#[tokio::test]
async fn metrics_are_what_their_documentation_says() {
    let documented = documented();
    let mut site = Site::new();
    site.sources = format!("  node: {{ type: file, paths: ['{}'] }}\n", site.path("audit.log").display());
    site.configure(running::TO_DISK);
    let running = site.start().await;
    for body in [running::batch(&["one".to_owned()]), "no event".to_owned()] {
        client().post(site.url("lab")).body(body).send().await.unwrap();
    }
    let shown = running.metrics().await;
    let mut names = BTreeSet::new();
    for line in shown.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, rest) = line.split_once(['{', ' ']).unwrap();
        let metric = documented.get(name).unwrap_or_else(|| panic!("{line}"));
        let help = format!("# HELP {name} {}\n# TYPE {name} {}\n", metric.help, metric.kind);
        assert_eq!(shown.matches(&help).count(), 1, "{help}{shown}");
        let labels = rest.split("=\"").map(|part| part.rsplit(['"', ',']).next().unwrap().to_owned());
        let count = rest.matches("=\"").count();
        assert_eq!(labels.take(count).collect::<BTreeSet<_>>(), metric.labels, "{line}");
        names.insert(name);
    }
    assert!(names.len() > 40, "{names:?}");
    running.stop();
}

/// The table of docs/run.md.
fn documented() -> BTreeMap<String, Metric> {
    let document = text("docs/run.md");
    let (_, rest) = document.split_once("<!-- metrics:begin -->").unwrap();
    let (table, _) = rest.split_once("<!-- metrics:end -->").unwrap();
    let rows = table.lines().filter_map(|row| row.strip_prefix("| `"));
    rows.map(|row| {
        let (series, rest) = row.split_once("` | ").unwrap();
        let (kind, help) = rest.split_once(" | ").unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty());
        let metric = Metric {
            labels: labels.map(str::to_owned).collect(),
            kind: kind.to_owned(),
            help: help.trim_end_matches(" |").to_owned(),
        };
        (name.to_owned(), metric)
    })
    .collect()
}

/// The names of metrics in a text; `masthead_kafka_` alone is none.
fn names(text: &str, beginning: &str) -> BTreeSet<String> {
    let found = text.match_indices(beginning).map(|(at, _)| {
        let name = text[at..].trim_start_matches('"');
        let end = name.find(|c: char| !matches!(c, 'a'..='z' | '_')).unwrap_or(name.len());
        name[..end].to_owned()
    });
    found.filter(|name| !name.ends_with('_')).collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

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

/// Of a counter that begins to exist with what it counts, Prometheus cannot tell that it has increased.
#[tokio::test]
async fn what_may_happen_is_counted_from_0_on() {
    let site = Site::new();
    let running = site.start().await;
    let shown = running.metrics().await;
    let rule = r#"rule="3f0c64a7-9f2f-4f5e-8a52-0d6fb1f2c001",title="Something was deleted""#;
    for series in [
        &format!(r#"masthead_alerts_total{{{rule},level="high"}} 0"#),
        &format!("masthead_blind_events_total{{{rule}}} 0"),
        r#"masthead_alerts_total{rule="masthead.reload_failed",title="A reload failed",level="medium"} 0"#,
        r#"masthead_reloads_total{result="ok"} 0"#,
        r#"masthead_reloads_total{result="failed"} 0"#,
    ] {
        assert!(shown.lines().any(|line| line == series), "{series}\n{shown}");
    }
    let added = running::RULE.replace("c001", "c002").replace("was deleted", "else");
    site.write("deleted.yml", &format!("{}\n---\n{added}", running::RULE));
    running.reload();
    until("the rule is added", async || running.metric_of("masthead_reloads_total", "ok").await > 0.0).await;
    let added = rule.replace("c001", "c002").replace("was deleted", "else");
    let counts = |number: u8| {
        [rule, &added].map(|rule| format!(r#"masthead_alerts_total{{{rule},level="high"}} {number}"#))
    };
    let shown = running.metrics().await;
    assert!(counts(0).iter().all(|series| shown.contains(series)), "{shown}");
    client().post(site.url("lab")).body(running::batch(&["one".to_owned()])).send().await.unwrap();
    let shown = running.metrics().await;
    assert!(counts(1).iter().all(|series| shown.contains(series)), "{shown}");
    running.stop();
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
    std::fs::read_to_string(root().join(path)).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
