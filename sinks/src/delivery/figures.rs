//! What is known about a sink from outside: how far it is, and whether it is well.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::watch;

use crate::outbox::Cursor;

/// The figures of one sink, kept by its worker.
#[derive(Debug)]
pub struct Figures {
    status: Mutex<Status>,
    latest: watch::Receiver<u64>,
}

/// How a sink is at one moment; the counts belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The number of the last alert that it is done with.
    pub number: u64,
    /// How many it has delivered, ever.
    pub delivered: u64,
    /// How many it refused for good, ever; some may have been delivered since.
    pub dead: u64,
    /// How many routes kept from it, ever.
    pub unrouted: u64,
    /// How many are waiting for it, those included that routes will keep from it.
    pub pending: u64,
    /// How many were gone from the store before it could have them, since the start.
    pub missed: u64,
    /// How many tries failed, since the start.
    pub retries: u64,
    /// Since when nothing could be delivered; nothing if it is well.
    pub failing_since: Option<SystemTime>,
    /// The last thing that went wrong, even if it is well again.
    pub last_error: Option<String>,
}

impl Figures {
    /// Begins the figures of a sink; `latest` is [`Outbox::latest`](crate::outbox::Outbox::latest).
    pub fn new(latest: watch::Receiver<u64>) -> Self {
        Self { status: Mutex::default(), latest }
    }

    /// How the sink is now.
    pub fn status(&self) -> Status {
        let mut status = self.lock().clone();
        status.pending = self.latest.borrow().saturating_sub(status.number);
        status
    }

    pub(super) fn moved(&self, cursor: &Cursor) {
        let mut status = self.lock();
        status.number = cursor.number;
        status.delivered = cursor.delivered;
        status.dead = cursor.dead;
        status.unrouted = cursor.unrouted;
    }

    pub(super) fn missed(&self, count: u64) {
        self.lock().missed += count;
    }

    pub(super) fn failed(&self, reason: &str) {
        let mut status = self.lock();
        status.retries += 1;
        status.last_error = Some(reason.to_owned());
        status.failing_since.get_or_insert_with(SystemTime::now);
    }

    pub(super) fn well(&self) {
        self.lock().failing_since = None;
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
