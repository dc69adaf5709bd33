//! How far the correlations of a partition are, read from the compacted topic.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use detect::correlate::Standing;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::{ClientError, Connecting, Voice};
use super::record;

/// How long reading them may take; then it is begun again.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Why they could not be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say it.
pub(super) enum StandingsError {
    #[error("no client")]
    Client(#[from] ClientError),
    #[error("brokers cannot be asked")]
    Kafka(#[from] KafkaError),
    #[error("brokers do not believe who asks")]
    Refused,
    #[error("they were not read in {} s", TIMEOUT.as_secs())]
    Slow,
}

/// The latest standing of each cluster of a partition. Blocks.
pub(super) fn read(
    connecting: &Connecting,
    topic: &str,
    partition: i32,
) -> Result<HashMap<String, Standing>, StandingsError> {
    // It belongs to no group, but the library wants a name.
    let settings = [
        ("group.id", "masthead"),
        ("enable.auto.commit", "false"),
        ("enable.partition.eof", "true"),
        ("auto.offset.reset", "earliest"),
    ];
    let consumer: BaseConsumer<Voice> = connecting.client(&settings, connecting.voice())?;
    let mut place = TopicPartitionList::new();
    place.add_partition_offset(topic, partition, Offset::Beginning)?;
    consumer.assign(&place)?;
    let begun = Instant::now();
    let mut standings = HashMap::new();
    while begun.elapsed() < TIMEOUT {
        if consumer.context().trust.is_refused() {
            // Another client reads secrets again.
            return Err(StandingsError::Refused);
        }
        match consumer.poll(Duration::from_millis(200)) {
            None => {}
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(standings),
            Some(Err(error)) if is_gone(&error) => return Err(error.into()),
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

/// True if there is nothing to read, and to be asked is another client once there is.
fn is_gone(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition)
    )
}
