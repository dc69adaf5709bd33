//! Runs what becomes of an event phase by phase, for a tool that counts instructions.
//!
//! Each phase is a function of its own, named `phase_…`, that a profiler can find; what it
//! needs has been made before. `bench/instructions` runs this under callgrind.
//! **Invariant:** the same log gives the same work in the same order.

use std::hint::black_box;
use std::io::{self, Write};
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::Parser;
use detect::alert::{RawEvent, id_of};
use detect::correlate::DISORDER;
use detect::field::View;
use detect::sigma::correlation;
use detect::{Alert, Correlator, Engine, Event, Match, Seen};
use ingest::{Frame, Frames};
use masthead_bench::{engine, recorded};
use sinks::{Jsonl, Sink};

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
    let first = phase_once(&engine, matches);
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
fn phase_evaluate<'e>(engine: &'e Engine, events: &'e [Event<'e>]) -> Vec<(Match<'e>, &'e Event<'e>)> {
    let mut scratch = engine.scratch();
    let mut matches = Vec::new();
    for event in events {
        engine.evaluate(event, &mut scratch, |found| matches.push((found, event)));
    }
    matches
}

/// Leaves out what has been found in another stage of the same request.
#[inline(never)]
fn phase_once<'e>(
    engine: &Engine,
    matches: Vec<(Match<'e>, &'e Event<'e>)>,
) -> Vec<(Match<'e>, &'e Event<'e>)> {
    let mut seen = Seen::default();
    let is_first = |(found, event): &(Match<'_>, &Event<'_>)| {
        seen.insert(id_of(&engine.rules()[found.rule], "default", event))
    };
    matches.into_iter().filter(is_first).collect()
}

/// Makes alerts and writes them.
#[inline(never)]
fn phase_alert(engine: &Engine, matches: &[(Match<'_>, &Event<'_>)]) -> usize {
    let silent = correlation::silent(engine.rules());
    let now = DateTime::<Utc>::UNIX_EPOCH;
    let mut sink = Jsonl::new(io::sink());
    let mut count = 0;
    for (found, event) in matches.iter().filter(|(found, _)| !silent[found.rule]) {
        let alert = Alert::new(engine, found, event, "default", now, RawEvent::Include);
        count += usize::from(sink.deliver(&alert).is_ok());
    }
    count
}

/// Relates matches in time.
#[inline(never)]
fn phase_correlate(engine: &Engine, matches: &[(Match<'_>, &Event<'_>)]) -> usize {
    let mut correlator = Correlator::new(engine.rules(), "default", DISORDER);
    let mut count = 0;
    for (found, event) in matches {
        if correlator.wants(found.rule) {
            let view = View { event, settings: engine.settings() };
            correlator.observe(found.rule, view, &mut |_| count += 1);
        }
    }
    correlator.finish(&mut |_| count += 1);
    count
}
