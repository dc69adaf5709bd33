//! What a real Kafka and those who write to it do seldom: names that are missing or made up, partitions that
//! come later, transactions, letters that are too large, a store that refuses, rights that are taken away.
#![cfg(feature = "kafka")]
#![allow(clippy::expect_used, clippy::float_cmp, clippy::unwrap_used)]

mod broker;
mod running;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use broker::security::{BY_PASSWORD, Security, USER};
use broker::{Broker, Message};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminOptions, NewPartitions};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use running::{Running, Site, TO_DISK};
use sinks::store::Reading;

/// How long everything may take to be dealt with on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// A request that the rule of these tests matches.
fn event(id: &str) -> String {
    let list = running::batch(&[id.to_owned()]);
    let start = list.find('[').unwrap() + 1;
    list[start..list.len() - 2].to_owned()
}

fn events(ids: std::ops::Range<u32>, partition: i32) -> Vec<Message> {
    let message = |id: u32| Message { partition: Some(partition), ..Message::of(event(&id.to_string())) };
    ids.map(message).collect()
}

/// A Kafka source by its name, which is that of its group; `more` besides what all have.
fn source(broker: &Broker, name: &str, more: &str) -> String {
    format!(
        "  {name}: {{ type: kafka, brokers: ['{}'], group: {name}, session_timeout: 6s, {more} }}\n",
        broker.address()
    )
}

fn site(sources: &[String]) -> Site {
    let mut site = Site::new();
    site.sources = sources.concat();
    site.configure(TO_DISK);
    site
}

/// Audit ids of the alerts in a store, by cluster.
fn alerted(site: &Site) -> BTreeMap<String, BTreeSet<String>> {
    let mut alerted = BTreeMap::<String, BTreeSet<String>>::new();
    for alert in site.stored() {
        if let Some(id) = running::audit_id(&alert) {
            let cluster = alert["cluster"].as_str().unwrap().to_owned();
            assert!(alerted.entry(cluster).or_default().insert(id), "a store repeats an alert");
        }
    }
    alerted
}

async fn until_read(broker: &Broker, group: &str, topic: &str, site: &Site) {
    let begun = Instant::now();
    while broker.lag(group, topic).await != 0 {
        assert!(begun.elapsed() < PATIENCE, "the group stays behind: {}", site.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn stop(running: Running, site: &Site) {
    let (code, _) = running.stop();
    assert_eq!(code, Some(0), "{}", site.log());
}

fn ids(ids: impl IntoIterator<Item = u32>) -> BTreeSet<String> {
    ids.into_iter().map(|id| id.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_evaluated_whatever_a_message_says_of_its_cluster() {
    /// More than may have a say.
    const FORGED: u32 = 1_200;
    let broker = Broker::start().await;
    broker.make_topic("events", 1, &[]).await;
    let message = |id: &str, cluster: Option<&[u8]>, key: &str| Message {
        partition: Some(0),
        key: Some(key.into()),
        payload: event(id).into(),
        headers: cluster.map(|cluster| ("cluster".to_owned(), cluster.to_vec())).into_iter().collect(),
    };
    let mut messages = vec![
        message("named", Some(b"prod"), "a"),
        message("unsaid", None, "b"),
        message("odd", Some(b"../etc"), "c d"),
        message("bytes", Some(b"\xff\xfe"), "e"),
    ];
    messages.extend((0..FORGED).map(|id| {
        let name = format!("forged-{id}");
        message(&name, Some(name.as_bytes()), "f")
    }));
    messages.push(message("late", Some(b"prod"), "a"));
    broker.write("events", messages).await;
    let more = |from: &str| format!("topics: [events], cluster_from: {{ {from} }}");
    let by_header = source(&broker, "by-header", &more("header: cluster"));
    let by_key = source(&broker, "by-key", &(more("key: true") + ", cluster: other"));
    let site = site(&[by_header, by_key]);
    let running = site.start().await;
    until_read(&broker, "by-header", "events", &site).await;
    until_read(&broker, "by-key", "events", &site).await;
    running::until("everything is counted", async || {
        running.metric("masthead_events_evaluated_total").await == f64::from(2 * (FORGED + 5))
    })
    .await;
    assert_eq!(running.metric_of("masthead_kafka_messages_total", r#"kind="nameless""#).await, 4.0);
    assert_eq!(running.metric("masthead_events_quarantined_total").await, 0.0);
    assert_eq!(running.metric("masthead_ledger_imbalance").await, 0.0);
    // Names beyond those that have a say are in nobody's sums.
    let nobody = running.metric_of("masthead_events_evaluated_total", r#"cluster="""#).await;
    assert!(nobody > f64::from(FORGED / 2) && nobody < f64::from(FORGED), "{nobody}");
    stop(running, &site);
    let alerted = alerted(&site);
    let of = |cluster: &str| alerted[cluster].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(of("prod"), ["late", "named"]);
    assert_eq!(of("default"), ["bytes", "odd", "unsaid"]);
    assert_eq!(of("other"), ["odd"]);
    assert_eq!(of("a"), ["late", "named"]);
    assert_eq!(of("f").len(), FORGED as usize);
    assert!((0..FORGED).all(|id| of(&format!("forged-{id}")) == [format!("forged-{id}")]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_begins_with_what_comes_loses_nothing_of_partitions_that_come_later() {
    let broker = Broker::start().await;
    broker.make_topic("events", 2, &[]).await;
    broker.write("events", events(0..10, 0)).await;
    let site = site(&[source(&broker, "late", "topics: ['^events$'], start_at: end, cluster: lab")]);
    let running = site.start().await;
    let noted = running::until("it is noted where the group begins", async || {
        broker.lag("late", "events").await == 0
    });
    noted.await;
    broker.write("events", [events(10..20, 0), events(20..30, 1)].concat()).await;
    until_read(&broker, "late", "events", &site).await;
    stop(running, &site);
    assert_eq!(alerted(&site)["lab"], ids(10..30));

    // Nobody reads while there comes more.
    let more = NewPartitions::new("events", 3);
    broker.admin().create_partitions(&[more], &AdminOptions::new()).await.unwrap();
    broker.write("events", [events(30..40, 2), events(40..50, 1)].concat()).await;
    let running = site.start().await;
    until_read(&broker, "late", "events", &site).await;
    stop(running, &site);
    assert_eq!(alerted(&site)["lab"], ids(10..50));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn markers_of_transactions_are_not_behind() {
    let broker = Broker::start().await;
    let topics = ["events", "others"];
    for topic in topics {
        broker.make_topic(topic, 1, &[]).await;
    }
    let address = broker.address();
    let write = move || {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", address).set("transactional.id", "writer-of-tests");
        let producer: BaseProducer = client.create().unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        for (number, is_kept) in [true, false, true, false].into_iter().enumerate() {
            producer.begin_transaction().unwrap();
            for topic in topics {
                let id = format!("{topic}-{number}");
                producer.send(BaseRecord::to(topic).key(&id).payload(&event(&id))).unwrap();
            }
            producer.flush(PATIENCE).unwrap();
            let ended = if is_kept {
                producer.commit_transaction(PATIENCE)
            } else {
                producer.abort_transaction(PATIENCE)
            };
            ended.unwrap();
        }
    };
    tokio::task::spawn_blocking(write).await.unwrap();
    let site = site(&[source(&broker, "both", "topics: [events, others], cluster: lab")]);
    let running = site.start().await;
    running::until("what was kept is evaluated, and nothing is behind", async || {
        running.metric("masthead_events_evaluated_total").await == 4.0
            && running.metric("masthead_kafka_lag_offsets").await == 0.0
    })
    .await;
    stop(running, &site);
    let expected = ["events-0", "events-2", "others-0", "others-2"].map(str::to_owned);
    assert_eq!(alerted(&site)["lab"], BTreeSet::from(expected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_that_is_too_large_costs_only_itself() {
    let broker = Broker::start().await;
    broker.make_topic("events", 1, &[]).await;
    broker.make_topic("small", 1, &[("max.message.bytes", "2000")]).await;
    broker.make_topic("large", 1, &[("max.message.bytes", "100000")]).await;
    let huge = format!("rubbish {}", "x".repeat(300_000));
    let messages = ["rubbish 1", &huge, "rubbish 2"].map(Message::of).to_vec();
    broker.write("events", [messages, events(0..5, 0)].concat()).await;
    let more = |letters| format!("topics: [events], cluster: {letters}, dead_letter_topic: {letters}");
    let site = site(&["small", "large"].map(|letters| source(&broker, letters, &more(letters))));
    let running = site.start().await;
    for group in ["small", "large"] {
        until_read(&broker, group, "events", &site).await;
    }
    let count = async |kind: &str| running.metric_of("masthead_kafka_messages_total", kind).await;
    assert_eq!(count(r#"kind="dead_letter""#).await, 5.0);
    assert_eq!(count(r#"kind="dead_letter_too_large""#).await, 1.0);
    assert_eq!(running.metric("masthead_ledger_imbalance").await, 0.0);
    stop(running, &site);
    let letters = async |topic| {
        let letters = broker.read(topic).await.into_iter().map(|letter| letter.payload);
        letters.collect::<BTreeSet<Vec<u8>>>()
    };
    let beginning = huge.as_bytes()[..64 * 1024].to_vec();
    let plain = [b"rubbish 1".to_vec(), b"rubbish 2".to_vec()];
    assert_eq!(letters("small").await, BTreeSet::from(plain.clone()));
    assert_eq!(letters("large").await, plain.into_iter().chain([beginning]).collect());
    let quarantined = Reading::open(&site.path("state")).unwrap().quarantine(0, 100).unwrap();
    assert_eq!(quarantined.len(), 6);
    let alerted = alerted(&site);
    assert_eq!([&alerted["small"], &alerted["large"]], [&ids(0..5); 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_committed_while_the_store_refuses() {
    let broker = Broker::start().await;
    broker.make_topic("events", 1, &[]).await;
    let mut site = site(&[source(&broker, "careful", "topics: [events], cluster: lab")]);
    // The signal for it would end the process.
    site.started_by = ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"].map(str::to_owned).into();
    let running = site.start().await;
    broker.write("events", events(0..10, 0)).await;
    until_read(&broker, "careful", "events", &site).await;
    limit_files(&running, "4096:");
    broker.write("events", events(10..500, 0)).await;
    // Its log is a file, too, and says nothing.
    running::until("the store refuses", async || running.readiness().await["store_error"].is_string()).await;
    // The client's figures, and a commit if there were one, come every second.
    running::until("it is seen to be behind", async || {
        running.metric("masthead_kafka_lag_offsets").await == 490.0
    })
    .await;
    assert_eq!(broker.lag("careful", "events").await, 490);
    limit_files(&running, "unlimited:");
    until_read(&broker, "careful", "events", &site).await;
    stop(running, &site);
    assert_eq!(alerted(&site)["lab"], ids(0..500));
}

/// Changes how large the files of a process may become.
fn limit_files(running: &Running, limit: &str) {
    let mut command = Command::new("prlimit");
    command.args(["--pid", &running.id().to_string(), &format!("--fsize={limit}")]);
    assert!(command.status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_is_read_on_whoever_leads_it() {
    let first = Broker::start().await;
    // Who coordinates groups is settled before there is a second node.
    first.make_topic("before", 1, &[]).await;
    assert_eq!(first.lag("mover", "before").await, 0);
    let mut second = first.joined().await;
    first.make_topic_on("events", &[2, 1]).await;
    first.until_led("events", 2).await;
    let site = site(&[source(&first, "mover", "topics: [events], cluster: lab")]);
    let running = site.start().await;
    first.write("events", events(0..10, 0)).await;
    until_read(&first, "mover", "events", &site).await;

    // The leader is lost, and the other node becomes it.
    second.kill();
    first.until_led("events", 1).await;
    first.write("events", events(10..20, 0)).await;
    until_read(&first, "mover", "events", &site).await;

    // It comes back, and leads again while both are there.
    second.restart().await;
    first.until_led("events", 2).await;
    first.write("events", events(20..30, 0)).await;
    until_read(&first, "mover", "events", &site).await;
    assert_eq!(running.metric("masthead_ledger_imbalance").await, 0.0);
    stop(running, &site);
    assert_eq!(alerted(&site)["lab"], ids(0..30));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_with_a_name_of_its_own_finds_its_partitions_waiting() {
    let broker = Broker::start().await;
    broker.make_topic("events", 2, &[]).await;
    let named = |name: &str| {
        let text = source(&broker, "named", &format!("topics: [events], cluster: lab, instance_id: {name}"));
        site(&[text.replace("session_timeout: 6s", "session_timeout: 60s")])
    };
    let sites = ["first", "second"].map(named);
    let first = sites[0].start().await;
    let second = sites[1].start().await;
    for running in [&first, &second] {
        running::until("each has a partition", async || {
            running.metric("masthead_kafka_partitions").await == 1.0
        })
        .await;
    }
    let rebalances = second.metric("masthead_kafka_rebalances_total").await;
    first.kill();
    broker.write("events", [events(0..20, 0), events(20..40, 1)].concat()).await;
    let first = sites[0].start().await;
    until_read(&broker, "named", "events", &sites[0]).await;
    assert_eq!(first.metric("masthead_kafka_partitions").await, 1.0);
    assert_eq!(second.metric("masthead_kafka_rebalances_total").await, rebalances, "{}", sites[1].log());
    stop(first, &sites[0]);
    stop(second, &sites[1]);
    let alerted = sites.each_ref().map(|site| alerted(site)["lab"].clone());
    assert!(alerted.iter().all(|ids| ids.len() == 20));
    assert_eq!(alerted[0].union(&alerted[1]).cloned().collect::<BTreeSet<_>>(), ids(0..40));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_that_are_taken_away_and_given_back_heal() {
    let security = Security::new();
    let mut layout = security.layout();
    layout.properties += "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\nsuper.users=User:ANONYMOUS\n";
    let broker = Broker::with(&layout).await;
    broker.make_topic("events", 1, &[]).await;
    broker.rights(&["--add", "--allow-principal", &format!("User:{USER}"), "--operation", "all"]).await;
    let address = format!("brokers: ['{}']", broker.address());
    let secure = format!("brokers: ['{}']", broker.address_of(BY_PASSWORD));
    let more = format!("topics: [events], cluster: lab, {}", security.by_password("SCRAM-SHA-512"));
    let site = site(&[source(&broker, "righteous", &more).replace(&address, &secure)]);
    let running = site.start().await;
    broker.write("events", events(0..10, 0)).await;
    until_read(&broker, "righteous", "events", &site).await;
    let deny = ["--deny-principal", &format!("User:{USER}"), "--operation", "all"];
    broker.rights(&[&["--add"], &deny[..]].concat()).await;
    broker.write("events", events(10..20, 0)).await;
    running::until("the client complains", async || {
        running.metric_of("masthead_kafka_errors_total", "AuthorizationFailed").await > 0.0
    })
    .await;
    broker.rights(&[&["--remove", "--force"], &deny[..]].concat()).await;
    until_read(&broker, "righteous", "events", &site).await;
    stop(running, &site);
    assert_eq!(alerted(&site)["lab"], ids(0..20));
}
