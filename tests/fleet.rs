//! Several instances that correlate together give the very alerts that one gives, also when one dies.
#![cfg(feature = "kafka")]
// Helpers of tests may fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod broker;
mod recorded;
mod running;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use broker::{Broker, Message};
use running::{Running, Site, TO_DISK, client};

/// How long a fleet may take to agree on who relates what, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);
/// Clusters that are in several partitions.
const CLUSTERS: [&str; 5] = ["prod", "lab", "edge-7", "shop", "bank"];
/// How many events are in a batch.
const BATCH_EVENTS: usize = 40;

/// Three instances and what they share.
struct Fleet {
    broker: Broker,
    sites: Vec<Site>,
    running: Vec<Option<Running>>,
}

impl Fleet {
    /// Starts it; `sources` are those beside the webhook.
    async fn start(broker: Broker, sources: &str) -> Self {
        let address = broker.address();
        let mut sites = Vec::new();
        for _ in 0..3 {
            let mut site = Site::with_rules("default: true");
            sources.clone_into(&mut site.sources);
            let mut more = TO_DISK.to_owned();
            writeln!(more, "fleet: {{ brokers: ['{address}'], topic_prefix: watch, partitions: 6 }}")
                .unwrap();
            site.configure(&more);
            sites.push(site);
        }
        let running = sites.iter().map(|_| None).collect();
        let mut fleet = Self { broker, sites, running };
        for number in 0..3 {
            fleet.begin(number).await;
        }
        fleet
    }

    async fn begin(&mut self, number: usize) {
        self.running[number] = Some(self.sites[number].start().await);
    }

    /// Ends one as a loss of power would.
    fn kill(&mut self, number: usize) {
        self.running[number].take().unwrap().kill();
    }

    /// Posts to one of those that run, as a load balancer would.
    async fn post(&self, turn: usize, cluster: &str, body: Vec<u8>) {
        let up: Vec<usize> = (0..3).filter(|number| self.running[*number].is_some()).collect();
        let site = &self.sites[up[turn % up.len()]];
        let answer = client().post(site.url(cluster)).body(body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{}", site.log());
    }

    /// The ids of all alerts that any of them has.
    fn ids(&self) -> BTreeSet<String> {
        self.sites.iter().flat_map(Site::stored).filter_map(|alert| id(&alert)).collect()
    }

    /// Waits until there are as many alerts as expected, and compares them.
    async fn gives(&self, expected: &BTreeSet<String>) {
        let begun = Instant::now();
        while self.ids().len() < expected.len() && begun.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let found = self.ids();
        let missing: Vec<_> = expected.difference(&found).collect();
        let surplus: Vec<_> = found.difference(expected).collect();
        assert!(missing.is_empty(), "{} of {} are missing: {missing:?}", missing.len(), expected.len());
        assert!(surplus.is_empty(), "{} are too many: {surplus:?}", surplus.len());
    }

    /// The sum of a metric of those that run.
    async fn metric(&self, name: &str) -> f64 {
        let mut sum = 0.0;
        for running in self.running.iter().flatten() {
            sum += running.metric(name).await;
        }
        sum
    }

    async fn until_partitions(&self, expected: f64) {
        let begun = Instant::now();
        while (self.metric("masthead_fleet_partitions").await - expected).abs() > 0.1 {
            assert!(begun.elapsed() < PATIENCE, "the fleet does not agree on who relates what");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The id of an alert that is about requests.
fn id(alert: &serde_json::Value) -> Option<String> {
    alert.get("notice").is_none().then(|| recorded::text(alert, "/id"))
}

/// The log that is posted: a short one, unless a variable names another.
fn log() -> PathBuf {
    let short = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/demo/audit.log");
    std::env::var_os("MASTHEAD_FLEET_LOG").map_or(short, PathBuf::from)
}

/// What one instance gives for each cluster, correlations last.
fn expected(log: &Path) -> BTreeSet<String> {
    let of = |cluster| recorded::alerts(log, &["--cluster", cluster]);
    let alerts: Vec<_> = CLUSTERS.into_iter().flat_map(of).collect();
    let is_of_many = |alert: &&serde_json::Value| alert.get("correlation").is_some();
    assert!(alerts.iter().filter(is_of_many).count() >= CLUSTERS.len(), "there is nothing to correlate");
    alerts.iter().filter_map(id).collect()
}

/// An event of now: what windows of the past wait for.
fn later() -> String {
    let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    let event = serde_json::json!({
        "level": "Metadata", "auditID": "later", "stage": "ResponseComplete", "requestURI": "/version", "verb": "get",
        "user": { "username": "system:kube-scheduler" }, "requestReceivedTimestamp": now, "stageTimestamp": now,
    });
    event.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_receivers_give_what_one_gives_although_one_is_killed() {
    let log = log();
    let expected = expected(&log);
    let text = std::fs::read_to_string(log).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let batches: Vec<String> = lines.chunks(BATCH_EVENTS).map(|lines| lines.join("\n")).collect();
    let mut fleet = Fleet::start(Broker::start().await, "").await;
    fleet.until_partitions(6.0).await;
    for (number, batch) in batches.iter().enumerate() {
        if number == batches.len() / 3 {
            fleet.kill(1);
        }
        if number == 2 * batches.len() / 3 {
            fleet.begin(1).await;
        }
        for (turn, cluster) in CLUSTERS.iter().enumerate() {
            fleet.post(number + turn, cluster, batch.clone().into_bytes()).await;
        }
    }
    for (turn, cluster) in CLUSTERS.iter().enumerate() {
        fleet.post(turn, cluster, later().into_bytes()).await;
    }
    fleet.gives(&expected).await;
    assert!(fleet.metric("masthead_fleet_matches_taken_total").await > 0.0);
    assert!(!fleet.broker.read("watch-standings").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn three_consumers_give_what_one_gives_although_one_is_killed() {
    let log = log();
    let expected = expected(&log);
    let text = std::fs::read_to_string(log).unwrap();
    let broker = Broker::start().await;
    broker.make_topic("audit", 6, &[]).await;
    let sources = format!(
        "  managed:\n    type: kafka\n    brokers: ['{}']\n    topics: [audit]\n    group: readers\n    \
         session_timeout: 6s\n    cluster_from: {{ header: cluster }}\n",
        broker.address()
    );
    // What happened at one time is anywhere, and each cluster is everywhere.
    let numbered = text.lines().enumerate();
    let messages: Vec<Message> = numbered
        .flat_map(|(number, line)| CLUSTERS.iter().enumerate().map(move |at| (number, line, at)))
        .map(|(number, line, (turn, cluster))| message(number * 7 + turn, cluster, line))
        .collect();
    let (earlier, later_on) = messages.split_at(messages.len() / 2);
    broker.write("audit", earlier.to_vec()).await;
    let mut fleet = Fleet::start(broker, &sources).await;
    fleet.until_partitions(6.0).await;
    fleet.kill(1);
    fleet.broker.write("audit", later_on.to_vec()).await;
    fleet.begin(1).await;
    let last = CLUSTERS.iter().enumerate().map(|(turn, cluster)| message(turn, cluster, &later()));
    fleet.broker.write("audit", last.collect()).await;
    fleet.gives(&expected).await;
}

/// An event of a cluster in some partition.
fn message(number: usize, cluster: &str, event: &str) -> Message {
    let partition = i32::try_from(number % 6).unwrap();
    let headers = vec![("cluster".to_owned(), cluster.as_bytes().to_vec())];
    Message { partition: Some(partition), key: None, payload: event.as_bytes().to_vec(), headers }
}
