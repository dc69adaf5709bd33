//! Events on their way to the store: what some of them gave, durable all together.

use std::collections::HashSet;

use detect::{Alert, Event, Observed, Scratch};
use ingest::Malformed;
use metrics::counter;
use sinks::outbox::{Entry, NewAlert, NewMatch, QUARANTINED_BYTES_MAX, Quarantined, Route};
use sinks::palette::level_name;

use super::Current;
use super::clusters::is_from_the_future;
use crate::period::Period;

/// How much is made durable at once, roughly: an alert repeats its event.
pub(super) const PART_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How many items of one part are set aside one by one, the rest being told in one sentence. Batches of an
/// API server have none, and whatever else is posted has nothing but such items: each costs a row, and all
/// that wait for the store would wait for them.
const QUARANTINED_MAX: u64 = 100;

/// Some events of one cluster, being evaluated.
pub(crate) struct Part<'c> {
    current: &'c Current,
    pub(super) cluster: &'c str,
    pub(super) source: &'c str,
    /// Where in the source the events begin, for people.
    place: Option<&'c str>,
    given: Given,
    /// Where the first item is that is no event and not set aside by itself.
    rest_at: Option<String>,
    bytes: usize,
    /// What the part has given already: stages of a request follow one another.
    seen: HashSet<u128>,
}

/// What some events of one cluster gave, to be made durable all together.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub(crate) entry: Entry,
    /// By match of the entry: what the correlator is to be given once it is durable.
    pub(crate) observed: Vec<Observed>,
    pub(crate) event_count: u64,
    /// How many items are no events.
    pub(crate) quarantined_count: u64,
    /// How many matches are left out, as their time is yet to come.
    pub(crate) future_count: u64,
    /// When the events happened, as the API server says.
    pub(crate) period: Period,
    /// By rule: how many events hid what it reads.
    pub(crate) blind_counts: Vec<u64>,
}

impl Given {
    /// Takes what the next events gave.
    fn append(&mut self, next: Self) {
        let Self { entry, observed, event_count, quarantined_count, future_count, period, blind_counts } =
            next;
        self.entry.alerts.extend(entry.alerts);
        self.entry.matches.extend(entry.matches);
        self.entry.quarantined.extend(entry.quarantined);
        self.entry.positions.extend(entry.positions);
        self.observed.extend(observed);
        self.event_count += event_count;
        self.quarantined_count += quarantined_count;
        self.future_count += future_count;
        self.period.merge(&period);
        add_to(&mut self.blind_counts, &blind_counts);
    }
}

/// Adds counts to others; those that are missing are zero.
fn add_to(totals: &mut Vec<u64>, counts: &[u64]) {
    totals.resize(totals.len().max(counts.len()), 0);
    totals.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
}

impl<'c> Part<'c> {
    pub(crate) fn new(
        current: &'c Current,
        cluster: &'c str,
        source: &'c str,
        place: Option<&'c str>,
    ) -> Self {
        Self {
            current,
            cluster,
            source,
            place,
            given: Given::default(),
            rest_at: None,
            bytes: 0,
            seen: HashSet::new(),
        }
    }

    /// True if it is to be made durable before more is added.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= PART_BYTES_MAX
    }

    /// How much is to be made durable, roughly, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Evaluates an event.
    pub(crate) fn add(&mut self, event: &Event<'_>, scratch: &mut Scratch) {
        self.given.event_count += 1;
        self.given.period.add(event);
        let Self {
            current, cluster, seen, given: Given { entry, observed, future_count, .. }, bytes, ..
        } = self;
        let is_new = |id| seen.insert(id);
        current.detection.sightings(event, scratch, cluster, is_new, |sighting| {
            if let Some(alert) = sighting.alert {
                if alert.event_in.is_some() {
                    counter!("masthead_alerts_without_event_total").increment(1);
                }
                let new = new_alert(&alert, sighting.id);
                *bytes += new.json.len();
                entry.alerts.push(new);
            }
            let Some(found) = sighting.observed else { return };
            if found.time_us().is_some_and(is_from_the_future) {
                *future_count += 1;
                return;
            }
            let new = new_match(&found, sighting.match_id, cluster);
            *bytes += new.as_ref().map_or(0, |new| new.body.len());
            // What no window wants is not kept, but counted.
            if let Some(new) = new {
                entry.matches.push(new);
                observed.push(*found);
            }
        });
    }

    /// Takes what the next events gave, roughly `bytes`. What both gave is there twice, and the store knows it
    /// by its id.
    pub(crate) fn append(&mut self, next: Given, bytes: usize) {
        self.bytes += bytes;
        self.given.append(next);
    }

    /// Adds, by rule, how many events hid what it reads.
    pub(crate) fn note_blind(&mut self, blind_counts: &[u64]) {
        add_to(&mut self.given.blind_counts, blind_counts);
    }

    /// Keeps how far the source is once this is durable, and under which name it asks for that.
    pub(crate) fn reach(&mut self, position: Option<(String, Vec<u8>)>) {
        self.given.entry.positions.extend(position);
    }

    /// Sets aside what is no event; `bytes` gives the beginning of it, without secrets.
    pub(crate) fn quarantine(&mut self, malformed: &Malformed, bytes: impl FnOnce() -> Vec<u8>) {
        self.given.quarantined_count += 1;
        let place = || match self.place {
            Some(place) => format!("{place} + {}", malformed.offset),
            None => format!("line {}, byte {}", malformed.line, malformed.offset),
        };
        if self.given.quarantined_count > QUARANTINED_MAX {
            self.rest_at.get_or_insert_with(place);
            return;
        }
        let item = self.quarantined(place(), malformed.kind.to_string(), bytes());
        self.bytes += item.bytes.len();
        self.given.entry.quarantined.push(item);
    }

    /// Sets aside so many items as one, at a place of its own.
    #[cfg(feature = "kafka")]
    pub(crate) fn set_aside(&mut self, count: u64, place: String, reason: String, bytes: Vec<u8>) {
        self.given.quarantined_count += count;
        let item = self.quarantined(place, reason, bytes);
        self.bytes += item.bytes.len() + item.place.len() + item.reason.len();
        self.given.entry.quarantined.push(item);
    }

    /// What all of them gave. Sets aside, as one, the items that were too many to be set aside by themselves.
    pub(crate) fn close(mut self) -> Given {
        if let Some(place) = self.rest_at.take() {
            let count = self.given.quarantined_count - QUARANTINED_MAX;
            let item =
                self.quarantined(place, format!("{count} more items from here on are no events"), Vec::new());
            self.given.entry.quarantined.push(item);
        }
        self.given
    }

    fn quarantined(&self, place: String, reason: String, mut bytes: Vec<u8>) -> Quarantined {
        bytes.truncate(QUARANTINED_BYTES_MAX);
        Quarantined { cluster: self.cluster.to_owned(), source: self.source.to_owned(), place, reason, bytes }
    }
}

/// An alert as it is stored.
pub(crate) fn new_alert(alert: &Alert, id: u128) -> NewAlert {
    let (namespace, actor) = alert.request().map_or((None, String::new()), |request| {
        (request.target.namespace.clone(), request.actor.name.clone())
    });
    let route = Route {
        rule: alert.rule.id.clone(),
        level: level_name(alert.rule.level).to_owned(),
        tags: alert.rule.tags.clone(),
        cluster: alert.cluster.clone(),
        namespace,
        actor,
    };
    NewAlert { id, route, json: sinks::json_line(alert) }
}

/// A match as it is stored; nothing if no correlation will ever want it.
fn new_match(observed: &Observed, id: u128, cluster: &str) -> Option<NewMatch> {
    Some(NewMatch {
        id,
        cluster: cluster.to_owned(),
        time_us: observed.time_us()?,
        until_us: observed.until_us()?,
        body: observed.to_bytes(),
    })
}
