//! Asks the engine about events, and remembers what has been alerted about.

use chrono::Utc;
use detect::alert::{RawEvent, id_of};
use detect::{Alert, Engine, Event, Match, Scratch, Seen};

/// The engine with what one thread of events needs around it.
#[derive(Debug)]
pub(crate) struct Detector<'a> {
    engine: &'a Engine,
    scratch: Scratch,
    seen: Seen,
    cluster: &'a str,
    raw: RawEvent,
}

impl<'a> Detector<'a> {
    /// A detector for the events of one cluster.
    pub(crate) fn new(engine: &'a Engine, cluster: &'a str, raw: RawEvent) -> Self {
        Self { engine, scratch: engine.scratch(), seen: Seen::default(), cluster, raw }
    }

    /// The rules that the event satisfies.
    pub(crate) fn matches<'e>(&mut self, event: &'e Event<'e>) -> Vec<Match<'e>>
    where
        'a: 'e,
    {
        let mut matches = Vec::new();
        self.engine.evaluate(event, &mut self.scratch, |found| matches.push(found));
        matches
    }

    /// The alert for a match; nothing if another stage of the request has given it already.
    pub(crate) fn new_alert(&mut self, found: &Match<'_>, event: &Event<'_>) -> Option<Alert> {
        let rule = self.engine.rules().get(found.rule)?;
        if !self.seen.insert(id_of(rule, self.cluster, event)) {
            return None;
        }
        Some(Alert::new(self.engine, found, event, self.cluster, Utc::now(), self.raw))
    }

    /// For each rule, how many events hid what it reads.
    pub(crate) fn blind_counts(&self) -> &[u64] {
        &self.scratch.blind_counts
    }

    /// How many alerts had to be forgotten to bound memory.
    pub(crate) fn forgotten_count(&self) -> u64 {
        self.seen.forgotten_count()
    }
}
