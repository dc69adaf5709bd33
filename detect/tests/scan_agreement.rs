//! The law of `scan`: the verdict and the spans are those of `serde_json`.
//!
//! A parser that disagrees with the one everybody else uses is a way to hide an event.

#![allow(clippy::unwrap_used, clippy::panic, clippy::missing_panics_doc)]

#[path = "scan_agreement/oracle.rs"]
mod oracle;

use detect::Event;
use detect::event::Key;
use detect::scan::DEPTH_MAX;
use oracle::{check, check_levels, check_shifted};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

const ODD_SCALARS: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "-12.50e+03",
    "1e99999",
    "01",
    "1.",
    ".5",
    "-",
    "+1",
    "1e",
    "1E-",
    "NaN",
    "nul",
    "truee",
    "\"\"",
    r#""a\u0041\n""#,
    r#""\ud800""#,
    r#""\ud83d\ude00""#,
    r#""\udc00\ud800""#,
    r#""\x""#,
    r#""\u12g4""#,
    "\"\\",
    "\"\t\"",
    "\"\u{7f}\u{80}\u{2028}\"",
    "'a'",
    r#""a" "b""#,
    "99999999999999999999999999",
];

fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => select(ODD_SCALARS).prop_map(str::to_owned),
        1 => any::<i64>().prop_map(|number| number.to_string()),
        1 => any::<f64>().prop_map(|number| number.to_string()),
        2 => any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ]
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => select(Key::ALL).prop_map(|key| format!("\"{}\"", key.name())),
        1 => select(Key::ALL).prop_map(|key| {
            let (first, rest) = key.name().split_at(1);
            format!("\"\\u{:04x}{rest}\"", first.as_bytes()[0])
        }),
        1 => any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        1 => scalar(),
    ]
}

fn space() -> impl Strategy<Value = &'static str> {
    select(&["", "", "", "", " ", "\n", "\t\r\n ", "\u{a0}", "\u{c}", "\u{feff}"][..])
}

/// Text that is mostly JSON.
fn value() -> impl Strategy<Value = String> {
    scalar().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            (vec((key(), inner.clone()), 0..4), space()).prop_map(|(entries, space)| object(&entries, space)),
            (vec(inner, 0..4), space()).prop_map(|(items, space)| format!("[{}{space}]", items.join(","))),
        ]
    })
}

fn object(entries: &[(String, String)], space: &str) -> String {
    let written: Vec<_> = entries.iter().map(|(key, value)| format!("{key}{space}:{value}{space}")).collect();
    format!("{{{space}{}}}", written.join(","))
}

fn event() -> impl Strategy<Value = String> {
    (vec((key(), value()), 0..6), space(), space(), space())
        .prop_map(|(entries, space, before, after)| format!("{before}{}{after}", object(&entries, space)))
}

const SOUND_EVENT: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"7a",
"stage":"ResponseComplete","requestURI":"/api/v1/namespaces/a\u0026b/pods?x=\"1\"","verb":"create",
"user":{"username":"alice","groups":["a","b"]},"sourceIPs":["10.0.0.1"],"userAgent":"kubectl/v1.36 (linux)",
"objectRef":{"resource":"pods","namespace":"ä"},"responseStatus":{"metadata":{},"code":201},
"requestObject":{"spec":{"containers":[{"image":"nginx","args":["-c","echo \ud83d\n"],"n":-1.5e3}]}},
"annotations":{"authorization.k8s.io/decision":"allow"}}"#;

/// As the API server writes it: without white space.
fn compact_event() -> Vec<u8> {
    SOUND_EVENT.replace('\n', "").into_bytes()
}

#[derive(Clone, Debug)]
enum Mutation {
    Set(Index, u8),
    Cut(Index),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Double(Index, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let byte = || prop_oneof![select(&b"{}[],:\"\\ \n\t0-.eutfn\0\x1f\x80\xff\xed"[..]), any::<u8>()];
    prop_oneof![
        4 => (any::<Index>(), byte()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        1 => any::<Index>().prop_map(Mutation::Cut),
        4 => (any::<Index>(), vec(byte(), 1..4)).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        4 => (any::<Index>(), 1..20_usize).prop_map(|(at, count)| Mutation::Remove(at, count)),
        1 => (any::<Index>(), 1..60_usize).prop_map(|(at, count)| Mutation::Double(at, count)),
    ]
}

fn mutate(mut bytes: Vec<u8>, mutations: Vec<Mutation>) -> Vec<u8> {
    for mutation in mutations {
        let length = bytes.len();
        if length == 0 {
            break;
        }
        match mutation {
            Mutation::Set(at, byte) => bytes[at.index(length)] = byte,
            Mutation::Cut(at) => bytes.truncate(at.index(length)),
            Mutation::Insert(at, new) => drop(bytes.splice(at.index(length)..at.index(length), new)),
            Mutation::Remove(at, count) => {
                let at = at.index(length);
                bytes.drain(at..length.min(at + count));
            }
            Mutation::Double(at, count) => {
                let at = at.index(length);
                bytes.extend_from_within(at..length.min(at + count));
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn events_of_all_shapes_agree(text in event()) {
        check(text.as_bytes());
    }

    #[test]
    fn damaged_events_agree(
        bytes in prop_oneof![
            event().prop_map(String::into_bytes),
            Just(SOUND_EVENT.as_bytes().to_vec()),
            Just(compact_event()),
        ],
        mutations in vec(mutation(), 0..4),
    ) {
        check(&mutate(bytes, mutations));
    }

    #[test]
    fn blocks_begin_anywhere(
        bytes in prop_oneof![event().prop_map(String::into_bytes), Just(compact_event())],
        mutations in vec(mutation(), 0..3),
        shift in 0..130_usize,
    ) {
        check_shifted(&mutate(bytes, mutations), shift);
    }

    #[test]
    fn structure_without_content_agrees(
        bytes in vec(select(&b"{{}}[[]],,::\"\"\\\\ 0tn\n"[..]), 0..200),
        strings in any::<bool>(),
    ) {
        let text: Vec<u8> = bytes.iter().flat_map(|byte| match byte {
            b'"' if strings => &b"\"\""[..],
            b't' => b"true",
            b'n' => b"null",
            byte => std::slice::from_ref(byte),
        }.to_vec()).collect();
        check(&text);
    }

    #[test]
    fn bytes_agree(bytes in vec(any::<u8>(), 0..64)) {
        check(&bytes);
    }
}

#[test]
fn deep_values_agree_up_to_the_limit() {
    for depth in [1, 127, 128, 129, 1000, DEPTH_MAX] {
        check(format!("{{\"verb\":{}{}}}", "[".repeat(depth), "]".repeat(depth)).as_bytes());
    }
    let deeper = format!("{{\"verb\":{}{}}}", "[".repeat(DEPTH_MAX + 1), "]".repeat(DEPTH_MAX + 1));
    assert!(Event::parse(deeper.as_bytes()).is_err());
}

#[test]
fn truncated_events_agree_wherever_blocks_begin() {
    let event = compact_event();
    for length in 0..=event.len() {
        for shift in 0..64 {
            check_shifted(&event[..length], shift);
        }
    }
}

#[test]
fn runs_of_backslashes_agree_across_blocks() {
    for shift in 0..70 {
        for count in 0..140 {
            for end in ["", "\"", "\"\"", "n\"", "u0041\"", "u00\""] {
                let text = format!("{{\"{}{}{end}:1}}", "x".repeat(shift), "\\".repeat(count));
                check_levels(text.as_bytes());
            }
        }
    }
}

#[test]
fn brackets_agree_at_any_depth_and_mismatched() {
    for depth in (1..70).chain(100..140) {
        for (open, close) in [("[", "]"), ("{\"\":", "}"), ("[{\"a\":", "}]"), ("{ \"a\" : [", " ] }")] {
            let text = format!("{}0{}", open.repeat(depth), close.repeat(depth));
            check_shifted(text.as_bytes(), depth % 64);
            for (at, byte) in text.bytes().enumerate().filter(|(_, byte)| matches!(byte, b']' | b'}')) {
                let mut wrong = text.clone().into_bytes();
                wrong[at] = byte ^ 0x20;
                check_levels(&wrong);
            }
        }
    }
}
