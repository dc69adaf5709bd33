//! Events in wrappers are those that were wrapped, wherever the wrappers lie in a stream.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, clippy::missing_panics_doc)]

mod reading;

use std::path::{Path, PathBuf};

use detect::event::Key;
use ingest::envelope::Opener;
use ingest::{EVENT_BYTES_MAX, Frame, Frames};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use reading::{Outcome, event, read};
use serde_json::{Value, json};

/// Any text, with what JSON escapes among it.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,20}", "[\"\\\\/\n\r\t{}\u{0}\u{1f}é€😀]{0,10}", any::<String>()]
}

/// An event as the API server may write it, with a body that a client chose.
fn events() -> impl Strategy<Value = String> {
    (text(), vec((text(), text()), 0..4), 1..9_u8).prop_map(|(agent, body, id)| {
        let members: Vec<String> =
            body.iter().map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), Value::from(value.as_str()))).collect();
        let body = members.join(",");
        format!(
            r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"{id}","verb":"create","userAgent":{},"requestObject":{{{body}}},"message":{{"verb":"no"}}}}"#,
            Value::from(agent)
        )
    })
}

/// An event wrapped in one of the known ways.
fn wrapped(event: &str, form: usize) -> String {
    let text = Value::from(event);
    match form {
        0 => format!(r#"{{"date":1764000000.5,"log":{}}}"#, Value::from(format!("{event}\n"))),
        1 => format!(r#"{{"log":{event},"kubernetes":{{"pod_name":"p"}}}}"#),
        2 => format!(r#"{{"message":{text},"source_type":"file"}}"#),
        3 => format!(r#"{{"@timestamp":"t","log":{{"offset":1}},"kubernetes":{{"audit":{event}}}}}"#),
        4 => format!(r#"{{"line":{text},"labels":{{}}}}"#),
        5 => format!(
            r#"{{"records":[{{"category":"kube-audit","properties":{{"log":{text}}},"resourceId":"/R"}}]}}"#
        ),
        6 => format!(r#"{{"messageType":"DATA_MESSAGE","logEvents":[{{"id":"1","message":{text}}}]}}"#),
        7 => json!({ "message": wrapped(event, 0) }).to_string(),
        8 => format!("2026-11-20T10:00:00.1Z stdout F {event}"),
        9 => format!("<134>1 2026-11-20T10:00:00Z n a - - [x@1 y=\"z\"] {}", wrapped(event, 2)),
        _ => event.to_owned(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn events_come_out_byte_for_byte(wanted in vec((events(), 0..11_usize), 1..6), piece_bytes in 1..400_usize) {
        let lines: Vec<String> = wanted.iter().map(|(event, form)| wrapped(event, *form)).collect();
        let stream = lines.join("\n");
        let outcome = Outcome::read_with(stream.as_bytes(), EVENT_BYTES_MAX, piece_bytes);
        let expected: Vec<&[u8]> = wanted.iter().map(|(event, _)| event.as_bytes()).collect();
        prop_assert_eq!(&outcome.complaints, &Vec::<String>::new());
        prop_assert_eq!(outcome.raw, expected);
        let count = wanted.iter().filter(|(_, form)| *form < 10).count() as u64;
        prop_assert_eq!((outcome.counts.unwrapped, outcome.counts.skipped), (count, 0));
    }
}

/// A wrapper in which some bytes are others, or are not there.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/envelope");
    let seeds: Vec<Vec<u8>> =
        std::fs::read_dir(seeds).unwrap().map(|seed| std::fs::read(seed.unwrap().path()).unwrap()).collect();
    let damage = vec((any::<Index>(), select(b"{}[]\",:\\n\nu7 \xff\x00".to_vec()), any::<bool>()), 0..6);
    (select(seeds), damage, any::<Index>()).prop_map(|(mut bytes, damage, cut)| {
        for (at, byte, is_in_place) in damage {
            let at = at.index(bytes.len());
            if is_in_place {
                bytes[at] = byte;
            } else {
                bytes.insert(at, byte);
            }
        }
        if damage_ends(cut) {
            bytes.truncate(cut.index(bytes.len()));
        }
        bytes
    })
}

fn damage_ends(cut: Index) -> bool {
    cut.index(4) == 0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn whatever_an_envelope_holds_events_come_out_within_bounds(bytes in damaged()) {
        let mut opener = Opener::default();
        let Ok(opened) = opener.open(&bytes) else { return Ok(()) };
        let (mut count, mut given_bytes) = (0, 0);
        while opener.advance() {
            let event = opener.event().unwrap();
            prop_assert_eq!(event.complaint(), None);
            // What is not UTF-8 in the name of a resource is said three times, in three bytes each.
            given_bytes += event.raw().len();
            count += 1;
        }
        prop_assert_eq!(count, opened.event_count);
        prop_assert!(given_bytes <= 10 * bytes.len() + 600 * count);
    }
}

#[test]
fn events_have_the_place_of_their_wrapper() {
    let batch =
        format!("{{\"records\":[\n{{\"log\":{}}},{{\"log\":7}},\n{{\"log\":{}}}]}}", event(2), event(3));
    let text = format!("{}\n{batch}\n[{batch},{}]\n", event(1), event(4));
    let outcome = read(text.as_bytes());
    let length = batch.len();
    let refused = format!("({length} bytes) in a wrapper: neither text nor an object");
    assert_eq!(
        outcome.lines(),
        [
            "1:0 event 1",
            "2:84 event 2",
            "2:84 event 3",
            &format!("2:84 {refused}"),
            &format!("5:{} event 2", 86 + length),
            &format!("5:{} event 3", 86 + length),
            &format!("5:{} {refused}", 86 + length),
            &format!("7:{} event 4", 87 + 2 * length),
        ]
    );
    let counts = outcome.counts;
    assert_eq!((counts.events, counts.unwrapped, counts.malformed.get("wrapped")), (6, 4, Some(&2)));
}

#[test]
fn what_is_no_wrapper_is_told_as_before() {
    let outcome = read(b"{\"kind\":\"Pod\"}\n{\"level\":\"info\",\"caller\":\"x\"}\n");
    assert_eq!(
        outcome.complaints,
        [
            "1:0 (14 bytes) not an audit event: `kind` is not `Event`",
            "2:15 (29 bytes) not an audit event: neither `verb` nor `requestURI`",
        ]
    );
}

#[test]
fn the_cluster_that_a_wrapper_names_can_be_asked_for() {
    let record =
        |name: &str| json!({ "resourceId": format!("/S/{name}"), "properties": { "log": event(1) } });
    let text = format!("{}\n{}", json!({ "records": [record("A"), record("B")] }), event(1));
    let mut frames = Frames::new(text.as_bytes());
    let mut hints = Vec::new();
    while frames.next().is_some() {
        hints.push(frames.cluster_hint().map(str::to_owned));
    }
    assert_eq!(hints, [Some("a".to_owned()), Some("b".to_owned()), None]);
}

/// Recorded samples beside the checkout; nothing where they are not there, unless
/// `MASTHEAD_REQUIRE_CORPUS` is set.
fn recorded(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/formats").join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("MASTHEAD_REQUIRE_CORPUS").is_none(), "{} is missing", path.display());
    eprintln!("skipped: no recorded formats at {}", path.display());
    None
}

/// Verb, resource and user of each event of a recorded file, and what else it holds.
fn summary(path: &Path) -> (Vec<String>, Vec<String>) {
    let file = std::fs::File::open(path).unwrap();
    let mut frames = Frames::new(file);
    let (mut events, mut complaints) = (Vec::new(), Vec::new());
    while let Some(frame) = frames.next() {
        match frame {
            Frame::Event { event, .. } => {
                let part = |key, name| event.str_at(key, name).unwrap_or_default();
                events.push(format!(
                    "{} {} {} {}",
                    event.str(Key::Verb).unwrap_or_default(),
                    part(Key::ObjectRef, "resource"),
                    part(Key::User, "username"),
                    detect::derived::outcome(&event),
                ));
            }
            Frame::Malformed(malformed) => complaints.push(malformed.kind.to_string()),
        }
    }
    (events, complaints)
}

#[test]
fn recorded_formats_are_read() {
    if let Some(path) = recorded("aks_monitor.jsonl") {
        let (events, complaints) = summary(&path);
        assert_eq!(events, ["update leases aksService succeeded"; 2]);
        assert_eq!(
            complaints,
            ["in a wrapper: the object in the text is not an audit event: neither `verb` nor `requestURI`"]
        );
    }
    if let Some(path) = recorded("gke_logentry.jsonl") {
        let (events, complaints) = summary(&path);
        assert_eq!(complaints, Vec::<String>::new());
        assert_eq!(events.len(), 7);
        assert_eq!(events[1], "get  system:anonymous denied");
        assert_eq!(
            events[2],
            "create subjectaccessreviews system:serviceaccount:cert-manager:cert-manager-webhook succeeded"
        );
        assert_eq!(events[3], "list nodes xxx@xxx.xxx succeeded");
    }
}
