//! One client that writes: made, used, and ended beside the threads that must not wait.

use std::time::Instant;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use tokio::sync::mpsc;

use super::context::{Context, Report};
use super::failure::Failure;
use super::flights::FLIGHTS_MAX;
use super::{Compression, Key, Options};
use crate::delivery::Trouble;
use crate::outbox::Outgoing;

/// How many messages the client holds: there is always room for all that may be under way.
const QUEUE_COUNT_MAX: usize = 2 * FLIGHTS_MAX;

/// How many KiB of messages the client holds, unless a single one may be larger.
const QUEUE_KIB_MAX: usize = 64 << 10;

/// How long the client waits before it tries a broker again, at most, in milliseconds.
const RECONNECT_MS_MAX: usize = 10_000;

/// How long a topic that is not known may yet become known, in milliseconds: said before the silence of
/// the brokers is.
const TOPIC_MS_MAX: usize = 10_000;

/// What says of what kind a message is.
const CONTENT_TYPE: &str = "application/json";

/// A client that writes.
pub(super) struct Producer {
    client: Option<ThreadedProducer<Context>>,
    reports: mpsc::Receiver<Report>,
}

impl Producer {
    /// Makes one; reads secrets and files, and waits for no broker.
    pub(super) fn new(options: &Options) -> Result<Self, Trouble> {
        let (reports_in, reports) = mpsc::channel(QUEUE_COUNT_MAX);
        let mut config = ClientConfig::new();
        config.extend(options.link.properties().map_err(|error| Trouble::of(&error))?);
        config.extend(properties(options));
        config.set_log_level(RDKafkaLogLevel::Info);
        let context = Context::new(options.link.clone(), reports_in);
        let client = config.create_with_context(context).map_err(|error: KafkaError| failed(&error))?;
        Ok(Self { client: Some(client), reports })
    }

    /// Hands over an alert, without waiting.
    pub(super) fn send(&self, options: &Options, alert: &Outgoing) -> Result<(), Failure> {
        let Some(client) = &self.client else { return Err(Failure::silence()) };
        // Numbers of alerts are counted one by one from 1; none exceeds what memory can address.
        let number = usize::try_from(alert.number).unwrap_or(usize::MAX);
        let id = format!("{:032x}", alert.id);
        let record = BaseRecord::with_opaque_to(&options.topic, number)
            .key(key(options.key, alert, &id))
            .payload(&alert.json)
            .headers(headers(alert, &id));
        client.send(record).map_err(|(error, _)| Failure::of(&error))
    }

    /// The next report; safe to be cancelled.
    pub(super) async fn next_report(&mut self) -> Option<Report> {
        self.reports.recv().await
    }

    /// What is wrong, if something was since a moment.
    pub(super) fn complaint(&self, since: Instant) -> Option<Failure> {
        self.client.as_ref()?.client().context().complaint(since)
    }

    /// True if it has given up: brokers do not take what it sends as what it once began.
    pub(super) fn is_dead(&self) -> bool {
        self.client.as_ref().is_none_or(|client| client.client().fatal_error().is_some())
    }
}

impl Drop for Producer {
    /// Waits for the client's threads elsewhere.
    fn drop(&mut self) {
        let client = self.client.take();
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(client))),
            Err(_) => drop(client),
        }
    }
}

/// How alerts are written: nothing is given up, nothing is written twice by one client.
fn properties(options: &Options) -> Vec<(String, String)> {
    let codec = match options.compression {
        Compression::None => "none",
        Compression::Lz4 => "lz4",
        Compression::Zstd => "zstd",
    };
    let queue_kib = QUEUE_KIB_MAX.max(options.message_bytes_max.saturating_mul(2) >> 10);
    let texts = [
        ("acks", "all".to_owned()),
        ("enable.idempotence", "true".to_owned()),
        ("message.timeout.ms", "0".to_owned()),
        ("compression.codec", codec.to_owned()),
        // As Java's clients do, so that all who write by the same key agree.
        ("partitioner", "murmur2_random".to_owned()),
        ("message.max.bytes", options.message_bytes_max.to_string()),
        ("queue.buffering.max.messages", QUEUE_COUNT_MAX.to_string()),
        ("queue.buffering.max.kbytes", queue_kib.to_string()),
        ("topic.metadata.propagation.max.ms", TOPIC_MS_MAX.to_string()),
        ("reconnect.backoff.max.ms", RECONNECT_MS_MAX.to_string()),
    ];
    texts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn failed(error: &KafkaError) -> Trouble {
    Failure::of(error).trouble_of_client()
}

fn key<'a>(key: Key, alert: &'a Outgoing, id: &'a str) -> &'a str {
    match key {
        Key::Id => id,
        Key::Cluster => &alert.route.cluster,
        Key::Rule => &alert.route.rule,
        Key::Actor => &alert.route.actor,
    }
}

fn headers(alert: &Outgoing, id: &str) -> OwnedHeaders {
    let route = &alert.route;
    let all = [
        ("id", id),
        ("rule", &route.rule),
        ("level", &route.level),
        ("cluster", &route.cluster),
        ("content-type", CONTENT_TYPE),
    ];
    all.into_iter().fold(OwnedHeaders::new_with_capacity(all.len()), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value) })
    })
}
