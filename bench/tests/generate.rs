//! Runs the generator on the demo log and reads what it wrote.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;

use detect::event::{Event, Key};
use ingest::{Frame, Frames};

/// The recorded log that the tests grow.
const RECORDED: &str = "../deploy/demo/audit.log";

/// What `generate` writes with `options`.
fn generate(options: &[&str]) -> Vec<u8> {
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join(RECORDED);
    let output = Command::new(env!("CARGO_BIN_EXE_generate")).arg(log).args(options).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The events in `bytes`, all of which must be sound.
fn events(bytes: &[u8]) -> Vec<Vec<u8>> {
    read(Frames::new(bytes))
}

fn read(mut frames: Frames<impl std::io::Read>) -> Vec<Vec<u8>> {
    let mut events = Vec::new();
    while let Some(frame) = frames.next() {
        match frame {
            Frame::Event { event, .. } => events.push(event.raw().to_vec()),
            Frame::Malformed(bad) => panic!("{bad}"),
        }
    }
    events
}

fn recorded() -> Vec<Vec<u8>> {
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join(RECORDED);
    read(Frames::new(std::fs::File::open(log).unwrap()))
}

fn texts(events: &[Vec<u8>], key: Key) -> Vec<String> {
    events.iter().map(|raw| Event::parse(raw).unwrap().str(key).unwrap().into_owned()).collect()
}

fn distinct(texts: &[String]) -> HashSet<&str> {
    texts.iter().map(String::as_str).collect()
}

#[test]
fn every_shape_holds_as_many_sound_events_as_were_asked_for() {
    for shape in ["jsonl", "eventlist", "sorted-keys"] {
        let written = generate(&["--events", "1001", "--shape", shape]);
        assert_eq!(events(&written).len(), 1001, "{shape}");
        for line in written.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            assert!(serde_json::from_slice::<serde_json::Value>(line).is_ok(), "{shape}");
        }
    }
}

#[test]
fn the_size_is_reached_and_passed_by_less_than_an_event() {
    let written = generate(&["--bytes", "2MB"]);
    let last = events(&written).pop().unwrap();
    assert!(written.len() >= 2_000_000);
    assert!(written.len() - last.len() <= 2_000_000, "{} with {}", written.len(), last.len());
}

#[test]
fn the_seed_decides_about_every_byte() {
    let first = generate(&["--events", "900", "--seed", "7"]);
    assert!(first == generate(&["--events", "900", "--seed", "7"]));
    assert!(first != generate(&["--events", "900", "--seed", "8"]));
}

/// Stages of one request share an id within a round, and never with another round or seed.
#[test]
fn audit_ids_are_fresh_in_every_round_and_under_every_seed() {
    let recorded = texts(&recorded(), Key::AuditId);
    let rounds = 3;
    let count = (rounds * recorded.len()).to_string();
    let of_seed = |seed| texts(&events(&generate(&["--events", &count, "--seed", seed])), Key::AuditId);
    let (one, two) = (of_seed("1"), of_seed("2"));
    assert_eq!(distinct(&one).len(), rounds * distinct(&recorded).len());
    assert!(distinct(&one).is_disjoint(&distinct(&two)));
    assert!(distinct(&one).is_disjoint(&distinct(&recorded)));
}

#[test]
fn each_round_is_later_than_the_one_before() {
    let recorded_count = recorded().len();
    let count = (2 * recorded_count).to_string();
    let times = texts(&events(&generate(&["--events", &count])), Key::RequestReceivedTimestamp);
    let (first, second) = times.split_at(recorded_count);
    assert!(first.iter().max() < second.iter().min());
}

/// What `Metadata` leaves of an event has everything else as it was.
#[test]
fn without_bodies_an_event_keeps_all_its_other_keys() {
    let count = recorded().len().to_string();
    let whole = events(&generate(&["--events", &count]));
    let bare = events(&generate(&["--events", &count, "--mix", "metadata"]));
    assert_eq!(whole.len(), bare.len());
    for (whole, bare) in whole.iter().zip(&bare) {
        let mut expected: serde_json::Value = serde_json::from_slice(whole).unwrap();
        let keys = expected.as_object_mut().unwrap();
        keys.remove("requestObject");
        keys.remove("responseObject");
        keys["level"] = "Metadata".into();
        assert_eq!(expected, serde_json::from_slice::<serde_json::Value>(bare).unwrap());
    }
}

#[test]
fn lists_are_answered_with_objects() {
    let mixed = events(&generate(&["--events", "500", "--mix", "lists"]));
    let lists: Vec<Event<'_>> = mixed.iter().map(|raw| Event::parse(raw).unwrap()).collect();
    let lists: Vec<_> =
        lists.iter().filter(|event| event.str(Key::Verb).as_deref() == Some("list")).collect();
    assert!(lists.len() > 100, "{}", lists.len());
    for event in lists {
        let items = event.at(Key::ResponseObject, &["items"]).unwrap();
        assert_eq!(items.elements().count(), 20);
        assert_eq!(event.str(Key::Level).as_deref(), Some("RequestResponse"));
    }
}

#[test]
fn only_events_with_answers_are_left_when_those_are_asked_for() {
    let answered = events(&generate(&["--events", "300", "--mix", "request-response"]));
    assert_eq!(answered.len(), 300);
    assert_eq!(distinct(&texts(&answered, Key::Level)), HashSet::from(["RequestResponse"]));
}
