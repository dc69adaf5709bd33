//! What single events cost: `cargo bench -p masthead-bench`.
//!
//! Scanning, index and match with all built-in rules, and correlation, each for kinds of events
//! that clusters are full of. They are taken from the recorded log of the demonstration.

// Without its log or rules there is nothing to measure.
#![allow(missing_docs, clippy::expect_used)]

use std::sync::OnceLock;

use detect::correlate::DISORDER;
use detect::event::Key;
use detect::field::View;
use detect::{Correlator, Engine, Event};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use masthead_bench::{demo_log, engine, recorded};

/// Verb, resource and start of the user's name.
const KINDS: [Kind; 6] = [
    Kind("a lease renewed", "update", "leases", "system:node:"),
    Kind("read by a controller", "get", "replicasets", "system:serviceaccount:kube-system:"),
    Kind("a status updated", "update", "resourcequotas", "system:apiserver"),
    Kind("a deployment created", "create", "deployments", ""),
    Kind("pods listed", "list", "pods", ""),
    Kind("secrets listed", "list", "secrets", ""),
];

struct Kind(&'static str, &'static str, &'static str, &'static str);

impl core::fmt::Display for Kind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.0)
    }
}

impl Kind {
    fn is(&self, event: &Event<'_>) -> bool {
        event.str(Key::Verb).as_deref() == Some(self.1)
            && event.str_at(Key::ObjectRef, "resource").as_deref() == Some(self.2)
            && event.str_at(Key::User, "username").is_some_and(|name| name.starts_with(self.3))
    }

    /// The first event of the kind.
    fn event(&self) -> &'static [u8] {
        let is_it = |raw: &&Vec<u8>| Event::parse(raw).is_ok_and(|event| self.is(&event));
        log().iter().find(is_it).expect("the log has one")
    }
}

fn main() {
    divan::main();
}

fn log() -> &'static [Vec<u8>] {
    static LOG: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    LOG.get_or_init(|| recorded(&[demo_log()]).expect("the log is sound"))
}

fn built_in() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| engine().expect("the rules are sound"))
}

#[divan::bench(args = KINDS)]
fn scan(bencher: Bencher<'_, '_>, kind: &Kind) {
    let raw = kind.event();
    bencher.counter(BytesCount::of_slice(raw)).bench(|| Event::parse(divan::black_box(raw)).is_ok());
}

#[divan::bench(args = KINDS)]
fn index_and_match(bencher: Bencher<'_, '_>, kind: &Kind) {
    let event = Event::parse(kind.event()).expect("an event");
    let engine = built_in();
    let mut scratch = engine.scratch();
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        let mut count = 0;
        engine.evaluate(divan::black_box(&event), &mut scratch, |_| count += 1);
        count
    });
}

/// Everything that the demonstration log matches, related in time.
#[divan::bench]
fn correlate(bencher: Bencher<'_, '_>) {
    let engine = built_in();
    let events: Vec<Event<'_>> = log().iter().map(|raw| Event::parse(raw).expect("an event")).collect();
    let correlator = || Correlator::new(engine.rules(), "default", DISORDER);
    let wanted = correlator();
    let mut scratch = engine.scratch();
    let mut matches = Vec::new();
    for event in &events {
        let mut take = |rule| matches.extend(wanted.wants(rule).then_some((rule, event)));
        engine.evaluate(event, &mut scratch, |found| take(found.rule));
    }
    bencher.counter(ItemsCount::new(matches.len())).with_inputs(correlator).bench_local_values(
        |mut correlator| {
            let mut count = 0;
            for (rule, event) in &matches {
                let view = View { event, settings: engine.settings() };
                correlator.observe(*rule, view, &mut |_| count += 1);
            }
            correlator.finish(&mut |_| count += 1);
            count
        },
    );
}
