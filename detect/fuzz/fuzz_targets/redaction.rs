//! Whatever an event holds, its redacted form is JSON of the same shape, is redacted already, and
//! shows no credential of a known form, whatever stands around it:
//! `cargo +nightly fuzz run redaction fuzz/corpus/redaction fuzz/seeds/redaction`.

#![no_main]

use detect::Event;
use detect::json::{Json, Kind};
use detect::redact::{MARK, Redactor};
use serde_json::{Value, json};

/// What must not be seen: letters and digits, which nothing writes in another way.
const SECRET: &str = "Zq7hunterR2wvX9kLmN4";

/// How many bytes of a mark one byte of an event may become, and how often it may be escaped.
const GROWTH_MAX: usize = 100;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let redactor = Redactor::new([7; 32]);
    check(&redactor, input);
    let Some((form, rest)) = input.split_first() else { return };
    let mut parts = rest.splitn(4, |byte| *byte == 0).map(String::from_utf8_lossy);
    let mut part = || parts.next().unwrap_or_default().into_owned();
    let planted = planted(*form, &part(), &part(), &part(), &part());
    if let Some(redacted) = check(&redactor, planted.as_bytes()) {
        assert!(!redacted.contains(SECRET), "{planted}\n{redacted}");
    }
    let _ = redactor.fragment(input);
});

/// Redacts what is an event, and compares it with what it was.
fn check(redactor: &Redactor, bytes: &[u8]) -> Option<String> {
    let event = Event::parse(bytes).ok()?;
    let redacted = redactor.event(&event);
    assert!(redacted.len() <= GROWTH_MAX * bytes.len(), "{} from {}", redacted.len(), bytes.len());
    assert!(!redacted.contains(['\n', '\r']));
    let again = Event::parse(redacted.as_bytes()).expect("it is an object");
    serde_json::from_str::<Box<serde_json::value::RawValue>>(&redacted).expect("it is JSON to others too");
    compare(event.json(), again.json(), &|before, after| {
        let (before_text, after_text) = (before.text(), after.text());
        assert!(before_text == after_text || after.kind() == Kind::String, "{redacted}");
        assert!(before.kind() != Kind::Null || after.kind() == Kind::Null, "{redacted}");
    });
    let twice = redactor.event(&again);
    let twice = Event::parse(twice.as_bytes()).expect("it is an object");
    compare(again.json(), twice.json(), &|before, after| {
        if before.text().is_some_and(|text| is_mark(&text)) {
            assert_eq!(before.text(), after.text());
        }
    });
    Some(redacted)
}

/// Walks through two values of the same shape, whatever their depth.
fn compare(one: Json<'_>, other: Json<'_>, scalars: &impl Fn(Json<'_>, Json<'_>)) {
    let mut pairs = vec![(one, other)];
    while let Some((one, other)) = pairs.pop() {
        match one.kind() {
            Kind::Object => {
                assert_eq!(other.kind(), Kind::Object);
                let (mut ones, mut others) = (one.entries(), other.entries());
                loop {
                    match (ones.next(), others.next()) {
                        (None, None) => break,
                        (Some((key, value)), Some((other_key, other_value))) => {
                            assert_eq!(key.text(), other_key.text());
                            pairs.push((value, other_value));
                        }
                        _ => panic!("entries were added or lost"),
                    }
                }
            }
            Kind::Array => {
                assert_eq!(other.kind(), Kind::Array);
                assert_eq!(one.elements().count(), other.elements().count());
                pairs.extend(one.elements().zip(other.elements()));
            }
            _ => scalars(one, other),
        }
    }
}

fn is_mark(text: &str) -> bool {
    let Some((hash, length)) = text.strip_prefix(MARK).and_then(|rest| rest.split_once(':')) else {
        return false;
    };
    hash.len() == 16 && !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit())
}

/// An event with a credential of a known form among text and JSON of anybody's choice.
fn planted(form: u8, key: &str, before: &str, behind: &str, other: &str) -> String {
    // JSON and names of its own would decide what the credential is: a key, for one, is shown.
    let is_of_text = |letter: &char| !"{}[]\"'`\\".contains(*letter) && !letter.is_control();
    let clean = |text: &str| text.chars().filter(is_of_text).collect::<String>();
    let (before, behind) = (clean(before), clean(behind));
    let text = match (form >> 4) % 8 {
        0 => format!("{before}eyJhbGciOiJIUzI1NiJ9.{SECRET}.{SECRET}{behind}"),
        1 => format!("{before} password={SECRET} {behind}"),
        2 => format!("{before} https://ann:{SECRET}@example.org/{behind}"),
        3 => format!("{before} Authorization: Bearer {SECRET}"),
        4 => format!("{before}ghp_{SECRET}{SECRET}{behind}"),
        5 => format!("{before}-----BEGIN PRIVATE KEY-----{SECRET}{behind}"),
        6 => format!("curl -H 'X-Api-Key: {SECRET}' https://example.org/{behind}"),
        _ => format!("{before} --token={SECRET} {behind}"),
    };
    let beside: Value = serde_json::from_str(other).unwrap_or_else(|_| other.into());
    let of = |body: Value, resource: &str| {
        json!({ "verb": "create", "objectRef": { "resource": resource }, "requestObject": body }).to_string()
    };
    match form % 12 {
        0 => of(json!({ "data": { key: SECRET }, "x": beside }), "secrets"),
        1 => of(json!({ "a": beside, "kind": "Secret", "data": { key: [SECRET, beside] } }), "widgets"),
        2 => of(json!({ key: { "stringData": { key: { key: SECRET } } }, "x": beside }), "widgets"),
        3 => of(json!([beside, { "name": "DB_PASSWORD", "value": SECRET }]), "widgets"),
        4 => of(json!([{ "op": "add", "path": format!("/data/{key}"), "value": SECRET }, beside]), "secrets"),
        5 => of(json!({ "x": { "dbPassword": SECRET, "y": beside } }), "widgets"),
        6 => of(json!({ key: text, "x": beside }), "widgets"),
        7 => of(json!([[text], beside]), "widgets"),
        8 => json!({ "verb": "get", "annotations": { key: text }, "x": beside }).to_string(),
        9 => json!({ "verb": "get", "userAgent": text, "requestObject": beside }).to_string(),
        10 => {
            let uri = format!("/x?{}&token={SECRET}&{}", clean(key).replace(['#', '?'], ""), behind);
            json!({ "verb": "get", "requestURI": uri, "x": beside }).to_string()
        }
        _ => of(json!({ "x": json!({ "kind": "Secret", "data": { key: SECRET } }).to_string() }), "widgets"),
    }
}
