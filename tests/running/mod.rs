//! Starts `masthead run`, talks to it as an API server would, and stops it in every way.
// Each test uses a part of it, and a helper of tests may fail.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub(crate) mod load;
pub(crate) mod receiver;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::Value;

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A rule that every request of these tests satisfies.
pub(crate) const RULE: &str = "
title: Something was deleted
id: 3f0c64a7-9f2f-4f5e-8a52-0d6fb1f2c001
status: test
description: Every request of these tests.
logsource: { product: kubernetes, service: audit }
detection:
  deleted: { verb: delete }
  condition: deleted
falsepositives: [none]
level: high
";

/// A folder with what one run needs.
pub(crate) struct Site {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// What the webhook has besides its address, and further sources.
    pub(crate) sources: String,
    rules: &'static str,
    /// What the process is started by, such as `prlimit --nofile=64`.
    pub(crate) started_by: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
}

/// Alerts go to a file.
pub(crate) const TO_DISK: &str = "sinks:\n  disk: { type: file, path: out/alerts.jsonl }\n";

impl Site {
    /// A site with the test's rule alone, whose alerts go to a file.
    pub(crate) fn new() -> Self {
        Self::with_rules("default: false, paths: [deleted.yml]")
    }

    /// A site with other rules.
    pub(crate) fn with_rules(rules: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("deleted.yml"), RULE).unwrap();
        // Apart from what is watched for changes.
        std::fs::create_dir(folder.path().join("out")).unwrap();
        let site = Self {
            folder,
            listen: free_address(),
            admin: free_address(),
            sources: String::new(),
            rules,
            started_by: Vec::new(),
            environment: BTreeMap::new(),
        };
        site.configure(TO_DISK);
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the configuration: `more` besides what every site has.
    pub(crate) fn configure(&self, more: &str) {
        let Self { listen, admin, rules, sources, .. } = self;
        let text = format!(
            "state_dir: state\nrules: {{ {rules} }}\n\
             sources:\n  clusters:\n    type: webhook\n    listen: '{listen}'\n{sources}\
             admin: {{ listen: '{admin}' }}\n{more}"
        );
        self.write("masthead.yml", &text);
    }

    /// Replaces a file at once, as editors and mounted volumes do.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let draft = self.path(&format!("{name}.draft"));
        let mut options = std::fs::OpenOptions::new();
        // Keys must not be readable by others.
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        std::fs::rename(draft, self.path(name)).unwrap();
    }

    /// The command that starts it.
    pub(crate) fn command(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_masthead").to_owned();
        let mut words = self.started_by.iter().chain([&binary]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).envs(&self.environment).stdin(Stdio::null());
        command.arg("run").arg("--config").arg(self.path("masthead.yml"));
        command
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn start(&self) -> Running {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("out/log")).unwrap();
        let child = self.command().stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut running = Running { child, admin: self.admin };
        running.until_ready(&self.path("out/log")).await;
        running
    }

    /// Where an API server posts.
    pub(crate) fn url(&self, cluster: &str) -> String {
        format!("http://{}/audit/{cluster}?timeout=30s", self.listen)
    }

    /// What `masthead alerts …` prints of this site.
    pub(crate) fn alerts(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_masthead"));
        command.arg("alerts").args(arguments).arg("--state-dir").arg(self.path("state"));
        command.output().unwrap()
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("out/log")).unwrap_or_default()
    }

    /// Everything that is stored, the oldest first.
    pub(crate) fn stored(&self) -> Vec<Value> {
        let reading = sinks::store::Reading::open(&self.path("state")).unwrap();
        let alerts = reading.alerts(sinks::store::Filter::default());
        alerts.map(|alert| serde_json::from_str(&alert.unwrap().json).unwrap()).collect()
    }

    /// Checks that everything acknowledged is in the store and in the file, nothing twice, and that
    /// the store is as it was written.
    pub(crate) fn check_ledger(&self, acknowledged: &BTreeSet<String>) {
        let stored = self.stored().iter().filter_map(audit_id).collect();
        load::each_once(acknowledged, stored, "the store");
        load::each_once(acknowledged, Self::audit_ids(&self.path("out/alerts.jsonl")), "the file");
        let verified = sinks::store::verify(&self.path("state"), None, &[]);
        assert!(verified.as_ref().is_ok_and(sinks::store::Verified::is_sound), "{verified:?}");
    }

    /// The alerts of a rule in the file.
    pub(crate) fn told(&self, rule: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path("out/alerts.jsonl")).unwrap_or_default();
        let alerts = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        alerts.filter(|alert| alert["rule"]["id"] == rule).collect()
    }

    /// The audit ids of the alerts in a file of JSON Lines, in order.
    pub(crate) fn audit_ids(path: &Path) -> Vec<String> {
        audit_ids_of(&std::fs::read_to_string(path).unwrap_or_default())
    }
}

/// The audit ids of alerts as JSON Lines.
pub(crate) fn audit_ids_of(lines: &str) -> Vec<String> {
    let alerts = lines.lines().map(|line| serde_json::from_str(line).unwrap());
    alerts.filter_map(|alert: Value| audit_id(&alert)).collect()
}

/// The audit id of an alert about a request.
pub(crate) fn audit_id(alert: &Value) -> Option<String> {
    alert["audit_ids"][0].as_str().map(str::to_owned)
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A number that an environment variable sets, for longer runs.
pub(crate) fn set_by(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A process that runs.
pub(crate) struct Running {
    child: Child,
    admin: SocketAddr,
}

impl Running {
    async fn until_ready(&mut self, log: &Path) {
        let url = format!("http://{}/readyz", self.admin);
        let begun = Instant::now();
        loop {
            let answer = client().get(&url).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            let ended = self.child.try_wait().unwrap();
            let log = || std::fs::read_to_string(log).unwrap_or_default();
            assert!(ended.is_none(), "it ended with {ended:?}: {}", log());
            assert!(begun.elapsed() < PATIENCE, "it is not ready: {}", log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends it as a loss of power would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The number of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end; its exit code and how long that took. Nobody reads what it prints.
    pub(crate) async fn stop_unread(mut self) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        signal(self.child.id(), "-TERM");
        let ended = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        (ended.code(), begun.elapsed())
    }

    /// Asks it to end, without waiting.
    pub(crate) fn ask_to_stop(&self) {
        signal(self.child.id(), "-TERM");
    }

    /// Asks it to end and gives its exit code and what it printed.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        signal(self.child.id(), "-TERM");
        let mut printed = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        (self.child.wait().unwrap().code(), printed)
    }

    /// Asks it to read everything again.
    pub(crate) fn reload(&self) {
        signal(self.child.id(), "-HUP");
    }

    /// The value of a metric, summed over its labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        self.metric_of(name, "").await
    }

    /// The value of a metric, summed over the labels that contain `label`.
    pub(crate) async fn metric_of(&self, name: &str, label: &str) -> f64 {
        let text = self.metrics().await;
        let is_meant = |line: &&str| line.split(['{', ' ']).next() == Some(name) && line.contains(label);
        text.lines()
            .filter(is_meant)
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }

    /// What `/metrics` says.
    pub(crate) async fn metrics(&self) -> String {
        let answer = client().get(format!("http://{}/metrics", self.admin)).send().await.unwrap();
        answer.text().await.unwrap()
    }

    /// What `/readyz` says.
    pub(crate) async fn readiness(&self) -> Value {
        let answer = client().get(format!("http://{}/readyz", self.admin)).send().await.unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    }

    /// Waits until no sink has anything to deliver.
    pub(crate) async fn until_delivered(&self) {
        until("everything is delivered", async || self.metric("masthead_sink_pending").await == 0.0).await;
    }
}

impl Drop for Running {
    /// A test that fails leaves nothing behind.
    fn drop(&mut self) {
        // Both fail where it has ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The memory of a process now, in KiB.
pub(crate) fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Sends a signal to a process that was started here.
fn signal(process: u32, name: &str) {
    assert!(Command::new("kill").arg(name).arg(process.to_string()).status().unwrap().success());
}

/// An address that was free a moment ago.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A client that gives up on a peer that does not answer.
pub(crate) fn client() -> Client {
    client_builder().build().unwrap()
}

/// What such clients are made with.
pub(crate) fn client_builder() -> reqwest::ClientBuilder {
    // Whoever comes second finds it done.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().timeout(PATIENCE).no_proxy()
}

/// A batch as an API server posts it: a list of requests, each of which alerts once.
pub(crate) fn batch(audit_ids: &[String]) -> String {
    let mut items = String::new();
    for id in audit_ids {
        let comma = if items.is_empty() { "" } else { "," };
        write!(
            items,
            r#"{comma}{{"level":"Metadata","auditID":"{id}","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/shop/pods/{id}","verb":"delete","user":{{"username":"mallory"}},"sourceIPs":["203.0.113.9"],"objectRef":{{"resource":"pods","namespace":"shop","name":"{id}","apiVersion":"v1"}},"responseStatus":{{"metadata":{{}},"code":200}},"requestReceivedTimestamp":"2026-03-01T12:00:00.000000Z","stageTimestamp":"2026-03-01T12:00:00.010000Z"}}"#
        )
        .unwrap();
    }
    format!(r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{{}},"items":[{items}]}}"#)
}
