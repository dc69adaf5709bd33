//! The part of an event that comes again and again: who does what to which kind of object,
//! from where, with what, and how it ends.
//!
//! Names, URIs, bodies and times are new with every request, the context is not: a component
//! repeats the same few all day. What rules make of a context is therefore worth remembering.
//!
//! **Invariant:** events of equal context bytes are equal in all that [`CONTEXT`] shows, in which
//! top-level keys are absent, `null`, or there, and in what items make of each facet.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::event::{Event, Key};
use crate::json::{self, Json, Kind};

/// What may be read of an event where not all of it is known.
#[derive(Debug)]
pub(crate) struct Shown {
    /// Top-level keys of which all is shown.
    pub(crate) whole: &'static [Key],
    /// Top-level keys of which some entries are shown.
    pub(crate) parts: &'static [(Key, &'static [&'static str])],
    /// Whether it shows which entries those have.
    pub(crate) tells_of_entries: bool,
    /// Whether it shows which top-level keys there are, besides those.
    pub(crate) tells_of_all_keys: bool,
}

/// What a context shows.
pub(crate) static CONTEXT: Shown = Shown {
    whole: &[Key::Level, Key::Stage, Key::Verb],
    parts: &[(Key::ObjectRef, OBJECT), (Key::ResponseStatus, STATUS), (Key::Annotations, ANNOTATIONS)],
    tells_of_entries: true,
    tells_of_all_keys: true,
};

const OBJECT: &[&str] = &["resource", "subresource", "apiGroup", "apiVersion"];

const STATUS: &[&str] = &["code", "status", "reason"];

const ANNOTATIONS: &[&str] = &["authorization.k8s.io/decision", "audit.k8s.io/truncated"];

impl Shown {
    /// Whether all of a top-level key is shown.
    pub(crate) fn is_whole(&self, key: Key) -> bool {
        self.whole.contains(&key)
    }

    /// Whether it shows if a top-level key is there.
    pub(crate) fn tells_of(&self, key: Key) -> bool {
        self.tells_of_all_keys || self.is_whole(key) || !self.entries_of(key).is_empty()
    }

    /// Whether what a dotted path spells in the value of a top-level key is shown. An empty path
    /// spells all of the value.
    pub(crate) fn shows(&self, key: Key, value: Json<'_>, path: &str) -> bool {
        let names = self.entries_of(key);
        let is_absent = || !value.entries().any(|(key, _)| begins(key, path));
        self.is_whole(key)
            || names.contains(&path)
            || (self.tells_of_entries
                && !names.is_empty()
                && !path.is_empty()
                && value.kind() == Kind::Object
                && is_absent())
    }

    fn entries_of(&self, key: Key) -> &'static [&'static str] {
        self.parts.iter().find(|(known, _)| *known == key).map_or(&[], |(_, entries)| entries)
    }
}

/// Whether a path may go on behind a key: one with dots is also spelled by keys that are
/// its beginning.
fn begins(key: json::Key<'_>, path: &str) -> bool {
    key.strip_from(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Notices when more is read of an event than is shown.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) shown: &'static Shown,
    has_refused: AtomicBool,
}

impl Watch {
    /// Begins to watch an event of which this is shown.
    pub(crate) fn new(shown: &'static Shown) -> Self {
        Self { shown, has_refused: AtomicBool::new(false) }
    }

    /// Notes that something was asked for, and shows nothing.
    pub(crate) fn refuse<'a>(&self) -> Option<Json<'a>> {
        self.has_refused.store(true, Ordering::Relaxed);
        None
    }

    /// Whether something was asked for since the last time that is not shown.
    pub(crate) fn take(&self) -> bool {
        self.has_refused.swap(false, Ordering::Relaxed)
    }
}

/// Writes which top-level keys there are, and those that [`CONTEXT`] shows whole.
pub(crate) fn write_keys(event: &Event<'_>, bytes: &mut Vec<u8>) {
    let (present, null) = event.presence();
    bytes.extend_from_slice(&present.to_le_bytes());
    bytes.extend_from_slice(&null.to_le_bytes());
    for key in CONTEXT.whole {
        write_value(event.top_level(*key), bytes);
    }
}

/// Writes what [`CONTEXT`] shows in part of a top-level key. `each` is given every entry.
pub(crate) fn write_entries<'a>(
    key: Key,
    value: Option<Json<'a>>,
    bytes: &mut Vec<u8>,
    each: impl FnMut(Entry<'a>),
) {
    write_part(value, CONTEXT.entries_of(key), bytes, each);
}

/// An entry of an object.
pub(crate) type Entry<'a> = (json::Key<'a>, Json<'a>);

/// What stands for a value that is not shown, and what ends one: bytes that valid JSON does not have.
const HIDDEN: u8 = 0;
const END: u8 = 1;

/// Writes a value that may be absent so that it shows where it ends.
pub(crate) fn write_value(value: Option<Json<'_>>, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(value.map_or(&[], Json::bytes));
    bytes.push(END);
}

/// The same of an object without the values of entries that none of `names` is found by. `each`
/// is given every entry: one that is found by such a name may be found by another.
pub(crate) fn write_part<'a>(
    value: Option<Json<'a>>,
    names: &[&str],
    bytes: &mut Vec<u8>,
    mut each: impl FnMut(Entry<'a>),
) {
    let Some(object) = value.filter(|value| value.kind() == Kind::Object) else {
        return write_value(value, bytes);
    };
    let written = object.bytes();
    let (mut entries, mut start) = (object.entries(), 0);
    while let Some((key, value)) = entries.next() {
        each((key, value));
        if names.iter().any(|name| begins(key, name)) {
            continue;
        }
        let end = written.len() - entries.left();
        bytes.extend_from_slice(&written[start..end - value.bytes().len()]);
        bytes.push(HIDDEN);
        start = end;
    }
    bytes.extend_from_slice(&written[start..]);
    bytes.push(END);
}

/// Writes an entry that a name is found by, if it is one.
pub(crate) fn write_entry((key, value): Entry<'_>, name: &str, bytes: &mut Vec<u8>) {
    if begins(key, name) {
        bytes.extend_from_slice(key.bytes());
        bytes.push(HIDDEN);
        write_value(Some(value), bytes);
    }
}
