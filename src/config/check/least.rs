//! The least that makes sense: below, what is configured would work against its purpose.

use super::super::units::{Size, Timespan};

/// A least value, and what is wrong with anything below.
#[derive(Clone, Copy)]
pub(super) struct Least<T> {
    pub(super) value: T,
    pub(super) complaint: &'static str,
}

const fn time(seconds: u64, complaint: &'static str) -> Least<Timespan> {
    Least { value: Timespan::seconds(seconds), complaint }
}

const fn room(kibibytes: u64, complaint: &'static str) -> Least<Size> {
    Least { value: Size(kibibytes << 10), complaint }
}

/// Batches are sent again for minutes, by proxies and shippers for longer.
pub(super) const RETENTION_AGE: Least<Timespan> =
    time(3600, "alerts would be forgotten before their events have come for the last time");
/// A busy hour of alerts.
pub(super) const RETENTION_SIZE: Least<Size> = room(16 << 10, "hardly an alert could be kept");
/// Each is stored and sent to every sink that wants it.
pub(super) const CHECKPOINT_EVERY: Least<Timespan> = time(60, "there would be more checkpoints than alerts");
/// API servers collect events for up to 30 s, and quiet clusters have pauses.
pub(super) const SILENCE: Least<Timespan> = time(60, "every pause would be an alert");
/// A handshake takes a part of it.
pub(super) const CONNECTION_AGE: Least<Timespan> = time(10, "connections would do little but begin");
/// A slow system behind a proxy.
pub(super) const SINK_TIMEOUT: Least<Timespan> = time(1, "hardly a request would be answered in time");
/// Files are listed at each rotation.
pub(super) const ROTATE_AGE: Least<Timespan> = time(60, "there would be more files than alerts");
/// An alert takes some KiB.
pub(super) const ROTATE_SIZE: Least<Size> = room(64, "each alert would have a file of its own");
/// One collected body may take 4 MiB, and one client has half of all.
pub(super) const MEMORY: Least<Size> = room(8 << 10, "hardly a body could be held");
/// A batch of 400 events.
pub(super) const BODY: Least<Size> = room(1 << 10, "hardly a batch would be taken whole");
/// A batch of messages takes up to 2 MiB, and the next one is gathered meanwhile.
#[cfg(feature = "kafka")]
pub(super) const KAFKA_MEMORY: Least<Size> = room(4 << 10, "reading would stop behind every batch");
