//! Asks the engine about events: what a thread can do on its own, whatever the others do.

use std::collections::HashSet;

use chrono::Utc;
use detect::alert::{RawEvent, id_of};
use detect::event::Spans;
use detect::sigma::{Rule, correlation};
use detect::{Alert, Engine, Event, Scratch};
use ingest::{Chunk, ChunkEnd, ChunkFrames, Counts, EVENT_BYTES_MAX, Frame, Log, Malformed};

use crate::period::Period;

/// What an alert takes beyond its event, roughly.
const ALERT_BYTES: usize = 2048;

/// What a malformed item takes, roughly.
const MALFORMED_BYTES: usize = 128;

/// What a part takes of which nothing is to be told, beside the counts of rules, roughly.
const TALLY_BYTES: usize = 1024;

/// How much of what was found in a chunk may wait for its turn. A chunk that holds more, as only
/// one that was made for it does, is read again when it is its turn, and nothing of it waits.
const FOUND_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How many requests are remembered at most: just to compose fewer alerts that are not told.
const SEEN_MAX: usize = 1 << 16;

/// How much of a log a part is about, or what it holds.
const PART_BYTES: usize = 1024 * 1024;

/// What events of one cluster are looked at with. Shared by threads.
#[derive(Debug)]
pub(crate) struct Detection {
    /// The rules.
    pub(crate) engine: Engine,
    /// Whose log it is.
    pub(crate) cluster: String,
    /// By rule: whether it only serves correlations.
    silent: Vec<bool>,
    raw: RawEvent,
}

impl Detection {
    pub(crate) fn new(engine: Engine, cluster: &str, raw: RawEvent) -> Self {
        let silent = correlation::silent(engine.rules());
        Self { engine, cluster: cluster.to_owned(), silent, raw }
    }

    /// The rules in the order of their numbers.
    pub(crate) fn rules(&self) -> &[Rule] {
        self.engine.rules()
    }

    /// Whether a rule only serves correlations.
    pub(crate) fn is_silent(&self, rule: usize) -> bool {
        self.silent.get(rule).is_some_and(|is_silent| *is_silent)
    }
}

/// That an event satisfies a rule. If it is the first of its request to do so, the alert is
/// to be told and correlations are to know.
#[derive(Debug)]
pub(crate) struct Sighting {
    /// The rule's number.
    pub(crate) rule: usize,
    /// The same for all stages of a request.
    pub(crate) id: u128,
    /// Nothing for rules that only serve correlations.
    pub(crate) alert: Option<Box<Alert>>,
}

/// An event that satisfies rules, and where it lies.
pub(crate) struct Sighted {
    start: usize,
    length: usize,
    spans: Spans,
    pub(crate) sightings: Vec<Sighting>,
}

impl Sighted {
    /// The event, from the bytes of its chunk or part.
    pub(crate) fn event<'b>(&self, bytes: &'b [u8]) -> Event<'b> {
        let raw = bytes.get(self.start..self.start + self.length);
        Event::with_spans(raw.unwrap_or_default(), self.spans)
    }
}

/// What has to be taken in the order of the log.
pub(crate) enum Finding {
    Sighted(Box<Sighted>),
    /// Its line is counted from the beginning of the chunk, or of the log that has parts.
    Malformed(Malformed),
}

/// A chunk that was read on its own, and what it gave.
pub(crate) struct Examined {
    pub(crate) chunk: Chunk,
    pub(crate) end: ChunkEnd,
    pub(crate) findings: Vec<Finding>,
    pub(crate) tally: EventTally,
}

/// A part of a log that one thread reads alone: what it gave, and only the events of that.
#[derive(Default)]
pub(crate) struct Part {
    pub(crate) findings: Vec<Finding>,
    /// The events of the findings.
    pub(crate) bytes: Vec<u8>,
    pub(crate) tally: EventTally,
    /// How much memory it takes, roughly.
    pub(crate) held_bytes: usize,
    pub(crate) is_last: bool,
}

impl Examined {
    /// A chunk at which nobody has looked.
    pub(crate) fn unread(chunk: Chunk) -> Self {
        Self { chunk, end: ChunkEnd::UNKNOWN, findings: Vec::new(), tally: EventTally::default() }
    }
}

/// What was counted in some events.
#[derive(Debug, Default)]
pub(crate) struct EventTally {
    pub(crate) counts: Counts,
    pub(crate) period: Period,
    /// By rule: events that hid what it reads.
    pub(crate) blind_counts: Vec<u64>,
}

impl Part {
    fn with(self, tally: EventTally) -> Self {
        let held_bytes = self.held_bytes + TALLY_BYTES + size_of_val(&tally.blind_counts[..]);
        Self { tally, held_bytes, ..self }
    }

    fn add(&mut self, sightings: Vec<Sighting>, event: &Event<'_>) {
        if sightings.is_empty() {
            return;
        }
        let (start, length) = (self.bytes.len(), event.raw().len());
        self.bytes.extend_from_slice(event.raw());
        self.held_bytes += held_bytes(&sightings, length);
        let sighted = Sighted { start, length, spans: event.spans(), sightings };
        self.findings.push(Finding::Sighted(Box::new(sighted)));
    }
}

/// How much memory is taken by what an event of some bytes gave, roughly: an alert repeats the event.
fn held_bytes(sightings: &[Sighting], event_bytes: usize) -> usize {
    (1 + sightings.len()) * (event_bytes + ALERT_BYTES)
}

/// What one thread asks the engine with.
pub(crate) struct Examiner {
    detection: &'static Detection,
    scratch: Scratch,
    period: Period,
    /// What the chunk has given already: stages of a request follow one another.
    seen: HashSet<u128>,
}

impl Examiner {
    pub(crate) fn new(detection: &'static Detection) -> Self {
        let scratch = detection.engine.scratch();
        Self { detection, scratch, period: Period::default(), seen: HashSet::new() }
    }

    /// Looks at every event of a chunk, unless too much is found.
    pub(crate) fn examine(&mut self, chunk: Chunk) -> Examined {
        let chunk_offset = chunk.offset();
        let mut frames = ChunkFrames::new(chunk, EVENT_BYTES_MAX);
        let mut findings = Vec::new();
        let mut found_bytes = 0;
        while let Some(frame) = frames.next() {
            match frame {
                Frame::Event { event, offset } => {
                    let sightings = self.sightings(&event);
                    if !sightings.is_empty() {
                        // Invariant: an event lies in its chunk, which is in memory.
                        let start = usize::try_from(offset - chunk_offset).unwrap_or(usize::MAX);
                        let (length, spans) = (event.raw().len(), event.spans());
                        found_bytes += held_bytes(&sightings, length);
                        findings.push(Finding::Sighted(Box::new(Sighted {
                            start,
                            length,
                            spans,
                            sightings,
                        })));
                    }
                }
                Frame::Malformed(malformed) => {
                    found_bytes += MALFORMED_BYTES;
                    findings.push(Finding::Malformed(malformed));
                }
            }
            if found_bytes > FOUND_BYTES_MAX {
                self.tally(Counts::default());
                return Examined::unread(frames.finish().0);
            }
        }
        let tally = self.tally(frames.counts());
        let (chunk, end) = frames.finish();
        Examined { chunk, end, findings, tally }
    }

    /// Looks at every event of a log and gives its parts to `give`, which says whether to go
    /// on, as does this.
    pub(crate) fn read(&mut self, mut log: Log, mut give: impl FnMut(Part) -> bool) -> bool {
        let mut part = Part::default();
        let mut read_bytes = 0;
        while let Some(frame) = log.next() {
            match frame {
                Frame::Event { event, .. } => {
                    read_bytes += event.raw().len();
                    part.add(self.sightings(&event), &event);
                }
                Frame::Malformed(malformed) => {
                    read_bytes += usize::try_from(malformed.bytes).unwrap_or(usize::MAX).min(PART_BYTES);
                    part.held_bytes += MALFORMED_BYTES;
                    part.findings.push(Finding::Malformed(malformed));
                }
            }
            if read_bytes.max(part.held_bytes) >= PART_BYTES {
                read_bytes = 0;
                let tally = self.tally(log.take_counts());
                if !give(std::mem::take(&mut part).with(tally)) {
                    return false;
                }
            }
        }
        let tally = self.tally(log.take_counts());
        give(Part { is_last: true, ..part.with(tally) })
    }

    /// The rules that an event satisfies.
    pub(crate) fn sightings(&mut self, event: &Event<'_>) -> Vec<Sighting> {
        self.period.add(event);
        let Detection { engine, cluster, silent, raw } = self.detection;
        let mut sightings = Vec::new();
        engine.evaluate(event, &mut self.scratch, |found| {
            let rule = found.rule;
            let id = id_of(&engine.rules()[rule], cluster, event);
            if self.seen.len() >= SEEN_MAX {
                self.seen.clear();
            }
            if !self.seen.insert(id) {
                return;
            }
            let compose = || Box::new(Alert::new(engine, &found, event, cluster, Utc::now(), *raw));
            sightings.push(Sighting { rule, id, alert: (!silent[rule]).then(compose) });
        });
        sightings
    }

    /// What was counted since this was last asked, of which `counts` are the frames.
    pub(crate) fn tally(&mut self, counts: Counts) -> EventTally {
        self.seen.clear();
        let fresh = vec![0; self.scratch.blind_counts.len()];
        let blind_counts = std::mem::replace(&mut self.scratch.blind_counts, fresh);
        EventTally { counts, period: std::mem::take(&mut self.period), blind_counts }
    }
}
