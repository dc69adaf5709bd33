//! Gathers messages into batches.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use rdkafka::Message as _;
use rdkafka::message::{BorrowedMessage, Headers};

use super::Partition;
use super::batch::{Batch, Item, Run};
use super::desk::{Desk, LOST};

/// How many messages are judged together at most: what they give shares one write to the disk.
const BATCH_MESSAGES_MAX: usize = 2_000;
/// How many bytes of messages are judged together, roughly: one message may be larger.
pub(super) const BATCH_BYTES_MAX: usize = 2 * 1024 * 1024;
/// How long the first message of a batch waits for others.
const LINGER: Duration = Duration::from_millis(5);
/// How many headers of a message are looked at: who sends more does not mean to be understood.
const HEADERS_MAX: usize = 100;

/// A batch that is being gathered.
pub(super) struct Gathering {
    batch: Option<Batch>,
    /// The header that is kept of each message.
    header: Option<String>,
}

impl Gathering {
    pub(super) fn new(header: Option<String>) -> Self {
        Self { batch: None, header }
    }

    /// Adds a message, unless its partition is not this member's.
    pub(super) fn add(&mut self, message: &BorrowedMessage<'_>, desk: &Desk) {
        let batch = self.batch.get_or_insert_with(|| Batch::begin(desk.spare()));
        let Some(run) = run_of(&mut batch.runs, message, desk) else { return };
        let mut keep = |bytes: Option<&[u8]>| -> Option<Range<usize>> {
            let start = batch.bytes.len();
            batch.bytes.extend_from_slice(bytes?);
            Some(start..batch.bytes.len())
        };
        let key = keep(message.key());
        let header = self.header.as_deref().and_then(|name| keep(header(message, name)));
        let value = keep(message.payload());
        let offset = message.offset();
        batch.items.push(Item { run, offset, key, header, value });
        if let Some(run) = batch.runs.get_mut(run) {
            run.end = offset.saturating_add(1);
            run.written_ms = message.timestamp().to_millis().or(run.written_ms);
        }
    }

    /// True if the batch is to be judged now.
    pub(super) fn is_due(&self) -> bool {
        self.batch.as_ref().is_some_and(|batch| is_full(batch) || batch.begun.elapsed() >= LINGER)
    }

    /// True if nothing more is to be added.
    pub(super) fn is_full(&self) -> bool {
        self.batch.as_ref().is_some_and(is_full)
    }

    /// True if there are messages of a partition.
    pub(super) fn has(&self, partition: &Partition) -> bool {
        let runs = self.batch.as_ref().map(|batch| &*batch.runs).unwrap_or_default();
        runs.iter().any(|run| run.partition == *partition && run.assignment != LOST)
    }

    /// How long it may take until the batch is due, if there is one.
    pub(super) fn due_in(&self) -> Option<Duration> {
        self.batch.as_ref().map(|batch| LINGER.saturating_sub(batch.begun.elapsed()))
    }

    /// Gives what was gathered.
    pub(super) fn take(&mut self) -> Option<Batch> {
        self.batch.take().filter(|batch| !batch.items.is_empty())
    }

    /// Lets go of messages whose partition is somebody else's now: they are read there.
    pub(super) fn forget_lost(&mut self, desk: &Desk) {
        let Some(batch) = &mut self.batch else { return };
        for run in &mut batch.runs {
            if desk.assignment(&run.partition) != Some(run.assignment) {
                run.assignment = LOST;
            }
        }
        // Runs stay, as messages know them by their number.
        let Batch { items, runs, .. } = batch;
        items.retain(|item| runs.get(item.run).is_some_and(|run| run.assignment != LOST));
    }
}

fn is_full(batch: &Batch) -> bool {
    batch.items.len() >= BATCH_MESSAGES_MAX || batch.bytes.len() >= BATCH_BYTES_MAX
}

/// The run that a message belongs to: most often that of the message before.
fn run_of(runs: &mut Vec<Run>, message: &BorrowedMessage<'_>, desk: &Desk) -> Option<usize> {
    let (topic, number) = (message.topic(), message.partition());
    let is_it = |run: &Run| {
        run.partition.number == number && *run.partition.topic == *topic && run.assignment != LOST
    };
    if let Some(index) = runs.iter().rposition(is_it) {
        return Some(index);
    }
    let (partition, assignment) = desk.assigned(topic, number)?;
    runs.push(Run { partition, assignment, end: message.offset(), written_ms: None, ticket: None });
    Some(runs.len() - 1)
}

/// The last header of a name.
fn header<'m>(message: &'m BorrowedMessage<'_>, name: &str) -> Option<&'m [u8]> {
    let headers = message.headers()?;
    let count = headers.count().min(HEADERS_MAX);
    (0..count).rev().find_map(|index| {
        // The binding panics on a name that is not UTF-8, which whoever produces is free to send.
        let header = catch_unwind(AssertUnwindSafe(|| headers.try_get(index))).ok().flatten()?;
        header.value.filter(|_| header.key == name)
    })
}

impl Partition {
    pub(super) fn new(topic: &str, number: i32) -> Self {
        Self { topic: topic.into(), number }
    }
}
