//! Asks the engine about events: what a thread can do on its own, whatever the others do.

use std::collections::HashSet;

use chrono::Utc;
use detect::alert::{MatchIds, RawEvent, RequestIdentity};
use detect::carrying::carriers;
use detect::field::View;
use detect::redact::Redactor;
use detect::sigma::Rule;
use detect::{Alert, Engine, Episode, Event, Match, Observed, Relations, Scratch};
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

/// What events are looked at with. Shared by threads.
#[derive(Debug)]
pub(crate) struct Detection {
    /// The rules.
    pub(crate) engine: Engine,
    /// The correlations among the rules.
    pub(crate) relations: Relations,
    /// Whose logs they are, where they are all of one cluster.
    pub(crate) cluster: String,
    ids: MatchIds,
    raw: RawEvent,
    /// What takes secrets out of alerts, unless they may show them.
    redactor: Option<Redactor>,
}

impl Detection {
    pub(crate) fn new(engine: Engine, cluster: &str, raw: RawEvent) -> Self {
        let ids = MatchIds::of(engine.rules());
        let relations = Relations::new(engine.rules());
        Self { engine, relations, cluster: cluster.to_owned(), ids, raw, redactor: None }
    }

    /// The same with alerts that show no secret.
    pub(crate) fn redacted_by(self, redactor: Redactor) -> Self {
        Self { redactor: Some(redactor), ..self }
    }

    /// The rules in the order of their numbers.
    pub(crate) fn rules(&self) -> &[Rule] {
        self.engine.rules()
    }

    /// Whether a rule only serves correlations.
    pub(crate) fn is_silent(&self, rule: usize) -> bool {
        self.ids.is_silent(rule)
    }

    /// What people are told of an episode in a cluster; nothing of those that only serve other
    /// correlations.
    pub(crate) fn alert_of(&self, episode: &Episode, cluster: &str) -> Option<Alert> {
        if self.is_silent(episode.rule) {
            return None;
        }
        let redacted = self.redactor.as_ref().map(|redactor| redactor.episode(self.rules(), episode));
        Alert::of_episode(self.rules(), redacted.as_ref().unwrap_or(episode), cluster, Utc::now())
    }

    /// Gives what an event of a cluster satisfies to `on_sighting`, in the order of the rules,
    /// except where `is_new` says of an id that it is known already: an alert takes some time
    /// to compose.
    pub(crate) fn sightings(
        &self,
        event: &Event<'_>,
        scratch: &mut Scratch,
        cluster: &str,
        mut is_new: impl FnMut(u128) -> bool,
        mut on_sighting: impl FnMut(Sighting),
    ) {
        let mut matches = Vec::new();
        self.engine.evaluate(event, scratch, |found| matches.push(found));
        if matches.is_empty() {
            return;
        }
        let view = View { event, settings: self.engine.settings() };
        let identity = RequestIdentity::of(cluster, event);
        let mut observer = self.relations.observer(view);
        let mut raws = self.raws(&matches, event, cluster).into_iter();
        let mut redacted = None;
        for found in matches {
            let rule = found.rule;
            // Nobody is told of what only serves correlations.
            let raw = if self.is_silent(rule) { None } else { raws.next() };
            let id = self.ids.id_of(rule, &self.engine.rules()[rule], &identity);
            if !is_new(id) {
                continue;
            }
            let compose = |raw| match &self.redactor {
                Some(redactor) => {
                    let redacted = redacted.get_or_insert_with(|| redactor.redact(event));
                    redacted.alert(&self.engine, &found, event, cluster, Utc::now(), raw)
                }
                None => Alert::new(&self.engine, &found, event, cluster, Utc::now(), raw),
            };
            let alert = raw.map(compose).map(Box::new);
            let observed = observer.observed(rule, &identity).map(Box::new);
            let match_id = self.ids.match_id(rule, &identity);
            on_sighting(Sighting { id, match_id, alert, observed });
        }
    }

    /// By match that people are told of: whether its alert carries the event.
    fn raws(&self, matches: &[Match<'_>], event: &Event<'_>, cluster: &str) -> Vec<RawEvent> {
        let is_told = |found: &&Match<'_>| !self.is_silent(found.rule);
        match self.raw {
            RawEvent::Include => {
                let told: Vec<_> = matches.iter().filter(is_told).collect();
                carriers(&self.engine, &told, event, cluster)
            }
            raw => vec![raw; matches.len()],
        }
    }
}

/// That an event satisfies a rule. If it is the first of its request to do so, the alert is
/// to be told and correlations are to know.
#[derive(Debug)]
pub(crate) struct Sighting {
    /// The same for all stages of a request.
    pub(crate) id: u128,
    /// The same for all stages of a request, whatever other rules there are.
    pub(crate) match_id: u128,
    /// Nothing for rules that only serve correlations.
    pub(crate) alert: Option<Box<Alert>>,
    /// What correlations want of it; nothing for rules that none relates.
    pub(crate) observed: Option<Box<Observed>>,
}

/// What has to be taken in the order of the log.
pub(crate) enum Finding {
    /// What one event satisfies.
    Sighted(Vec<Sighting>),
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

/// What a part of a log gave that one thread reads alone.
#[derive(Default)]
pub(crate) struct Part {
    pub(crate) findings: Vec<Finding>,
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

    fn add(&mut self, sightings: Vec<Sighting>) {
        if sightings.is_empty() {
            return;
        }
        self.held_bytes += held_bytes(&sightings);
        self.findings.push(Finding::Sighted(sightings));
    }
}

/// How much memory is taken by what an event gave, roughly: an alert repeats the event.
fn held_bytes(sightings: &[Sighting]) -> usize {
    let alerts = sightings.iter().filter_map(|sighting| sighting.alert.as_deref());
    let events = alerts.filter_map(|alert| alert.event.as_deref());
    let event_bytes = events.map(|event| event.get().len()).sum::<usize>();
    let observed = sightings.iter().filter_map(|sighting| sighting.observed.as_deref());
    let observed_bytes = observed.map(Observed::bytes).sum::<usize>();
    sightings.len() * ALERT_BYTES + event_bytes + observed_bytes
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
        let mut frames = ChunkFrames::new(chunk, EVENT_BYTES_MAX);
        let mut findings = Vec::new();
        let mut found_bytes = 0;
        while let Some(frame) = frames.next() {
            match frame {
                Frame::Event { event, .. } => {
                    let sightings = self.sightings(&event);
                    if !sightings.is_empty() {
                        found_bytes += held_bytes(&sightings);
                        findings.push(Finding::Sighted(sightings));
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
                    part.add(self.sightings(&event));
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
        let Self { detection, scratch, seen, .. } = self;
        let is_new = |id| {
            if seen.len() >= SEEN_MAX {
                seen.clear();
            }
            seen.insert(id)
        };
        let mut sightings = Vec::new();
        let on_sighting = |sighting| sightings.push(sighting);
        detection.sightings(event, scratch, &detection.cluster, is_new, on_sighting);
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
