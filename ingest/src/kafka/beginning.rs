//! Where a group begins that has never read and is to begin with what comes.
//!
//! The client's own way, to begin at the end of each partition that has no committed offset, skips what is
//! written to a new partition before it is noticed. So the group notes once where all partitions end, before
//! it has members; whatever has no committed offset afterwards is new, and is read from its beginning.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};

use super::Topics;
use super::context::Context;

/// How long brokers may take for one answer. Nothing else is done meanwhile.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);

/// Commits the ends of all partitions of these topics, unless the group has committed something of them before.
/// A partition of which nobody tells where it ends is read from its beginning; where `is_patient`, that is an
/// error instead, to be tried again.
///
/// Of members that start together, each may do so until the first of them joins: a group that has members
/// takes offsets from nobody else.
///
/// # Errors
/// Fails if brokers do not answer, or refuse something; nothing is committed then.
pub(super) fn note_ends(
    consumer: &BaseConsumer<Context>,
    topics: &Topics,
    is_patient: bool,
) -> KafkaResult<()> {
    let partitions = partitions(consumer, topics)?;
    if partitions.count() == 0 || has_read(consumer, &partitions)? {
        return Ok(());
    }
    let mut ends = TopicPartitionList::with_capacity(partitions.count());
    for element in partitions.elements() {
        match consumer.fetch_watermarks(element.topic(), element.partition(), ANSWERED_WITHIN) {
            Ok((_, end)) => {
                ends.add_partition_offset(element.topic(), element.partition(), Offset::Offset(end))?;
            }
            Err(error) if is_patient => return Err(error),
            Err(error) => {
                let (topic, partition) = (element.topic(), element.partition());
                let error = &error as &dyn std::error::Error;
                tracing::warn!(
                    topic,
                    partition,
                    error,
                    "read from its beginning: nobody tells where it ends"
                );
            }
        }
    }
    // Somebody else may have begun while the ends were asked for, which takes its time.
    if ends.count() == 0 || has_read(consumer, &partitions)? {
        return Ok(());
    }
    tracing::info!(
        partitions = ends.count(),
        "the group has never read these topics: it begins at their ends"
    );
    match consumer.commit(&ends, CommitMode::Sync) {
        Err(error) if error.rdkafka_error_code().is_some_and(is_joined) => Ok(()),
        result => result,
    }
}

/// Whether the group has committed something of any of these.
fn has_read(consumer: &BaseConsumer<Context>, partitions: &TopicPartitionList) -> KafkaResult<bool> {
    let committed = consumer.committed_offsets(partitions.clone(), ANSWERED_WITHIN)?;
    let mut has_read = false;
    for element in committed.elements() {
        element.error()?;
        has_read |= matches!(element.offset(), Offset::Offset(_));
    }
    Ok(has_read)
}

fn partitions(consumer: &BaseConsumer<Context>, topics: &Topics) -> KafkaResult<TopicPartitionList> {
    let metadata = consumer.fetch_metadata(None, ANSWERED_WITHIN)?;
    let mut partitions = TopicPartitionList::new();
    for topic in metadata.topics().iter().filter(|topic| topics.matching(topic.name())) {
        for partition in topic.partitions() {
            partitions.add_partition(topic.name(), partition.id());
        }
    }
    Ok(partitions)
}

/// True if offsets are refused as the group has members, who have begun.
fn is_joined(code: Code) -> bool {
    matches!(code, Code::UnknownMemberId | Code::IllegalGeneration | Code::RebalanceInProgress)
}
