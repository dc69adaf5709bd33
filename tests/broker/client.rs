//! What tests do at a broker: make topics, write, read, and look how far a group has read.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

use super::{Broker, PATIENCE};

/// How long one question to a broker may take.
const QUESTION: Duration = Duration::from_secs(10);

/// What a test writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// Where to; the broker's client decides by the key if there is none.
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) payload: Vec<u8>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

impl Message {
    /// A message that is nothing but this.
    pub(crate) fn of(payload: impl Into<Vec<u8>>) -> Self {
        Self { payload: payload.into(), ..Self::default() }
    }
}

/// What a test has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) payload: Vec<u8>,
    pub(crate) headers: BTreeMap<String, Vec<u8>>,
}

impl Got {
    /// A header as a text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| std::str::from_utf8(value).unwrap())
    }
}

impl Broker {
    /// Makes a topic.
    pub(crate) async fn make_topic(&self, name: &str, partitions: i32, configuration: &[(&str, &str)]) {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        topic.config.extend_from_slice(configuration);
        self.make(&topic).await;
    }

    /// Makes a topic of one partition that these nodes hold; the first of them is to lead it.
    pub(crate) async fn make_topic_on(&self, name: &str, nodes: &[i32]) {
        self.make(&NewTopic::new(name, 1, TopicReplication::Variable(&[nodes]))).await;
    }

    async fn make(&self, topic: &NewTopic<'_>) {
        let results = self.admin().create_topics([topic], &AdminOptions::new()).await.unwrap();
        assert!(results.iter().all(Result::is_ok), "{results:?}");
    }

    /// Waits until a node leads the first partition of a topic.
    pub(crate) async fn until_led(&self, topic: &str, node: i32) {
        let (address, topic) = (self.address(), topic.to_owned());
        blocking(move || until_led(&address, &topic, node)).await;
    }

    /// Deletes a topic with all that is in it.
    pub(crate) async fn delete_topic(&self, name: &str) {
        let results = self.admin().delete_topics(&[name], &AdminOptions::new()).await.unwrap();
        assert!(results.iter().all(Result::is_ok), "{results:?}");
    }

    /// Gives a topic more partitions.
    pub(crate) async fn enlarge_topic(&self, name: &str, partitions: usize) {
        let larger = NewPartitions::new(name, partitions);
        let results = self.admin().create_partitions([&larger], &AdminOptions::new()).await.unwrap();
        assert!(results.iter().all(Result::is_ok), "{results:?}");
    }

    /// A client that may change the cluster.
    pub(crate) fn admin(&self) -> AdminClient<DefaultClientContext> {
        client(&self.address()).create().unwrap()
    }

    /// Writes messages, in order, and waits until the broker has them.
    pub(crate) async fn write(&self, topic: &str, messages: Vec<Message>) {
        let (address, topic) = (self.address(), topic.to_owned());
        blocking(move || write(&address, &topic, &messages)).await;
    }

    /// Reads everything that is committed in a topic as of now: by partition, in order.
    pub(crate) async fn read(&self, topic: &str) -> Vec<Got> {
        let (address, topic) = (self.address(), topic.to_owned());
        blocking(move || read(&address, &topic)).await
    }

    /// How many messages of a topic are beyond what a group has committed.
    pub(crate) async fn lag(&self, group: &str, topic: &str) -> i64 {
        let (address, group, topic) = (self.address(), group.to_owned(), topic.to_owned());
        blocking(move || lag(&address, &group, &topic)).await
    }
}

/// How many brokers one of them knows of; none if it does not answer.
pub(super) async fn brokers(address: String) -> usize {
    if tokio::net::TcpStream::connect(&address).await.is_err() {
        return 0;
    }
    blocking(move || {
        let client: BaseConsumer = client(&address).create().unwrap();
        client.fetch_metadata(None, QUESTION).map_or(0, |metadata| metadata.brokers().len())
    })
    .await
}

fn client(address: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address).set("reconnect.backoff.max.ms", "500");
    config
}

fn write(address: &str, topic: &str, messages: &[Message]) {
    let mut config = client(address);
    config.set("acks", "all").set("enable.idempotence", "true").set("linger.ms", "5");
    config.set("message.max.bytes", "16777216");
    let producer: BaseProducer = config.create().unwrap();
    for message in messages {
        let mut headers = OwnedHeaders::new();
        for (key, value) in &message.headers {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).payload(&message.payload).headers(headers);
        record.key = message.key.as_deref();
        record.partition = message.partition;
        while let Err((error, again)) = producer.send(record) {
            let is_full = matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
            assert!(is_full, "{error}");
            producer.poll(Duration::from_millis(10));
            record = again;
        }
    }
    producer.flush(PATIENCE).unwrap();
    assert_eq!(producer.in_flight_count(), 0);
}

fn read(address: &str, topic: &str) -> Vec<Got> {
    let mut config = client(address);
    config.set("group.id", "reader-of-tests").set("enable.auto.commit", "false");
    config.set("enable.partition.eof", "true").set("isolation.level", "read_committed");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut unread = partitions(&consumer, topic);
    let mut assignment = TopicPartitionList::new();
    for partition in &unread {
        assignment.add_partition_offset(topic, *partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let mut all = Vec::new();
    let begun = Instant::now();
    while !unread.is_empty() {
        assert!(begun.elapsed() < PATIENCE, "the end of `{topic}` does not come");
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Ok(message)) => all.push(got(&message)),
            Some(Err(KafkaError::PartitionEOF(ended))) => unread.retain(|partition| *partition != ended),
            Some(Err(error)) => panic!("cannot read `{topic}`: {error}"),
        }
    }
    all.sort_by_key(|message| (message.partition, message.offset));
    all
}

fn got(message: &rdkafka::message::BorrowedMessage<'_>) -> Got {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    Got {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        payload: message.payload().unwrap_or_default().to_vec(),
        headers: headers.map(|one| (one.key.to_owned(), one.value.unwrap_or_default().to_vec())).collect(),
    }
}

fn lag(address: &str, group: &str, topic: &str) -> i64 {
    let consumer: BaseConsumer = client(address).set("group.id", group).create().unwrap();
    let mut wanted = TopicPartitionList::new();
    for partition in partitions(&consumer, topic) {
        wanted.add_partition(topic, partition);
    }
    let committed = patiently(|| consumer.committed_offsets(wanted.clone(), QUESTION));
    let behind = |partition: i32, offset: Offset| {
        let (low, high) = patiently(|| consumer.fetch_watermarks(topic, partition, QUESTION));
        match offset {
            Offset::Offset(next) => high - next,
            _ => high - low,
        }
    };
    committed.elements().iter().map(|one| behind(one.partition(), one.offset())).sum()
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> Vec<i32> {
    let metadata = patiently(|| consumer.fetch_metadata(Some(topic), QUESTION));
    let topic = metadata.topics().iter().find(|one| one.name() == topic).unwrap();
    topic.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect()
}

fn until_led(address: &str, topic: &str, node: i32) {
    let client: BaseConsumer = client(address).create().unwrap();
    let begun = Instant::now();
    let leader = || {
        let metadata = patiently(|| client.fetch_metadata(Some(topic), QUESTION));
        metadata.topics()[0].partitions().first().map(rdkafka::metadata::MetadataPartition::leader)
    };
    while leader() != Some(node) {
        assert!(begun.elapsed() < PATIENCE, "node {node} does not lead `{topic}`, but {:?}", leader());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What a broker answers, once it does: it may be about to become the one to ask.
fn patiently<T>(ask: impl Fn() -> Result<T, KafkaError>) -> T {
    let begun = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "the broker does not answer: {error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Does what waits for a network, beside the test.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}
