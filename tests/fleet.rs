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

use broker::security::{BY_PASSWORD, PASSWORD, Security};
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
    /// Starts three; `sources` are those beside the webhook.
    async fn start(broker: Broker, sources: &str) -> Self {
        let meeting = format!("brokers: ['{}'], partitions: 6", broker.address());
        Self::of(3, broker, sources, &meeting).await
    }

    /// Starts some that meet as `meeting` says.
    async fn of(count: usize, broker: Broker, sources: &str, meeting: &str) -> Self {
        let mut sites = Vec::new();
        for _ in 0..count {
            let mut site = Site::with_rules("default: true");
            sources.clone_into(&mut site.sources);
            let mut more = TO_DISK.to_owned();
            writeln!(more, "fleet: {{ topic_prefix: watch, {meeting} }}").unwrap();
            site.configure(&more);
            sites.push(site);
        }
        let running = sites.iter().map(|_| None).collect();
        let mut fleet = Self { broker, sites, running };
        for number in 0..count {
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
        let up: Vec<usize> = (0..self.sites.len()).filter(|number| self.running[*number].is_some()).collect();
        let site = up[turn % up.len()];
        assert_eq!(self.try_post(site, cluster, body).await, 200, "{}", self.sites[site].log());
    }

    /// Posts to one of them; gives what it answers.
    async fn try_post(&self, site: usize, cluster: &str, body: Vec<u8>) -> u16 {
        let answer = client().post(self.sites[site].url(cluster)).body(body).send().await.unwrap();
        answer.status().as_u16()
    }

    /// Posts all batches of all clusters, again and again if they are refused, as an API server would.
    async fn post_all(&self, batches: &[String]) {
        let begun = Instant::now();
        for batch in batches {
            for cluster in CLUSTERS {
                while self.try_post(0, cluster, batch.clone().into_bytes()).await != 200 {
                    assert!(begun.elapsed() < PATIENCE, "{}", self.sites[0].log());
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            }
        }
    }

    /// Waits until one of them answers with this.
    async fn until_answers(&self, expected: u16, batch: &str) {
        let begun = Instant::now();
        while self.try_post(0, "prod", batch.to_owned().into_bytes()).await != expected {
            assert!(begun.elapsed() < PATIENCE, "{}", self.sites[0].log());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
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
        if !missing.is_empty() || !surplus.is_empty() {
            self.sites.iter().for_each(|site| eprintln!("an instance said:\n{}", site.log()));
        }
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

    /// Waits until everything that was published is stored by who relates it.
    async fn until_taken(&self) {
        let begun = Instant::now();
        let published = self.metric("masthead_fleet_matches_published_total").await;
        while self.metric("masthead_fleet_matches_taken_total").await < published {
            assert!(begun.elapsed() < PATIENCE, "{}", self.sites[0].log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
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

/// The log in batches, and one that is from now.
fn batches(log: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    lines.chunks(BATCH_EVENTS).map(|lines| lines.join("\n")).chain([later()]).collect()
}

/// A copy of a log that ended two hours ago: what is older than its windows and a day is not kept by who
/// does not relate it.
fn recent(log: &Path, folder: &Path) -> PathBuf {
    let text = std::fs::read_to_string(log).unwrap();
    let mut events: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let read =
        |time: &serde_json::Value| chrono::DateTime::parse_from_rfc3339(time.as_str().unwrap()).unwrap();
    let last = events.iter().map(|event| read(&event["requestReceivedTimestamp"])).max().unwrap();
    let later = chrono::Utc::now().fixed_offset() - last - chrono::TimeDelta::hours(2);
    for event in &mut events {
        for field in ["requestReceivedTimestamp", "stageTimestamp"] {
            let time = read(&event[field]) + later;
            event[field] = time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true).into();
        }
    }
    let copy = folder.join("recent.log");
    let lines: Vec<String> = events.iter().map(ToString::to_string).collect();
    std::fs::write(&copy, lines.join("\n")).unwrap();
    copy
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_are_deleted_are_made_again_and_nothing_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let log = recent(&log(), folder.path());
    let batches = batches(&log);
    let broker = Broker::start().await;
    let meeting = format!("brokers: ['{}'], partitions: 2", broker.address());
    let fleet = Fleet::of(1, broker, "", &meeting).await;
    fleet.until_partitions(2.0).await;
    let (earlier, later_on) = batches.split_at(batches.len() / 2);
    fleet.post_all(earlier).await;
    fleet.until_taken().await;
    for topic in ["watch-matches", "watch-standings", "watch-marks"] {
        fleet.broker.delete_topic(topic).await;
    }
    fleet.post_all(later_on).await;
    fleet.gives(&expected(&log)).await;
    assert!(fleet.sites[0].log().contains("a topic of the fleet is gone"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_whose_topic_has_other_partitions_refuses_until_it_is_as_it_was() {
    let batches = batches(&log());
    let broker = Broker::start().await;
    let meeting = format!("brokers: ['{}'], partitions: 2", broker.address());
    let fleet = Fleet::of(1, broker, "", &meeting).await;
    fleet.until_partitions(2.0).await;
    fleet.post_all(&batches[..2]).await;
    fleet.broker.enlarge_topic("watch-matches", 3).await;
    fleet.until_answers(503, &batches.concat()).await;
    let told = fleet.sites[0].log();
    assert!(told.contains("`watch-matches` has 3 partitions instead of 2"), "{told}");
    let readiness = fleet.running[0].as_ref().unwrap().readiness().await;
    assert_eq!(readiness["is_ready"], false, "{readiness}");
    assert!(readiness["fleet_error"].as_str().unwrap().contains("3 partitions"), "{readiness}");
    fleet.broker.delete_topic("watch-matches").await;
    fleet.until_answers(200, &batches.concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_changed_is_read_again() {
    let security = Security::new();
    let broker = Broker::with(&security.layout()).await;
    let meeting = format!(
        "brokers: ['{}'], partitions: 2, {}",
        broker.address_of(BY_PASSWORD),
        security.by_password("PLAIN")
    );
    let mut fleet = Fleet::of(1, broker, "", &meeting).await;
    fleet.until_partitions(2.0).await;
    let log = log();
    let batches = batches(&log);
    let (earlier, later_on) = batches.split_at(batches.len() / 2);
    fleet.post_all(earlier).await;
    let known = |password: &str| format!("user_masthead=\"{password}\"");
    fleet.broker.reconfigure(&known(PASSWORD), &known("another one"));
    fleet.broker.restart().await;
    fleet.until_answers(503, &later_on[0]).await;
    security.write("password", "another one");
    fleet.post_all(later_on).await;
    fleet.gives(&expected(&log)).await;
    let told = fleet.sites[0].log();
    assert!(["producer", "consumer"].iter().all(|it| told.contains(&format!("refuse a {it}"))), "{told}");
    assert!(!told.contains(PASSWORD) && !told.contains("another one"));
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
