//! What `serde_json` says about the bytes of an event, and whether the scan says the same.

use std::fmt;

use detect::event::Key;
use detect::scan::ScanErrorKind;
use detect::{Event, ScanError};
use serde_json::value::RawValue;

/// Panics unless the scan and `serde_json` agree on `bytes`.
pub(crate) fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match (Event::parse(bytes), serde_json::from_str::<Entries<'_>>(&text)) {
        (Ok(event), Ok(entries)) => check_spans(&event, &entries.0),
        // The scan stops at a depth at which the API server has stopped long before.
        (Err(ScanError { kind: ScanErrorKind::TooDeep, .. }), _) | (Err(_), Err(_)) => {}
        (Ok(_), Err(error)) => panic!("serde_json refuses what the scan accepts: {error}\n{text}"),
        (Err(error), Ok(_)) => panic!("the scan refuses what serde_json accepts: {error}\n{text}"),
    }
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
