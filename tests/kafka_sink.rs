//! Alerts reach Kafka: a real broker, which is not always there and does not take everything.
//!
//! `KAFKA_VERSION` says which broker, as for `tests/broker/fetch`.
#![cfg(feature = "kafka")]
// Helpers of tests may fail; counts are whole numbers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::float_cmp)]

mod broker;
mod running;

use std::collections::{BTreeMap, BTreeSet};

use broker::{Broker, Got};
use running::{Running, Site, audit_id, batch, client, until};
use serde_json::Value;

/// Posts batches of requests, each of which alerts, and gives their audit ids.
async fn post(site: &Site, name: &str, batches_count: usize) -> BTreeSet<String> {
    let mut posted = BTreeSet::new();
    for number in 0..batches_count {
        let ids: Vec<String> = (0..50).map(|index| format!("{name}-{number}-{index}")).collect();
        let answer = client().post(site.url("lab")).body(batch(&ids)).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        posted.extend(ids);
    }
    posted
}

/// How often each request's alert is in a topic, by audit id.
fn counts(messages: &[Got]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for message in messages {
        let alert: Value = serde_json::from_slice(&message.payload).unwrap();
        if let Some(id) = audit_id(&alert) {
            *counts.entry(id).or_default() += 1;
        }
    }
    counts
}

/// Checks that a topic has the alert of each request, and how many alerts it has twice.
async fn check_all_there(broker: &Broker, topic: &str, posted: &BTreeSet<String>) -> usize {
    let counts = counts(&broker.read(topic).await);
    let lost: Vec<_> = posted.iter().filter(|id| !counts.contains_key(*id)).collect();
    assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), posted.len());
    assert_eq!(counts.len(), posted.len(), "there are alerts of nothing that was posted");
    counts.values().filter(|count| **count > 1).count()
}

async fn until_failing(site: &Site, running: &Running, sink: &str, words: &str) {
    until(&format!("`{sink}` says `{words}`"), async || {
        let readiness = running.readiness().await.to_string();
        readiness.contains(words)
            || site.log().lines().any(|line| line.contains(sink) && line.contains(words))
    })
    .await;
}

fn sink(name: &str, address: &str, topic: &str, more: &str) -> String {
    format!("  {name}: {{ type: kafka, brokers: ['{address}'], topic: {topic}, {more} }}\n")
}

#[tokio::test]
async fn alerts_of_the_webhook_are_in_the_topic_as_they_are_in_the_store() {
    let broker = Broker::start().await;
    broker.make_topic("by-id", 3, &[]).await;
    broker.make_topic("by-actor", 3, &[]).await;
    let site = Site::new();
    let by_id = sink("by-id", &broker.address(), "by-id", "");
    let by_actor = sink("by-actor", &broker.address(), "by-actor", "key: actor, compression: lz4");
    let late = sink("late", &broker.address(), "made-later", "");
    site.configure(&format!("sinks:\n{by_id}{by_actor}{late}"));
    let running = site.start().await;
    let posted = post(&site, "a", 8).await;
    until_failing(&site, &running, "late", "there is no topic `made-later`").await;
    broker.make_topic("made-later", 3, &[]).await;
    running.until_delivered().await;
    assert_eq!(check_all_there(&broker, "by-id", &posted).await, 0);
    assert_eq!(check_all_there(&broker, "by-actor", &posted).await, 0);
    assert_eq!(check_all_there(&broker, "made-later", &posted).await, 0);
    assert_eq!(running.metric("masthead_ledger_imbalance").await, 0.0);
    running.stop();

    let stored: BTreeMap<String, Value> =
        site.stored().into_iter().map(|alert| (alert["id"].as_str().unwrap().to_owned(), alert)).collect();
    let messages = broker.read("by-id").await;
    assert_eq!(messages.len(), stored.len());
    for message in &messages {
        let alert = &stored[message.header("id").unwrap()];
        assert_eq!(&serde_json::from_slice::<Value>(&message.payload).unwrap(), alert);
        assert_eq!(message.key.as_deref(), alert["id"].as_str().map(str::as_bytes));
        assert_eq!(message.header("rule"), alert["rule"]["id"].as_str());
        assert_eq!(message.header("level"), alert["rule"]["level"].as_str());
        if audit_id(alert).is_some() {
            assert_eq!(message.header("cluster"), Some("lab"));
        }
        assert_eq!(message.header("content-type"), Some("application/json"));
    }
    let partitions: BTreeSet<i32> = messages.iter().map(|message| message.partition).collect();
    assert_eq!(partitions.len(), 3, "ids spread");
    let mut by_actor = broker.read("by-actor").await;
    // Without what Masthead tells of itself.
    by_actor.retain(|message| message.header("cluster") == Some("lab"));
    assert!(by_actor.iter().all(|message| message.key.as_deref() == Some(b"mallory")));
    assert!(
        by_actor.iter().all(|message| message.partition == by_actor[0].partition),
        "one actor, one order"
    );
}

#[tokio::test]
async fn a_broker_that_is_away_loses_nothing() {
    let mut broker = Broker::start().await;
    broker.make_topic("alerts", 3, &[]).await;
    broker.stop();
    let site = Site::new();
    site.configure(&format!("sinks:\n{}", sink("bus", &broker.address(), "alerts", "")));
    let running = site.start().await;
    let mut posted = post(&site, "before", 4).await;
    until_failing(&site, &running, "bus", "refused").await;
    broker.restart().await;
    running.until_delivered().await;
    assert_eq!(check_all_there(&broker, "alerts", &posted).await, 0);
    // A broker that dies while it is written to, twice.
    for name in ["first", "second"] {
        let posting = post(&site, name, 20);
        let killing = async {
            let before = running.metric("masthead_sink_delivered_total").await;
            until("some are delivered", async || {
                running.metric("masthead_sink_delivered_total").await > before
            })
            .await;
            broker.kill();
        };
        let (ids, ()) = tokio::join!(posting, killing);
        posted.extend(ids);
        broker.restart().await;
    }
    running.until_delivered().await;
    let twice_count = check_all_there(&broker, "alerts", &posted).await;
    assert_eq!(twice_count, 0, "the producer is idempotent, and there was but one");
    assert_eq!(running.metric("masthead_ledger_imbalance").await, 0.0);
    assert_eq!(running.metric("masthead_sink_dead_total").await, 0.0);
    running.stop();
}

#[tokio::test]
async fn what_is_too_large_is_a_dead_letter_and_keeps_nothing_from_coming() {
    let broker = Broker::start().await;
    broker.make_topic("wide", 1, &[]).await;
    broker.make_topic("narrow", 1, &[("max.message.bytes", "16000")]).await;
    let site = Site::new();
    // One of the two sees it before it is sent, the other is told by the broker.
    let small = sink("small", &broker.address(), "wide", "message_max: 16KiB, compression: none");
    let narrow = sink("narrow", &broker.address(), "narrow", "compression: none");
    site.configure(&format!("sinks:\n{small}{narrow}"));
    let running = site.start().await;
    let mut posted = post(&site, "a", 1).await;
    let large = format!("large-{}", "x".repeat(20_000));
    let body = batch(&["b".to_owned(), large, "c".to_owned()]);
    assert!(client().post(site.url("lab")).body(body).send().await.unwrap().status().is_success());
    posted.extend(["b".to_owned(), "c".to_owned()]);
    posted.extend(post(&site, "d", 1).await);
    running.until_delivered().await;
    check_all_there(&broker, "wide", &posted).await;
    check_all_there(&broker, "narrow", &posted).await;
    for name in ["small", "narrow"] {
        let dead = running.metric_of("masthead_sink_dead_total", &format!("sink=\"{name}\"")).await;
        assert_eq!(dead, 1.0, "{name}");
        let log = site.log();
        let said =
            |line: &str| line.contains(name) && line.contains("refused") && line.contains("`message_max`");
        assert!(log.lines().any(said), "{log}");
    }
    assert_eq!(running.metric("masthead_ledger_imbalance").await, 0.0);
    running.stop();
}
