//! What is written to topics of a real Kafka becomes alerts, each once, whatever happens to whom.
//!
//! `MASTHEAD_KAFKA_KILLS` says how often an instance is killed; 6 unless set.
#![cfg(feature = "kafka")]
#![allow(clippy::expect_used, clippy::float_cmp, clippy::panic, clippy::print_stderr, clippy::unwrap_used)]

mod broker;
mod running;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use broker::{Broker, Message};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use running::{Running, Site, TO_DISK};
use sinks::store::Reading;

const TOPIC: &str = "k8s-audit-prod";
const GROUP: &str = "masthead-tests";
/// Every so many messages one is no JSON.
const POISON_EVERY: u64 = 1_000;
/// How long everything may take to be dealt with on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// A request that the rule of these tests matches.
fn event(id: &str) -> String {
    format!(
        r#"{{"level":"Metadata","auditID":"{id}","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/shop/pods/{id}","verb":"delete","user":{{"username":"mallory"}},"sourceIPs":["203.0.113.9"],"objectRef":{{"resource":"pods","namespace":"shop","name":"{id}","apiVersion":"v1"}},"responseStatus":{{"metadata":{{}},"code":200}},"requestReceivedTimestamp":"2026-03-01T12:00:00.000000Z","stageTimestamp":"2026-03-01T12:00:00.010000Z"}}"#
    )
}

/// An instance that reads topics; `more` besides what all have.
fn site(broker: &Broker, more: &str) -> Site {
    let mut site = Site::new();
    site.sources = format!(
        "  managed:\n    type: kafka\n    brokers: ['{}']\n    group: {GROUP}\n    session_timeout: 3s\n{more}",
        broker.address()
    );
    site.configure(TO_DISK);
    site
}

/// The audit ids of all alerts in a store, none of which is there twice.
fn alerted(site: &Site) -> BTreeSet<String> {
    let stored = site.stored();
    let ids: BTreeSet<&str> = stored.iter().map(|alert| alert["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), stored.len(), "a store repeats an alert");
    stored.iter().filter_map(running::audit_id).collect()
}

/// The places of all that a store has in quarantine, none of which is there twice.
fn quarantined(site: &Site) -> BTreeSet<String> {
    let reading = Reading::open(&site.path("state")).unwrap();
    let items = reading.quarantine(0, 10_000).unwrap();
    let items: Vec<String> = items.into_iter().map(|item| item.item.place).collect();
    let places: BTreeSet<String> = items.iter().cloned().collect();
    assert_eq!(places.len(), items.len(), "a store repeats an item in quarantine: {items:?}");
    places
}

/// The places of all messages that are `is_meant`.
async fn places(broker: &Broker, is_meant: impl Fn(&[u8]) -> bool) -> BTreeSet<String> {
    let all = broker.read(TOPIC).await;
    let meant = all.iter().filter(|message| is_meant(&message.payload));
    meant.map(|message| format!("{TOPIC}/{}/{}", message.partition, message.offset)).collect()
}

/// Waits until the group has read everything; how long that takes depends on the machine, but it gets on.
async fn until_read(broker: &Broker) {
    let (mut least, mut since) = (i64::MAX, Instant::now());
    loop {
        let lag = broker.lag(GROUP, TOPIC).await;
        if lag == 0 {
            return;
        }
        if lag < least {
            (least, since) = (lag, Instant::now());
        }
        assert!(since.elapsed() < PATIENCE, "the group stays {lag} messages behind");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_is_read_on_its_own_in_whatever_form_it_comes() {
    let broker = Broker::start().await;
    broker.make_topic(TOPIC, 2, &[]).await;
    broker.make_topic("letters", 1, &[]).await;
    let list = |ids: &[&str]| running::batch(&ids.iter().map(ToString::to_string).collect::<Vec<_>>());
    let good = [
        event("lone"),
        list(&["listed-1", "listed-2"]),
        format!("[{},{}]", event("array-1"), event("array-2")),
        format!("{}\n{}\n", event("line-1"), event("line-2")),
        format!(" {} ", event("spaced")),
    ];
    let bad =
        ["{\"kind\":\"Event\",\"verb\":\"delete\"", "}}}}", "rubbish", "[{", "{\"verb\":\"get\"}\n}{\n"];
    // Poison lies between all that is good, in the same partition.
    let mut messages = Vec::new();
    for (number, text) in good.iter().enumerate() {
        messages.push(Message { partition: Some(1), ..Message::of(bad[number]) });
        messages.push(Message { partition: Some(1), ..Message::of(text.as_str()) });
    }
    broker.write(TOPIC, messages).await;
    let site = site(
        &broker,
        "    topics: ['^k8s-audit-.*']\n    dead_letter_topic: letters\n    cluster_from: { topic: 'k8s-audit-(.+)' }\n",
    );
    let running = site.start().await;
    until_read(&broker).await;
    running::until("the lag is seen to be nothing", async || {
        running.metric("masthead_kafka_messages_total").await >= 10.0
            && running.metric("masthead_kafka_lag_offsets").await == 0.0
    })
    .await;
    assert_eq!(running.metric("masthead_ledger_imbalance").await, 0.0);
    assert_eq!(running.metric("masthead_kafka_partitions").await, 2.0);
    let (code, _) = running.stop();
    assert_eq!(code, Some(0), "{}", site.log());

    let expected = ["lone", "listed-1", "listed-2", "array-1", "array-2", "line-1", "line-2", "spaced"]
        .map(str::to_owned);
    assert_eq!(alerted(&site), BTreeSet::from(expected));
    assert!(
        site.stored()
            .iter()
            .filter(|alert| running::audit_id(alert).is_some())
            .all(|alert| alert["cluster"] == "prod")
    );
    let poison = places(&broker, |payload| bad.iter().any(|bad| bad.as_bytes() == payload)).await;
    let items = Reading::open(&site.path("state")).unwrap().quarantine(0, 100).unwrap();
    let found: BTreeSet<String> = items.into_iter().map(|item| item.item.place).collect();
    assert_eq!(found, poison);
    let letters = broker.read("letters").await;
    let sent: BTreeSet<String> =
        letters.iter().map(|letter| letter.header("masthead.place").unwrap().to_owned()).collect();
    assert_eq!(sent, poison);
    assert!(letters.iter().all(|letter| bad.iter().any(|bad| bad.as_bytes() == letter.payload)));
}

/// Somebody who writes to a topic all the time.
struct Writer {
    is_over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<u64>,
}

impl Writer {
    fn begin(address: String) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            let mut client = ClientConfig::new();
            client.set("bootstrap.servers", address).set("enable.idempotence", "true");
            client.set("reconnect.backoff.max.ms", "500");
            let producer: BaseProducer = client.create().unwrap();
            let mut number = 0;
            while !over.load(Ordering::Relaxed) {
                for _ in 0..100 {
                    let payload = if is_poison(number) { poison(number) } else { event(&number.to_string()) };
                    let key = number.to_string();
                    producer.send(BaseRecord::to(TOPIC).payload(&payload).key(&key)).unwrap();
                    number += 1;
                }
                producer.poll(Duration::from_millis(50));
                std::thread::sleep(Duration::from_millis(20));
            }
            producer.flush(PATIENCE).unwrap();
            number
        });
        Self { is_over, thread }
    }

    /// Ends it; how many messages the broker has.
    fn end(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn is_poison(number: u64) -> bool {
    number % POISON_EVERY == POISON_EVERY - 1
}

fn poison(number: u64) -> String {
    format!("{{\"auditID\":\"{number}\",\"verb\":[")
}

/// Prints what instances have said, should the test fail meanwhile.
struct Logs<'s>(&'s [Site]);

impl Drop for Logs<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (number, site) in self.0.iter().enumerate() {
                eprintln!("--- instance {number}\n{}", site.log());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_becomes_an_alert_once_however_often_instances_and_the_broker_end() {
    let kills = running::set_by("MASTHEAD_KAFKA_KILLS", 6);
    let mut broker = Broker::start().await;
    broker.make_topic(TOPIC, 4, &[]).await;
    let sites: Vec<Site> =
        (0..3).map(|_| site(&broker, &format!("    topics: [{TOPIC}]\n    cluster: prod\n"))).collect();
    let _logs = Logs(&sites);
    let writer = Writer::begin(broker.address());
    let mut instances: Vec<Option<Running>> = Vec::new();
    for site in &sites {
        instances.push(Some(site.start().await));
    }
    for kill in 0..kills {
        let index = usize::try_from(kill).unwrap() % sites.len();
        // Long enough that some of them come to read, not so long that the group settles.
        tokio::time::sleep(Duration::from_millis(500 + 700 * (kill % 4))).await;
        instances[index].take().unwrap().kill();
        if kill == kills / 2 {
            broker.kill();
            broker.restart().await;
        }
        let other = (index + 1) % sites.len();
        if kill % 2 == 1 {
            let (code, _) = instances[other].take().unwrap().stop_unread().await;
            assert_eq!(code, Some(0), "{}", sites[other].log());
            instances[other] = Some(sites[other].start().await);
        }
        instances[index] = Some(sites[index].start().await);
    }
    let written = writer.end();
    until_read(&broker).await;
    for (site, instance) in sites.iter().zip(instances) {
        let instance = instance.unwrap();
        running::until("no lag is seen", async || instance.metric("masthead_kafka_lag_offsets").await == 0.0)
            .await;
        assert_eq!(instance.metric("masthead_ledger_imbalance").await, 0.0);
        let (code, _) = instance.stop_unread().await;
        assert_eq!(code, Some(0), "{}", site.log());
    }
    let found: Vec<BTreeSet<String>> = sites.iter().map(alerted).collect();
    let all: BTreeSet<String> = found.iter().flatten().cloned().collect();
    let expected: BTreeSet<String> =
        (0..written).filter(|number| !is_poison(*number)).map(|number| number.to_string()).collect();
    eprintln!(
        "{kills} kills, {written} messages, alerts by instance {:?}",
        found.iter().map(BTreeSet::len).collect::<Vec<_>>()
    );
    let missing: Vec<_> = expected.difference(&all).take(5).collect();
    assert!(
        missing.is_empty(),
        "{} of {written} are missing: {missing:?}",
        expected.difference(&all).count()
    );
    assert_eq!(all.len(), expected.len());
    let set_aside: BTreeSet<String> = sites.iter().flat_map(quarantined).collect();
    assert_eq!(set_aside, places(&broker, |payload| payload.ends_with(b"[")).await);
    assert_eq!(set_aside.len() as u64, written / POISON_EVERY);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_goes_on_without_a_restart_when_brokers_and_topics_come_late_go_and_come_again() {
    let mut broker = Broker::start().await;
    broker.stop();
    let site = site(&broker, &format!("    topics: [{TOPIC}]\n"));
    // Nobody is there yet, and then there is no such topic.
    let running = site.start().await;
    broker.restart().await;
    broker.make_topic(TOPIC, 2, &[]).await;
    let write = async |broker: &Broker, from: u64, to: u64| {
        let message = |number: u64| Message {
            partition: Some(i32::from(number % 2 == 1)),
            ..Message::of(event(&number.to_string()))
        };
        let messages = (from..to).map(message);
        broker.write(TOPIC, messages.collect()).await;
    };
    let evaluated = async |count: f64| {
        let begun = Instant::now();
        while running.metric("masthead_events_evaluated_total").await < count {
            assert!(begun.elapsed() < PATIENCE, "{}", site.log());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    write(&broker, 0, 100).await;
    evaluated(100.0).await;
    until_read(&broker).await;
    // A topic of that name that is another one, with less in it than the first one had.
    broker.delete_topic(TOPIC).await;
    running::until("the topic is gone", async || running.metric("masthead_kafka_errors_total").await > 0.0)
        .await;
    broker.make_topic(TOPIC, 2, &[]).await;
    write(&broker, 100, 110).await;
    evaluated(110.0).await;
    until_read(&broker).await;
    // It ends in time although nobody is there to say goodbye to.
    broker.kill();
    let (code, took) = running.stop_unread().await;
    assert_eq!(code, Some(0), "{}", site.log());
    assert!(took < Duration::from_secs(35), "it took {took:?}");
    assert_eq!(alerted(&site), (0..110).map(|number| number.to_string()).collect());
}
