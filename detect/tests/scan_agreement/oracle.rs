//! What `serde_json` says about the bytes of an event, and whether the scan says the same,
//! whatever instructions it uses.

use std::fmt;

use detect::event::{Key, Scanned, Spans};
use detect::scan::{Level, ScanErrorKind, value_end_at};
use detect::{Event, ScanError};
use serde_json::value::RawValue;

/// Panics unless the scan, with any instructions, and `serde_json` agree on `bytes`.
pub(crate) fn check(bytes: &[u8]) {
    check_levels(bytes);
    let text = String::from_utf8_lossy(bytes);
    match (Event::parse(bytes), serde_json::from_str::<Entries<'_>>(&text)) {
        (Ok(event), Ok(entries)) => check_spans(&event, &entries.0),
        // The scan stops at a depth at which the API server has stopped long before.
        (Err(ScanError { kind: ScanErrorKind::TooDeep, .. }), _) | (Err(_), Err(_)) => {}
        (Ok(_), Err(error)) => panic!("serde_json refuses what the scan accepts: {error}\n{text}"),
        (Err(error), Ok(_)) => panic!("the scan refuses what serde_json accepts: {error}\n{text}"),
    }
}

/// Panics unless all instructions give the same on `bytes`, wherever the scan's blocks begin in them.
pub(crate) fn check_levels(bytes: &[u8]) {
    let length = bytes.len();
    check_level_pairs(bytes);
    for shift in [1 + length % 64, 1 + (length / 3) % 64] {
        check_shifted(bytes, shift);
    }
}

/// Panics unless all instructions give the same on `bytes` with `shift` bytes before.
pub(crate) fn check_shifted(bytes: &[u8], shift: usize) {
    check_level_pairs(&[" ".repeat(shift).as_bytes(), bytes].concat());
    let padding = "x".repeat(shift);
    check_level_pairs(&[b"[\"", padding.as_bytes(), b"\",", bytes, b"]"].concat());
    check_level_pairs(&[b"{\"", padding.as_bytes(), b"\":", bytes, b"}"].concat());
    // Without its first brace an event goes on as the outermost object.
    let entries = bytes.get(1..).unwrap_or_default();
    check_level_pairs(&[b"{\"", padding.as_bytes(), b"\":0,", entries].concat());
}

fn check_level_pairs(bytes: &[u8]) {
    let start = bytes.iter().position(|byte| *byte != b' ').unwrap_or_default();
    for level in Level::available().skip(1) {
        assert_eq!(parsed(level, bytes), parsed(Level::SCALAR, bytes), "{level:?}\n{}", bytes.escape_ascii());
        assert_eq!(prefix(level, bytes), prefix(Level::SCALAR, bytes), "{level:?}\n{}", bytes.escape_ascii());
        assert_eq!(
            value_end_at(level, bytes, start),
            value_end_at(Level::SCALAR, bytes, start),
            "{level:?}\n{}",
            bytes.escape_ascii()
        );
    }
}

/// The position and length of an event's bytes and its spans.
fn parsed(level: Level, bytes: &[u8]) -> Result<(*const u8, usize, Spans), ScanError> {
    Event::parse_at(level, bytes).map(|event| (event.raw().as_ptr(), event.raw().len(), event.spans()))
}

/// Where a list begins, or how an event lies at the front.
fn prefix(level: Level, bytes: &[u8]) -> Result<(usize, Option<(usize, Spans)>), ScanError> {
    Event::scan_prefix_at(level, bytes).map(|scanned| match scanned {
        Scanned::Event(event, end) => (end, Some((event.raw().len(), event.spans()))),
        Scanned::List(array) => (array, None),
    })
}

fn check_spans(event: &Event<'_>, entries: &[(String, &RawValue)]) {
    for key in Key::ALL {
        let last = entries.iter().rev().find(|(name, _)| name == key.name());
        let found = event.top_level(*key).map(|value| String::from_utf8_lossy(value.bytes()));
        assert_eq!(
            found.as_deref(),
            last.map(|(_, value)| value.get()),
            "{}\n{:?}",
            key.name(),
            event.json()
        );
    }
}

/// The entries of an object, each with its value as it was written.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for Entries<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> serde::de::Visitor<'de> for EntriesVisitor {
    type Value = Entries<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    /// Keys stay as written until they are known to be sound: a key with a lone surrogate
    /// is none of the keys looked for, and no reason to refuse the event.
    fn visit_map<M: serde::de::MapAccess<'de>>(self, mut map: M) -> Result<Entries<'de>, M::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            entries.push((serde_json::from_str(key.get()).unwrap_or_default(), value));
        }
        Ok(Entries(entries))
    }
}
