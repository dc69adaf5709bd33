//! A batch that lies in memory: found event by event, evaluated by all threads that are free.
//!
//! **Invariant:** it gives what evaluating it event by event would give, in that order. What it has given
//! and nobody has taken is bounded, whatever it holds.

use std::collections::VecDeque;
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use detect::Event;
use detect::event::Spans;
use detect::redact::Redactor;
use ingest::{Counts, Frame, Frames};
use rayon::prelude::*;

use super::Current;
use super::part::{Given, PART_BYTES_MAX, Part};

/// How many events are found before they are evaluated: a batch of the usual size. Where an event begins
/// and what lies where in it takes some hundred bytes, and the smallest events take less.
const FOUND_MAX: usize = 512;

/// How many bytes may have been copied out of the batch before what was found is evaluated.
const COPIED_BYTES_MAX: usize = 1024 * 1024;

/// How many events one thread evaluates before another may take the next ones: few enough that all threads
/// are done at about the same time, and many enough that handing them over does not show.
const PIECE_EVENTS: usize = 40;

/// What the events of one piece may give before the rest has to wait for its turn: all pieces together hold
/// no more than is made durable at once.
const PIECE_BYTES_MAX: usize = PART_BYTES_MAX / FOUND_MAX.div_ceil(PIECE_EVENTS);

/// A batch, and how far it has been evaluated.
pub(crate) struct Batch<R> {
    frames: Frames<R>,
    current: Arc<Current>,
    redactor: Redactor,
    source: Arc<str>,
    cluster: Arc<str>,
    /// The events found last.
    found: Vec<Found>,
    /// What they gave, as far as nobody has taken it.
    pieces: VecDeque<Piece>,
}

/// An event that was found.
struct Found {
    bytes: Bytes,
    spans: Spans,
}

/// Where the bytes of an event are.
enum Bytes {
    /// In the batch.
    There(Range<usize>),
    /// Nowhere in the batch as they are.
    Own(Vec<u8>),
}

/// What events next to each other gave.
struct Piece {
    given: Given,
    /// How much that is, roughly.
    bytes: usize,
    /// Which events behind them are still to be evaluated.
    rest: Range<usize>,
}

impl<R: Read + Sync> Batch<R> {
    /// Begins with the events of a cluster, whose bytes are all in `frames`.
    pub(crate) fn new(
        frames: Frames<R>,
        current: Arc<Current>,
        redactor: Redactor,
        source: Arc<str>,
        cluster: Arc<str>,
    ) -> Self {
        let (found, pieces) = (Vec::with_capacity(FOUND_MAX), VecDeque::new());
        Self { frames, current, redactor, source, cluster, found, pieces }
    }

    /// What has been found.
    pub(crate) fn counts(&self) -> Counts {
        self.frames.counts()
    }

    /// The frames, of which no more is wanted.
    pub(crate) fn into_frames(self) -> Frames<R> {
        self.frames
    }

    /// Evaluates until there is much to be made durable, or all of it: then the second is true. For a thread
    /// of [`Evaluators`](super::evaluators::Evaluators), so that the others help.
    pub(crate) fn next(&mut self) -> (Given, bool) {
        let Self { frames, current, redactor, source, cluster, found, pieces } = self;
        let mut part = Part::new(current, cluster, source, None);
        while !part.is_full() {
            if let Some(mut piece) = pieces.pop_front() {
                part.append(piece.given, piece.bytes);
                let events = Events { found, bytes: frames.bytes() };
                piece.rest = events.evaluate(piece.rest, current, &mut part, PART_BYTES_MAX);
                if !piece.rest.is_empty() {
                    pieces.push_front(Piece { given: Given::default(), bytes: 0, ..piece });
                }
                continue;
            }
            found.clear();
            let is_end = find(frames, found, &mut part, redactor);
            if found.is_empty() {
                if is_end {
                    return (part.close(), true);
                }
                // What is no event has filled the part.
                continue;
            }
            let events = Events { found, bytes: frames.bytes() };
            let evaluate = |events: Events<'_>, range| {
                let mut part = Part::new(current, cluster, source, None);
                let rest = events.evaluate(range, current, &mut part, PIECE_BYTES_MAX);
                Piece { bytes: part.bytes(), given: part.close(), rest }
            };
            pieces.extend(
                events.ranges().into_par_iter().map(|range| evaluate(events, range)).collect::<Vec<_>>(),
            );
        }
        (part.close(), false)
    }
}

/// Events that were found, whose bytes are their own or in `bytes`.
#[derive(Clone, Copy)]
struct Events<'b> {
    found: &'b [Found],
    bytes: &'b [u8],
}

impl Events<'_> {
    /// What one thread takes at a time.
    fn ranges(self) -> Vec<Range<usize>> {
        let count = self.found.len();
        (0..count).step_by(PIECE_EVENTS).map(|start| start..count.min(start + PIECE_EVENTS)).collect()
    }

    /// Evaluates some until a part holds `bytes_max`; gives those that are left.
    fn evaluate(
        self,
        mut range: Range<usize>,
        current: &Current,
        part: &mut Part<'_>,
        bytes_max: usize,
    ) -> Range<usize> {
        if range.is_empty() {
            return range;
        }
        current.with_scratch(|scratch| {
            while let Some(found) = self.found.get(range.start).filter(|_| !range.is_empty()) {
                let raw = match &found.bytes {
                    // Invariant: it was found there.
                    Bytes::There(there) => &self.bytes[there.clone()],
                    Bytes::Own(raw) => raw,
                };
                part.add(&Event::with_spans(raw, found.spans), scratch);
                range.start += 1;
                if part.bytes() >= bytes_max {
                    break;
                }
            }
            part.note_blind(&scratch.blind_counts);
        });
        range
    }
}

/// Finds the next events, and sets aside what is none; true if there is nothing more.
fn find<R: Read>(
    frames: &mut Frames<R>,
    found: &mut Vec<Found>,
    part: &mut Part<'_>,
    redactor: &Redactor,
) -> bool {
    let mut copied_bytes = 0;
    let start = frames.bytes().as_ptr_range().start.addr();
    let end = frames.bytes().len();
    while found.len() < FOUND_MAX && copied_bytes < COPIED_BYTES_MAX && !part.is_full() {
        match frames.next() {
            None => return true,
            Some(Frame::Event { event, .. }) => {
                let at = event.raw().as_ptr().addr().wrapping_sub(start);
                let is_there = at <= end && event.raw().len() <= end - at;
                let bytes = if is_there {
                    Bytes::There(at..at + event.raw().len())
                } else {
                    copied_bytes += event.raw().len();
                    Bytes::Own(event.raw().to_vec())
                };
                found.push(Found { bytes, spans: event.spans() });
            }
            Some(Frame::Malformed(malformed)) => {
                part.quarantine(&malformed, || {
                    redactor.fragment(within(frames.bytes(), malformed.offset, malformed.bytes))
                });
            }
        }
    }
    false
}

/// What lies at an offset, as far as there is anything.
fn within(bytes: &[u8], offset: u64, length: u64) -> &[u8] {
    let end = usize::try_from(offset.saturating_add(length)).unwrap_or(usize::MAX).min(bytes.len());
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(end);
    // Invariant: `start <= end <= bytes.len()`.
    &bytes[start..end]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use detect::field::Settings;
    use detect::sigma;

    use super::*;

    const RULES: &str = "
title: A
id: 6c3b8f0a-0a70-4a53-9b50-5d0e7f6f0a01
logsource: { product: kubernetes, service: audit }
detection: { a: { verb: delete }, condition: a }
level: high
---
title: B
id: 6c3b8f0a-0a70-4a53-9b50-5d0e7f6f0a02
logsource: { product: kubernetes, service: audit }
detection: { a: { requestURI|startswith: /api/1 }, condition: a }
level: low
";

    /// What is stored of a list: ids of alerts, quarantined items, and the counts.
    #[derive(Debug, Default, PartialEq)]
    struct Stored {
        alerts: Vec<String>,
        quarantined: Vec<(String, String, Vec<u8>)>,
        counts: (u64, u64),
    }

    impl Stored {
        fn add(&mut self, given: Given) {
            let Given { entry, event_count, quarantined_count, .. } = given;
            for alert in entry.alerts {
                // The time at which it was found is the only thing that differs.
                let mut value: serde_json::Value = serde_json::from_str(&alert.json).unwrap();
                value["detected_at"] = serde_json::Value::Null;
                self.alerts.push(value.to_string());
            }
            let items = entry.quarantined.into_iter();
            self.quarantined.extend(items.map(|item| (item.place, item.reason, item.bytes)));
            self.counts.0 += event_count;
            self.counts.1 += quarantined_count;
        }
    }

    fn current() -> Arc<Current> {
        let parsed = sigma::parse(Path::new("rules.yml"), RULES);
        assert_eq!(parsed.rules.len(), 2);
        Arc::new(Current::new(parsed.rules, Settings::default(), Redactor::new([7; 32])))
    }

    /// What a list gives, and in how many parts.
    fn taken(list: &str) -> (Stored, usize) {
        let frames = Frames::of_bytes(list.as_bytes().to_vec(), std::io::empty(), list.len());
        let mut batch = Batch::new(frames, current(), Redactor::new([7; 32]), "hook".into(), "lab".into());
        let (mut stored, mut part_count) = (Stored::default(), 0);
        loop {
            let (given, is_all) = batch.next();
            stored.add(given);
            part_count += 1;
            if is_all {
                let counts = batch.counts();
                assert_eq!(counts.events + counts.malformed_total(), stored.counts.0 + stored.counts.1);
                return (stored, part_count);
            }
        }
    }

    /// What it gives event by event.
    fn expected(list: &str) -> Stored {
        let current = current();
        let mut scratch = current.detection.engine.scratch();
        let mut part = Part::new(&current, "lab", "hook", None);
        let mut frames = Frames::new(list.as_bytes());
        while let Some(frame) = frames.next() {
            match frame {
                Frame::Event { event, .. } => part.add(&event, &mut scratch),
                Frame::Malformed(malformed) => {
                    let bytes = within(list.as_bytes(), malformed.offset, malformed.bytes);
                    part.quarantine(&malformed, || Redactor::new([7; 32]).fragment(bytes));
                }
            }
        }
        let mut stored = Stored::default();
        stored.add(part.close());
        stored
    }

    /// A list of events, each with so many bytes to spare, and some items that are none.
    fn list(count: usize, spare_bytes: usize) -> String {
        // A number, in which nobody looks for secrets.
        let spare = "1".repeat(spare_bytes);
        let item = |number: usize| {
            let verb = if number.is_multiple_of(3) { "delete" } else { "get" };
            match number % 97 {
                5 => format!("{number}"),
                6 => format!(r#"{{"no":"event {number}"}}"#),
                _ => format!(
                    r#"{{"level":"Metadata","auditID":"{number}","stage":"ResponseComplete","requestURI":"/api/{number}","verb":"{verb}","spare":0.{spare}}}"#
                ),
            }
        };
        let items: Vec<String> = (0..count).map(item).collect();
        format!(r#"{{"kind":"EventList","items":[{}]}}"#, items.join(","))
    }

    #[test]
    fn a_batch_gives_what_its_events_give_one_by_one() {
        for count in [0, 1, PIECE_EVENTS, PIECE_EVENTS + 1, FOUND_MAX, 3 * FOUND_MAX + 7] {
            let list = list(count, 10);
            let (stored, part_count) = taken(&list);
            assert_eq!(stored, expected(&list));
            assert_eq!(part_count, 1);
            assert_eq!(stored.alerts.len() > count / 4, count > 0);
        }
    }

    #[test]
    fn a_batch_that_gives_much_is_taken_in_parts() {
        let list = list(FOUND_MAX, 3 * PIECE_BYTES_MAX / PIECE_EVENTS);
        let (stored, part_count) = taken(&list);
        assert_eq!(stored, expected(&list));
        assert!(part_count > 1, "{part_count} parts");
    }

    #[test]
    fn events_behind_much_that_is_none_are_found() {
        let odd = format!(r#"{{"a":[{}"x"]}}"#, r#""x","#.repeat(9 * 1024 / 4));
        let event = r#"{"level":"Metadata","auditID":"1","stage":"ResponseComplete","requestURI":"/api/1","verb":"delete"}"#;
        let list = format!("{}{event}", format!("{odd}\n").repeat(90));
        let (stored, part_count) = taken(&list);
        assert_eq!(stored, expected(&list));
        assert_eq!(stored.counts, (1, 90));
        assert!(part_count > 1, "{part_count} parts");
    }
}
