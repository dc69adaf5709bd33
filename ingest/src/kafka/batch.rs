//! Messages that are judged together, out of one or several partitions.

use std::ops::Range;
use std::time::Instant;

use super::{Partition, Ticket};

/// Messages that are judged together; those of a partition are in its order.
#[derive(Debug)]
pub struct Batch {
    /// What all messages are made of, one behind the other.
    pub(super) bytes: Vec<u8>,
    pub(super) items: Vec<Item>,
    pub(super) runs: Vec<Run>,
    /// When the first of them came.
    pub(super) begun: Instant,
}

/// Memory of a batch that is done, for another one: to have the system clear two fresh megabytes for each
/// takes longer than to fill them.
#[derive(Debug, Default)]
pub(super) struct Spare {
    bytes: Vec<u8>,
    items: Vec<Item>,
}

/// Where a message lies in the bytes of its batch.
#[derive(Debug)]
pub(super) struct Item {
    /// Its run among those of the batch.
    pub(super) run: usize,
    pub(super) offset: i64,
    pub(super) key: Option<Range<usize>>,
    pub(super) header: Option<Range<usize>>,
    pub(super) value: Option<Range<usize>>,
}

/// The messages of one partition in a batch.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) partition: Partition,
    /// Which time the partition was assigned.
    pub(super) assignment: u64,
    /// The offset behind the last of them.
    pub(super) end: i64,
    /// When the last of them was written: milliseconds since 1970.
    pub(super) written_ms: Option<i64>,
    /// What they are in flight by; nothing if the partition is somebody else's by now.
    pub(super) ticket: Option<Ticket>,
}

/// One message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'b> {
    /// Where it was read.
    pub partition: &'b Partition,
    /// Which of the partitions of the batch that is, counted from 0.
    pub partition_index: usize,
    /// Its offset there.
    pub offset: i64,
    /// Its key.
    pub key: Option<&'b [u8]>,
    /// The value of the header that was asked for.
    pub header: Option<&'b [u8]>,
    /// Its value; nothing if it is a tombstone.
    pub value: Option<&'b [u8]>,
}

impl Spare {
    /// How many bytes of messages there is room for.
    pub(super) fn room(&self) -> usize {
        self.bytes.capacity()
    }
}

impl Batch {
    /// An empty one, in memory that another one had.
    pub(super) fn begin(spare: Spare) -> Self {
        let Spare { mut bytes, mut items } = spare;
        bytes.clear();
        items.clear();
        Self { bytes, items, runs: Vec::new(), begun: Instant::now() }
    }

    /// Its memory.
    pub(super) fn into_spare(self) -> Spare {
        Spare { bytes: self.bytes, items: self.items }
    }

    /// The messages.
    pub fn messages(&self) -> impl Iterator<Item = Message<'_>> {
        // Invariant: a batch is made of ranges of its own bytes and of numbers of its own runs.
        let bytes = |range: &Range<usize>| &self.bytes[range.clone()];
        self.items.iter().map(move |item| Message {
            partition: &self.runs[item.run].partition,
            partition_index: item.run,
            offset: item.offset,
            key: item.key.as_ref().map(bytes),
            header: item.header.as_ref().map(bytes),
            value: item.value.as_ref().map(bytes),
        })
    }

    /// The partitions that the messages are of.
    pub fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.runs.iter().map(|run| &run.partition)
    }

    /// How many messages there are.
    pub fn message_count(&self) -> usize {
        self.items.len()
    }

    /// When the first message came.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// How many bytes the messages take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }
}
