//! The part of an event that comes again and again: who does what to which kind of object,
//! from where, with what, and how it ends.
//!
//! Names, URIs, bodies and times are new with every request, the context is not: a component
//! repeats the same few all day. What rules make of a context is therefore worth remembering.
//!
//! **Invariant:** events of equal context bytes are equal in all that [`shows`] tells of, in
//! which top-level keys are absent, `null`, or there, and in what items make of the namespace.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::event::{Event, Key};
use crate::json::{self, Json, Kind};

/// Top-level keys of which all is context.
const WHOLE: &[Key] =
    &[Key::Level, Key::Stage, Key::Verb, Key::SourceIps, Key::UserAgent, Key::AuthenticationMetadata];

const USER: &[&str] = &["username", "groups"];

/// Top-level keys of which some entries are context.
const PARTS: &[(Key, &[&str])] = &[
    (Key::User, USER),
    (Key::ImpersonatedUser, USER),
    (Key::ObjectRef, &["resource", "subresource", "apiGroup", "apiVersion"]),
    (Key::ResponseStatus, &["code", "status", "reason"]),
    (
        Key::Annotations,
        &["authorization.k8s.io/decision", "authorization.k8s.io/reason", "audit.k8s.io/truncated"],
    ),
];

/// Whether all of a top-level key is context.
pub(crate) fn is_whole(key: Key) -> bool {
    WHOLE.contains(&key)
}

/// Whether what a dotted path spells in the value of a top-level key is context. What is
/// absent is: the context has the names of all entries. An empty path spells all of the value.
pub(crate) fn shows(key: Key, value: Json<'_>, path: &str) -> bool {
    let names = entries_of(key);
    is_whole(key)
        || names.contains(&path)
        || (!names.is_empty()
            && !path.is_empty()
            && value.kind() == Kind::Object
            && !value.entries().any(|(key, _)| begins(key, path)))
}

fn entries_of(key: Key) -> &'static [&'static str] {
    PARTS.iter().find(|(known, _)| *known == key).map_or(&[], |(_, entries)| entries)
}

/// Whether a path may go on behind a key: one with dots is also spelled by keys that are
/// its beginning.
fn begins(key: json::Key<'_>, path: &str) -> bool {
    key.strip_from(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Notices when more is read of an event than its context.
#[derive(Debug, Default)]
pub(crate) struct Watch(AtomicBool);

impl Watch {
    /// Notes that something was asked for, and shows nothing.
    pub(crate) fn refuse<'a>(&self) -> Option<Json<'a>> {
        self.0.store(true, Ordering::Relaxed);
        None
    }

    /// Whether something was asked for since the last time.
    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// Writes the context of an event in a namespace of this class as bytes that no other context
/// has.
pub(crate) fn write(event: &Event<'_>, class: usize, bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.extend_from_slice(&(class as u64).to_le_bytes());
    for &key in Key::ALL {
        match event.top_level(key) {
            None => bytes.push(b'-'),
            Some(value) if is_whole(key) => piece(value.bytes(), bytes),
            Some(value) => match (value.kind(), entries_of(key)) {
                (Kind::Null, _) => bytes.push(b'0'),
                (_, []) => bytes.push(b'1'),
                (Kind::Object, names) => entries(value, names, bytes),
                _ => piece(value.bytes(), bytes),
            },
        }
    }
}

/// Writes the names of all entries, and the values by which `names` can be found.
fn entries(object: Json<'_>, names: &[&str], bytes: &mut Vec<u8>) {
    bytes.push(b'{');
    for (key, value) in object.entries() {
        piece(key.bytes(), bytes);
        if names.iter().any(|name| begins(key, name)) {
            piece(value.bytes(), bytes);
        }
    }
    bytes.push(b'}');
}

/// Writes bytes so that it shows where they end.
fn piece(value: &[u8], bytes: &mut Vec<u8>) {
    bytes.push(b'=');
    bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
    bytes.extend_from_slice(value);
}
