//! How far the correlations of a partition are, read from the compacted topic.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use detect::correlate::Standing;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::{Connecting, Voice};
use super::record;
use crate::config::ConnectionError;

/// How long reading them may take; then it is begun again.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Why they could not be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say it.
pub(super) enum StandingsError {
    #[error("the connection")]
    Connection(#[from] ConnectionError),
    #[error("brokers cannot be asked")]
    Kafka(#[from] KafkaError),
    #[error("they were not read in {} s", TIMEOUT.as_secs())]
    Slow,
}

/// The latest standing of each cluster of a partition. Blocks.
pub(super) fn read(
    connecting: &Connecting,
    topic: &str,
    partition: i32,
) -> Result<HashMap<String, Standing>, StandingsError> {
    let mut config = connecting.config()?;
    // It belongs to no group, but the library wants a name.
    config.set("group.id", "masthead").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    config.set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer<Voice> = config.create_with_context(connecting.voice())?;
    let mut place = TopicPartitionList::new();
    place.add_partition_offset(topic, partition, Offset::Beginning)?;
    consumer.assign(&place)?;
    let begun = Instant::now();
    let mut standings = HashMap::new();
    while begun.elapsed() < TIMEOUT {
        match consumer.poll(Duration::from_millis(200)) {
            None => {}
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(standings),
            Some(Err(error)) => tracing::warn!(%error, partition, "standings of correlations"),
            Some(Ok(message)) => {
                let Some(cluster) = record::cluster(message.key()) else { continue };
                match message.payload().and_then(Standing::from_bytes) {
                    Some(standing) => standings.insert(cluster, standing),
                    None => standings.remove(&cluster),
                };
            }
        }
    }
    Err(StandingsError::Slow)
}
