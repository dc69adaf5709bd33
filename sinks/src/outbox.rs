//! What the store, those who fill it and those who empty it owe each other.
//!
//! **Invariant:** what `Store::write` has answered for survives a loss of power; what a sink
//! has not acknowledged by moving its cursor is given to it again.

use std::future::Future;

use serde::{Deserialize, Serialize};

use crate::store::StoreError;

/// What one batch of events gave: durable all together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// Alerts, in the order they were given.
    pub alerts: Vec<NewAlert>,
    /// Matches of rules that correlations want.
    pub matches: Vec<NewMatch>,
    /// What could not be read.
    pub quarantined: Vec<Quarantined>,
    /// How far sources are, by name: they read on from here after a restart.
    pub positions: Vec<(String, Vec<u8>)>,
}

impl Entry {
    /// True if nothing has to be made durable.
    pub fn is_empty(&self) -> bool {
        self.alerts.is_empty()
            && self.matches.is_empty()
            && self.quarantined.is_empty()
            && self.positions.is_empty()
    }
}

/// An alert that is to be stored.
#[derive(Clone, Debug)]
pub struct NewAlert {
    /// The same for the same rule and request: storing it twice is a no-op.
    pub id: u128,
    /// What sinks are chosen by.
    pub route: Route,
    /// The alert as one line of JSON, without line break.
    pub json: String,
}

/// What is known of an alert without reading it: what routes ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The rule's id.
    pub rule: String,
    /// The rule's level: `informational`, `low`, `medium`, `high`, `critical`.
    pub level: String,
    /// The rule's tags.
    pub tags: Vec<String>,
    /// The cluster.
    pub cluster: String,
    /// The namespace of the object, if it has one.
    pub namespace: Option<String>,
    /// The effective user.
    pub actor: String,
}

/// A match that correlations count.
#[derive(Clone, Debug)]
pub struct NewMatch {
    /// The same for the same rule and request: counted once.
    pub id: u128,
    /// The cluster.
    pub cluster: String,
    /// When the request was received: microseconds since 1970.
    pub time_us: i64,
    /// Until when a window may want it: microseconds since 1970, in event time.
    pub until_us: i64,
    /// What the correlator reads; its form is the detection's own.
    pub body: Vec<u8>,
}

/// What was received and is no event.
#[derive(Clone, Debug)]
pub struct Quarantined {
    /// The cluster.
    pub cluster: String,
    /// Where it came from: the name of the source.
    pub source: String,
    /// Where in what was received: a byte offset, a line, an offset in a partition.
    pub place: String,
    /// What is wrong.
    pub reason: String,
    /// The beginning of it, at most [`QUARANTINED_BYTES_MAX`].
    pub bytes: Vec<u8>,
}

/// How much of what is no event is kept.
pub const QUARANTINED_BYTES_MAX: usize = 64 * 1024;

/// What of an entry was new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// By alert of the entry: whether it was not stored before.
    pub new_alerts: Vec<bool>,
    /// By match of the entry: whether it was not stored before.
    pub new_matches: Vec<bool>,
}

/// An alert on its way to a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Its place among all alerts: dense, from 1, never used again.
    pub number: u64,
    /// The alert's id.
    pub id: u128,
    /// What sinks are chosen by.
    pub route: Route,
    /// The alert as one line of JSON, without line break.
    pub json: String,
}

/// How far a sink is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The number of the last alert that it is done with: delivered, dead, or not for it.
    pub number: u64,
    /// How many it has delivered.
    pub delivered: u64,
    /// How many it refused for good.
    pub dead: u64,
    /// How many routes kept from it.
    pub unrouted: u64,
    /// What the sink itself remembers, such as an offset in its file.
    pub memo: Option<String>,
}

/// An alert that a sink refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The sink's name.
    pub sink: String,
    /// The alert's number.
    pub number: u64,
    /// Why, as the sink said it, shortened and cleaned.
    pub reason: String,
}

/// The store as delivery sees it.
pub trait Outbox: Send + Sync + 'static {
    /// The alerts behind `after`, in order, at most `count_max` of them and about `bytes_max`
    /// bytes of JSON (at least one alert, however large).
    fn pending(
        &self,
        after: u64,
        count_max: usize,
        bytes_max: usize,
    ) -> impl Future<Output = Result<Vec<Outgoing>, StoreError>> + Send;

    /// The cursor of a sink; of a new sink, one that begins with the oldest alert there is.
    fn cursor(&self, sink: &str) -> impl Future<Output = Result<Cursor, StoreError>> + Send;

    /// Notes how far a sink is, with what it refused since; durable when this returns.
    fn advance(
        &self,
        sink: &str,
        cursor: &Cursor,
        dead: Vec<DeadLetter>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The number of the latest alert that is durable, and a way to wait for the next.
    fn latest(&self) -> tokio::sync::watch::Receiver<u64>;
}
