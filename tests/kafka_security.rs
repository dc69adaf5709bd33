//! Kafka where brokers ask who one is, and where one asks whether it is them.
#![cfg(feature = "kafka")]
// Helpers of tests may fail; counts are whole numbers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::float_cmp)]

mod broker;
mod running;

use std::collections::BTreeMap;

use broker::security::{BY_CERTIFICATE, BY_PASSWORD, PASSWORD, Security};
use broker::{Broker, Message};
use running::{PATIENCE, Running, Site, audit_id, batch, client, until};
use serde_json::Value;

/// How many events there are to read.
const EVENTS_COUNT: usize = 50;

/// Writes a batch of requests, each of which alerts.
async fn write_events(broker: &Broker) {
    broker.make_topic("events", 2, &[]).await;
    let ids: Vec<String> = (0..EVENTS_COUNT).map(|number| format!("event-{number}")).collect();
    broker.write("events", ids.chunks(10).map(|ids| Message::of(batch(ids))).collect()).await;
}

/// How many alerts of each cluster are in a topic; none is there twice.
async fn alerts_by_cluster(broker: &Broker, topic: &str) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::<(String, String), usize>::new();
    for message in broker.read(topic).await {
        let alert: Value = serde_json::from_slice(&message.payload).unwrap();
        if let Some(id) = audit_id(&alert) {
            *seen.entry((message.header("cluster").unwrap().to_owned(), id)).or_default() += 1;
        }
    }
    assert!(seen.values().all(|count| *count == 1), "{seen:?}");
    let mut counts = BTreeMap::new();
    for (cluster, _) in seen.into_keys() {
        *counts.entry(cluster).or_default() += 1;
    }
    counts
}

/// A source that reads the events as those of a cluster with its own name.
fn source(name: &str, address: &str, more: &str) -> String {
    format!(
        "  {name}: {{ type: kafka, brokers: ['{address}'], topics: [events], group: {name}, cluster: {name}, {more} }}\n"
    )
}

/// A sink that writes to a topic.
fn sink(name: &str, address: &str, topic: &str, more: &str) -> String {
    format!("  {name}: {{ type: kafka, brokers: ['{address}'], topic: {topic}, {more} }}\n")
}

async fn until_said(site: &Site, words: [&str; 2]) {
    until(&format!("{words:?} are said"), async || {
        site.log().lines().any(|line| words.iter().all(|word| line.contains(word)))
    })
    .await;
}

async fn until_lag_is_nothing(broker: &Broker, group: &str, site: &Site) {
    let read = until("all is read", async || broker.lag(group, "events").await == 0);
    assert!(tokio::time::timeout(PATIENCE, read).await.is_ok(), "{group}: {}", site.log());
}

async fn until_delivered(running: &Running, site: &Site) {
    let delivered = tokio::time::timeout(PATIENCE / 2, running.until_delivered()).await;
    assert!(delivered.is_ok(), "{}", site.log());
}

#[tokio::test]
async fn events_and_alerts_pass_in_every_way_to_say_who_one_is() {
    let security = Security::new();
    let broker = Broker::with(&security.layout()).await;
    write_events(&broker).await;
    let (secure, mutual) = (broker.address_of(BY_PASSWORD), broker.address_of(BY_CERTIFICATE));
    let ways = [
        ("scram-256", &secure, security.by_password("SCRAM-SHA-256")),
        ("scram-512", &secure, security.by_password("SCRAM-SHA-512")),
        ("plain", &secure, security.by_password("PLAIN")),
        ("oauth", &secure, security.by_token()),
        ("certificate", &mutual, security.by_certificate()),
    ];
    let mut site = Site::new();
    let mut sinks = "sinks:\n".to_owned();
    for (name, address, way) in &ways {
        broker.make_topic(name, 1, &[]).await;
        site.sources += &source(name, address, way);
        sinks += &sink(&format!("to-{name}"), address, name, way);
    }
    site.configure(&sinks);
    let running = site.start().await;
    for (name, ..) in &ways {
        until_lag_is_nothing(&broker, name, &site).await;
    }
    until_delivered(&running, &site).await;
    let expected: BTreeMap<String, usize> =
        ways.iter().map(|(name, ..)| ((*name).to_owned(), EVENTS_COUNT)).collect();
    for (name, ..) in &ways {
        assert_eq!(alerts_by_cluster(&broker, name).await, expected, "{name}");
    }
    assert_eq!(running.metric("masthead_ledger_imbalance").await, 0.0);
    running.stop();
    let token = std::fs::read_to_string(security.path("token")).unwrap();
    assert!(!site.log().contains(PASSWORD) && !site.log().contains(&token), "{}", site.log());
}

#[tokio::test]
async fn a_broker_is_believed_only_by_its_certificate_and_name_and_a_password_can_be_corrected() {
    let security = Security::new();
    let broker = Broker::with(&security.layout()).await;
    write_events(&broker).await;
    broker.make_topic("alerts", 1, &[]).await;
    broker.make_topic("nothing", 1, &[]).await;
    broker.make_topic("letters", 1, &[]).await;
    broker.write("events", vec![Message::of("rubbish")]).await;
    let secure = broker.address_of(BY_PASSWORD);
    let by_ip = secure.replace("localhost", "127.0.0.1");
    let right = security.by_password("SCRAM-SHA-512");
    let other_authority = right.replace("/ca.crt", "/other-ca.crt");
    let no_certificate = format!("tls: {{ ca_file: {} }}", security.path("ca.crt").display());
    let sinks = [
        sink("wrong-password", &secure, "alerts", &right),
        sink("wrong-authority", &secure, "nothing", &other_authority),
        // The certificate is for `localhost`.
        sink("wrong-name", &by_ip, "nothing", &right),
        sink("wrong-certificate", &broker.address_of(BY_CERTIFICATE), "nothing", &no_certificate),
    ];
    security.write("password", "wr0ng");
    let mut site = Site::new();
    let with_letters = format!("{right}, dead_letter_topic: letters");
    site.sources = source("events", &secure, &with_letters) + &source("by-ip", &by_ip, &right);
    site.configure(&format!("sinks:\n{}", sinks.concat()));
    let running = site.start().await;
    let posted = client().post(site.url("lab")).body(batch(&["posted".to_owned()])).send().await.unwrap();
    assert!(posted.status().is_success());
    until_said(&site, ["wrong-password", "uthentication"]).await;
    for name in ["wrong-authority", "wrong-name", "wrong-certificate"] {
        until_said(&site, [name, "certificate"]).await;
    }
    until_said(&site, ["events", "uthentication"]).await;
    security.write("password", PASSWORD);
    until_lag_is_nothing(&broker, "events", &site).await;
    until("the sink takes all", async || {
        running.metric_of("masthead_sink_pending", "sink=\"wrong-password\"").await == 0.0
    })
    .await;
    let expected = BTreeMap::from([("events".to_owned(), EVENTS_COUNT), ("lab".to_owned(), 1)]);
    assert_eq!(alerts_by_cluster(&broker, "alerts").await, expected);
    assert_eq!(broker.read("nothing").await, []);
    // The writer of letters, too, was told another password before.
    let letters = broker.read("letters").await;
    assert!(!letters.is_empty() && letters.iter().all(|letter| letter.payload == b"rubbish"), "{letters:?}");
    assert_eq!(running.metric("masthead_sink_dead_total").await, 0.0);
    running.stop();
    assert!(!site.log().contains(PASSWORD) && !site.log().contains("wr0ng"), "{}", site.log());
}
