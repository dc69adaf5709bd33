//! What a field of a rule holds in one event: values, nothing, or nothing that can be known.

use std::borrow::Cow;

use ipnet::IpNet;

use crate::derived::{self, Derived, Known};
use crate::event::{Event, Key};
use crate::json::{Json, Kind};
use crate::kept::Node;
use crate::truth::Truth;

/// How many arrays directly inside arrays are looked into; Kubernetes types nest at most two.
pub const NESTED_ARRAYS_MAX: usize = 16;

/// What the engine knows besides the event.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Addresses whose word about the address before them in `sourceIPs` is taken.
    pub proxies: Vec<IpNet>,
}

/// An event together with what is needed to read fields out of it.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The event.
    pub event: &'a Event<'a>,
    /// What the user said about the surroundings.
    pub settings: &'a Settings,
}

/// One value of a field.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// A value as it stands in the event; an array only if it is empty.
    Json(Json<'a>),
    /// A text computed from the event.
    Text(Cow<'a, str>),
}

impl<'a> Value<'a> {
    /// The text of a string, number, boolean or computed value; nothing for the rest.
    pub fn text(&self) -> Option<Cow<'a, str>> {
        match self {
            Value::Json(json) => json.text(),
            Value::Text(text) => Some(text.clone()),
        }
    }

    /// True for JSON `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Json(json) if json.is_null())
    }
}

/// Whether what was found can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Sight {
    /// The event shows the field: no value means that it is absent.
    Clear,
    /// The audit level, truncation or an early end of the request hides the field.
    Hidden,
}

impl Sight {
    /// What it says of a value that was looked for and not found.
    pub(crate) fn of_nothing(self) -> Truth {
        if self == Sight::Hidden { Truth::Unknown } else { Truth::False }
    }

    /// Clear only if both are.
    pub fn and(self, other: Sight) -> Sight {
        if self == Sight::Hidden { self } else { other }
    }
}

/// A field as rules name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// A dotted path into the event.
    Path(String),
    /// A field computed from the event, and the path below it (empty for most).
    Derived(Derived, String),
}

impl Field {
    /// Understands the name of a field: derived fields and aliases first, then a path.
    /// Quotes around a key that contains dots are optional.
    pub fn parse(name: &str) -> Self {
        derived::find(name).unwrap_or_else(|| Field::Path(name.replace('"', "")))
    }

    /// Appends the values of the field to `values`.
    pub fn read<'a>(&self, view: View<'a>, values: &mut Vec<Value<'a>>) -> Sight {
        self.read_known(&Known::new(view), values)
    }

    /// The same of an event of which something may be known already.
    pub(crate) fn read_known<'a>(&self, known: &Known<'a>, values: &mut Vec<Value<'a>>) -> Sight {
        match self {
            Field::Path(path) => read_path(path, known, values),
            Field::Derived(derived, rest) => derived::read_known(*derived, rest, known, values),
        }
    }
}

fn read_path<'a>(path: &str, known: &Known<'a>, values: &mut Vec<Value<'a>>) -> Sight {
    let event = known.event();
    let (root, rest) = path.split_once('.').unwrap_or((path, ""));
    let Some(key) = Key::from_name(root) else {
        follow(event.json(), path, values);
        return Sight::Clear;
    };
    match known.top_level_for(key, rest) {
        Some(value) => {
            follow_node(value, rest, values);
            Sight::Clear
        }
        // Whoever watches knows that it is there and not shown.
        None if event.has(key) => Sight::Hidden,
        None => sight_of(event, key),
    }
}

/// Follows a dotted path from `json`, through every element of arrays and behind every key
/// that the path spells at each object, and appends what stands at its end.
///
/// A client may write keys of its own into a patch: if only the longest key counted,
/// `"env.value"` in a container would hide its environment.
pub fn follow<'a>(json: Json<'a>, path: &str, values: &mut Vec<Value<'a>>) {
    follow_node(Node::Loose(json), path, values);
}

/// The same from a value that may remember what was found in it.
pub(crate) fn follow_node<'a>(node: Node<'a, '_>, path: &str, values: &mut Vec<Value<'a>>) {
    follow_nested(node, path, 0, values);
}

fn follow_nested<'a>(node: Node<'a, '_>, path: &str, arrays: usize, values: &mut Vec<Value<'a>>) {
    match node.kind() {
        Kind::Array if arrays < NESTED_ARRAYS_MAX => {
            let mut elements = node.elements().peekable();
            if elements.peek().is_none() && path.is_empty() {
                values.push(Value::Json(node.json()));
            }
            elements.for_each(|element| follow_nested(element, path, arrays + 1, values));
        }
        Kind::Array => {}
        _ if path.is_empty() => values.push(Value::Json(node.json())),
        Kind::Object => {
            for (value, rest) in spelled(node, path) {
                follow_nested(value, rest, 0, values);
            }
        }
        _ => {}
    }
}

/// Appends what stands at the end of a dotted path as [`follow`] does, but leaves an array
/// that stands there whole.
pub(crate) fn ends<'a, 'k>(node: Node<'a, 'k>, path: &str, found: &mut Vec<Node<'a, 'k>>) {
    ends_nested(node, path, 0, found);
}

fn ends_nested<'a, 'k>(node: Node<'a, 'k>, path: &str, arrays: usize, found: &mut Vec<Node<'a, 'k>>) {
    match node.kind() {
        _ if path.is_empty() => found.push(node),
        Kind::Array if arrays < NESTED_ARRAYS_MAX => {
            node.elements().for_each(|element| ends_nested(element, path, arrays + 1, found));
        }
        Kind::Object => {
            for (value, rest) in spelled(node, path) {
                ends_nested(value, rest, 0, found);
            }
        }
        _ => {}
    }
}

/// The values behind each key that `path` begins with, and the rest of the path.
pub(crate) fn spelled<'a, 'k, 'p>(
    object: Node<'a, 'k>,
    path: &'p str,
) -> impl Iterator<Item = (Node<'a, 'k>, &'p str)> {
    // Hardly ever more than one: that one needs no memory.
    let mut first: Option<(usize, Node<'_, '_>, &str)> = None;
    let mut others = Vec::new();
    for (key, value) in object.entries() {
        let Some(rest) = key.strip_from(path) else { continue };
        let key_bytes = path.len() - rest.len();
        let Some(rest) = rest.strip_prefix('.').or(rest.is_empty().then_some(rest)) else { continue };
        // Keys of one length are duplicates, of which the last counts.
        if first.is_none() {
            first = Some((key_bytes, value, rest));
        } else if let Some((_, known, _)) =
            first.iter_mut().chain(&mut others).find(|(length, ..)| *length == key_bytes)
        {
            *known = value;
        } else {
            others.push((key_bytes, value, rest));
        }
    }
    first.into_iter().chain(others).map(|(_, value, rest)| (value, rest))
}

/// Whether the absence of a top-level key says that there was nothing.
///
/// Bodies are logged from level `Request` or `RequestResponse` on, not when the event was
/// truncated, and not for requests that ended before the body was read.
pub fn sight_of(event: &Event<'_>, key: Key) -> Sight {
    let hidden = match key {
        Key::RequestObject => is_write(event) && (is_below(event, "Request") || ended_early(event)),
        Key::ResponseObject => is_below(event, "RequestResponse"),
        _ => false,
    };
    if hidden || (is_body(key) && is_truncated(event)) { Sight::Hidden } else { Sight::Clear }
}

fn is_body(key: Key) -> bool {
    matches!(key, Key::RequestObject | Key::ResponseObject)
}

/// True when the verb sends a body: only then can a missing one be hidden.
pub fn is_write(event: &Event<'_>) -> bool {
    matches!(event.str(Key::Verb).as_deref(), Some("create" | "update" | "patch"))
}

/// True when the event says that its audit level is lower than `level`. Events without a
/// level come from tests and other formats and are taken as complete.
fn is_below(event: &Event<'_>, level: &str) -> bool {
    match event.str(Key::Level).as_deref() {
        Some("None" | "Metadata") => true,
        Some("Request") => level == "RequestResponse",
        _ => false,
    }
}

fn is_truncated(event: &Event<'_>) -> bool {
    event.at(Key::Annotations, &["audit.k8s.io/truncated"]).is_some()
}

fn ended_early(event: &Event<'_>) -> bool {
    event.str(Key::Stage).as_deref() == Some("RequestReceived") || derived::outcome(event) == "denied"
}
