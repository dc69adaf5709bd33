//! Runs what becomes of an event phase by phase, for a tool that counts instructions.
//!
//! Each phase is a function of its own, named `phase_…`, that a profiler can find; what it
//! needs has been made before. `bench/instructions` runs this under callgrind.
//! **Invariant:** the same log gives the same work in the same order.

use std::hint::black_box;
use std::io::{self, Write};
use std::path::PathBuf;
use std::ptr;

use chrono::{DateTime, Utc};
use clap::Parser;
use detect::alert::{MatchIds, RawEvent, RequestIdentity};
use detect::correlate::{DISORDER, Relations};
use detect::field::View;
use detect::sigma::correlation;
use detect::{Alert, Correlator, Engine, Event, Match, Seen};
use ingest::{Frame, Frames};
use masthead_bench::{engine, recorded};
use sinks::{Jsonl, Sink};

/// The cluster that all events are of.
const CLUSTER: &str = "default";

/// Run what becomes of an event phase by phase, for a tool that counts instructions
#[derive(Parser)]
#[command(name = "phases", version)]
struct Arguments {
    /// Logs: any format, plain or compressed
    #[arg(required = true)]
    logs: Vec<PathBuf>,
}

fn main() -> io::Result<()> {
    let events = recorded(&Arguments::parse().logs)?;
    let log = events.join(&b'\n');
    let engine = engine()?;
    phase_frame(&log);
    let events = parsed(&events)?;
    let matches = phase_evaluate(&engine, &events);
    let are_first = phase_once(&engine, &matches);
    let first: Vec<_> = matches
        .into_iter()
        .zip(are_first)
        .filter_map(|(found, is_first)| is_first.then_some(found))
        .collect();
    let alert_count = phase_alert(&engine, &first);
    let episode_count = phase_correlate(&engine, &first);
    let counts = [events.len(), log.len(), first.len(), alert_count, episode_count];
    writeln!(io::stdout(), "{}", counts.map(|count| count.to_string()).join(" "))
}

/// Cuts the log into events, which scans each of them.
#[inline(never)]
fn phase_frame(log: &[u8]) {
    let mut frames = Frames::new(log);
    while let Some(frame) = frames.next() {
        if let Frame::Event { event, .. } = frame {
            black_box(event.spans());
        }
    }
}

/// The events, ready to be asked about; this is counted where they are cut out of the log.
fn parsed(events: &[Vec<u8>]) -> io::Result<Vec<Event<'_>>> {
    events.iter().map(|raw| Event::parse(raw).map_err(io::Error::other)).collect()
}

/// Asks all rules about every event.
#[inline(never)]
fn phase_evaluate<'e>(engine: &'e Engine, events: &'e [Event<'e>]) -> Vec<Found<'e>> {
    let mut scratch = engine.scratch();
    let mut matches = Vec::new();
    for event in events {
        engine.evaluate(event, &mut scratch, |found| matches.push((found, event)));
    }
    matches
}

/// Matches and the events they are in, those of one event one after the other.
type Found<'e> = (Match<'e>, &'e Event<'e>);

/// The matches of each event.
fn by_event<'m, 'e>(matches: &'m [Found<'e>]) -> impl Iterator<Item = &'m [Found<'e>]> {
    matches.chunk_by(|(_, one), (_, other)| ptr::eq(*one, *other))
}

/// Says of each match whether it has not been found in another stage of the same request.
#[inline(never)]
fn phase_once(engine: &Engine, matches: &[Found<'_>]) -> Vec<bool> {
    let mut seen = Seen::default();
    let ids = MatchIds::of(engine.rules());
    let mut are_first = Vec::with_capacity(matches.len());
    for of_event in by_event(matches) {
        let identity = RequestIdentity::of(CLUSTER, of_event[0].1);
        let id_of = |found: &Match<'_>| ids.id_of(found.rule, &engine.rules()[found.rule], &identity);
        are_first.extend(of_event.iter().map(|(found, _)| seen.insert(id_of(found))));
    }
    are_first
}

/// Makes alerts and writes them.
#[inline(never)]
fn phase_alert(engine: &Engine, matches: &[Found<'_>]) -> usize {
    let silent = correlation::silent(engine.rules());
    let now = DateTime::<Utc>::UNIX_EPOCH;
    let mut sink = Jsonl::new(io::sink());
    let mut count = 0;
    for (found, event) in matches.iter().filter(|(found, _)| !silent[found.rule]) {
        let alert = Alert::new(engine, found, event, CLUSTER, now, RawEvent::Include);
        count += usize::from(sink.deliver(&alert).is_ok());
    }
    count
}

/// Relates matches in time.
#[inline(never)]
fn phase_correlate(engine: &Engine, matches: &[Found<'_>]) -> usize {
    let relations = Relations::new(engine.rules());
    let mut correlator = Correlator::of(&relations, CLUSTER, DISORDER);
    let mut count = 0;
    for of_event in by_event(matches) {
        let event = of_event[0].1;
        let identity = RequestIdentity::of(CLUSTER, event);
        let mut observer = relations.observer(View { event, settings: engine.settings() });
        for (found, _) in of_event {
            if let Some(observed) = observer.observed(found.rule, &identity) {
                correlator.take(observed, &mut |_| count += 1);
            }
        }
    }
    correlator.finish(&mut |_| count += 1);
    count
}
