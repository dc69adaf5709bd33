//! Events on their way to the store: what some of them gave, durable all together.

use std::collections::HashSet;

use detect::{Alert, Event, Observed, Scratch};
use ingest::Malformed;
use sinks::outbox::{Entry, NewAlert, NewMatch, QUARANTINED_BYTES_MAX, Quarantined, Route};
use sinks::palette::level_name;

use super::Current;
use crate::period::Period;

/// How much is made durable at once, roughly: an alert repeats its event.
const PART_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How many items of one part are set aside one by one, the rest being told in one sentence. Batches of an
/// API server have none, and whatever else is posted has nothing but such items: each costs a row, and all
/// that wait for the store would wait for them.
const QUARANTINED_MAX: u64 = 100;

/// What some events of one cluster gave.
pub(crate) struct Part<'c> {
    current: &'c Current,
    pub(crate) cluster: &'c str,
    source: &'c str,
    /// Where in the source the events begin, for people.
    place: Option<&'c str>,
    pub(crate) entry: Entry,
    /// By match of the entry: what the correlator is to be given once it is durable.
    pub(crate) observed: Vec<Observed>,
    pub(crate) event_count: u64,
    /// How many items are no events.
    pub(crate) quarantined_count: u64,
    /// Where the first of them is that is not set aside by itself.
    rest_at: Option<String>,
    /// When the events happened, as the API server says.
    pub(crate) period: Period,
    bytes: usize,
    /// What the part has given already: stages of a request follow one another.
    seen: HashSet<u128>,
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
            entry: Entry::default(),
            observed: Vec::new(),
            event_count: 0,
            quarantined_count: 0,
            rest_at: None,
            period: Period::default(),
            bytes: 0,
            seen: HashSet::new(),
        }
    }

    /// True if it is to be made durable before more is added.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= PART_BYTES_MAX
    }

    /// Evaluates an event.
    pub(crate) fn add(&mut self, event: &Event<'_>, scratch: &mut Scratch) {
        self.event_count += 1;
        self.period.add(event);
        let Self { current, cluster, seen, entry, observed, bytes, .. } = self;
        let is_new = |id| seen.insert(id);
        current.detection.sightings(event, scratch, cluster, is_new, |sighting| {
            if let Some(alert) = sighting.alert {
                let new = new_alert(&alert, sighting.id);
                *bytes += new.json.len();
                entry.alerts.push(new);
            }
            if let Some(found) = sighting.observed {
                let new = new_match(&found, sighting.id, cluster);
                *bytes += new.as_ref().map_or(0, |new| new.body.len());
                // What no window wants is not kept, but counted.
                if let Some(new) = new {
                    entry.matches.push(new);
                    observed.push(*found);
                }
            }
        });
    }

    /// Sets aside what is no event; `bytes` gives the beginning of it, without secrets.
    pub(crate) fn quarantine(&mut self, malformed: &Malformed, bytes: impl FnOnce() -> Vec<u8>) {
        self.quarantined_count += 1;
        let place = || match self.place {
            Some(place) => format!("{place} + {}", malformed.offset),
            None => format!("line {}, byte {}", malformed.line, malformed.offset),
        };
        if self.quarantined_count > QUARANTINED_MAX {
            self.rest_at.get_or_insert_with(place);
            return;
        }
        let item = self.quarantined(place(), malformed.kind.to_string(), bytes());
        self.bytes += item.bytes.len();
        self.entry.quarantined.push(item);
    }

    /// Sets aside, as one, the items that were too many to be set aside by themselves.
    pub(crate) fn close(&mut self) {
        if let Some(place) = self.rest_at.take() {
            let count = self.quarantined_count - QUARANTINED_MAX;
            let item =
                self.quarantined(place, format!("{count} more items from here on are no events"), Vec::new());
            self.entry.quarantined.push(item);
        }
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
