//! Writes a log to a topic of Kafka, and reads a topic as fast as a consumer can that does nothing else.
//!
//! What is read here is the measure for what Masthead reads from the same topic: the same client with
//! the same settings, without evaluating anything.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use masthead_bench::recorded;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;

/// How long a broker may take for what it is asked.
const PATIENCE: Duration = Duration::from_secs(120);

/// Write logs to a topic of Kafka, or read one
#[derive(Parser)]
#[command(name = "topic", version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Make a topic and write each event of logs as a message of its own
    Fill {
        #[command(flatten)]
        topic: Topic,
        /// Logs to write
        #[arg(required = true)]
        logs: Vec<PathBuf>,
        /// How many partitions the topic has
        #[arg(long, default_value_t = 4)]
        partitions: i32,
    },
    /// Read everything in a topic, and do nothing with it
    Drain {
        #[command(flatten)]
        topic: Topic,
        /// The consumer group, which must not have read before
        #[arg(long, default_value = "nobody")]
        group: String,
        /// How many messages the topic has
        #[arg(long)]
        messages: u64,
    },
}

#[derive(Args)]
struct Topic {
    /// The address of a broker
    #[arg(long, default_value = "127.0.0.1:9092")]
    broker: String,
    /// The topic
    #[arg(long, default_value = "k8s-audit")]
    topic: String,
}

fn main() -> io::Result<()> {
    let told = match Arguments::parse().task {
        Task::Fill { topic, logs, partitions } => fill(&topic, &logs, partitions)?,
        Task::Drain { topic, group, messages } => drain(&topic, &group, messages)?,
    };
    writeln!(io::stdout(), "{told}")
}

fn fill(topic: &Topic, logs: &[PathBuf], partitions: i32) -> io::Result<serde_json::Value> {
    make(topic, partitions)?;
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &topic.broker).set("linger.ms", "20");
    client.set("message.max.bytes", "16777216").set("queue.buffering.max.kbytes", "262144");
    let producer: BaseProducer = client.create().map_err(io::Error::other)?;
    let events = recorded(logs)?;
    for event in &events {
        let mut record = BaseRecord::<[u8], [u8]>::to(&topic.topic).payload(event);
        while let Err((error, again)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(io::Error::other(error));
            }
            producer.poll(Duration::from_millis(10));
            record = again;
        }
    }
    producer.flush(PATIENCE).map_err(io::Error::other)?;
    Ok(serde_json::json!({ "messages": events.len() }))
}

fn make(topic: &Topic, partitions: i32) -> io::Result<()> {
    let mut client = ClientConfig::new();
    let admin: AdminClient<DefaultClientContext> =
        client.set("bootstrap.servers", &topic.broker).create().map_err(io::Error::other)?;
    let new = NewTopic::new(&topic.topic, partitions, TopicReplication::Fixed(1))
        .set("max.message.bytes", "16777216");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    let made = runtime.block_on(admin.create_topics([&new], &options)).map_err(io::Error::other)?;
    match made.into_iter().next() {
        Some(Err((_, code))) if code != RDKafkaErrorCode::TopicAlreadyExists => Err(io::Error::other(code)),
        _ => Ok(()),
    }
}

/// Reads as Masthead does: see `Settings::client` of the source.
fn drain(topic: &Topic, group: &str, messages: u64) -> io::Result<serde_json::Value> {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &topic.broker)
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("queued.max.messages.kbytes", "32768")
        .set("fetch.queue.backoff.ms", "10");
    let consumer: BaseConsumer = client.create().map_err(io::Error::other)?;
    consumer.subscribe(&[&topic.topic]).map_err(io::Error::other)?;
    let (mut count, mut bytes) = (0_u64, 0_u64);
    let mut first = None;
    let begun = Instant::now();
    while count < messages {
        if begun.elapsed() > 10 * PATIENCE {
            return Err(io::Error::other(format!("{count} messages of {messages} came")));
        }
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            let message = message.map_err(io::Error::other)?;
            first.get_or_insert_with(Instant::now);
            count += 1;
            bytes += message.payload().map_or(0, |payload| payload.len() as u64);
        }
    }
    let seconds = first.map_or(0.0, |first| first.elapsed().as_secs_f64());
    Ok(serde_json::json!({ "messages": count, "bytes": bytes, "seconds": seconds }))
}
