//! What a patch takes away.
//!
//! Only a question about one path is answered: a list of all that goes would be as long as
//! a hostile patch makes it.

use super::Known;
use super::written::segments;
use crate::event::Key;
use crate::field::{NESTED_ARRAYS_MAX, Sight, Value, follow_node, sight_of, spelled};
use crate::json::{Json, Kind};
use crate::kept::Node;

/// Appends whether the request takes away what stands at a dotted path.
pub(super) fn read<'a>(path: &str, known: &Known<'a>, values: &mut Vec<Value<'a>>) -> Sight {
    let event = known.event();
    let verb = event.str(Key::Verb);
    let is_update = verb.as_deref() == Some("update");
    let mut is_gone = false;
    if is_update || verb.as_deref() == Some("patch") {
        let body = known.top_level_for(Key::RequestObject, "").filter(|body| body.kind() != Kind::Null);
        let Some(body) = body else { return sight_of(event, Key::RequestObject) };
        if is_update && !holds(body, path) {
            return Sight::Hidden; // nobody knows what was there before
        }
        is_gone = match body.kind() {
            Kind::Array => body.elements().any(|operation| takes_away(operation.json(), path)),
            _ => !is_update && lacks(body, path, 0),
        };
    }
    values.push(Value::Text(if is_gone { "true" } else { "false" }.into()));
    Sight::Clear
}

/// True for an operation of a JSON Patch after which nothing stands at `path`.
fn takes_away(operation: Json<'_>, path: &str) -> bool {
    let from = |name: &str| Some(segments(&operation.str_at(name)?)?.join("."));
    let below = |place: Option<String>| Some(below(path, &place?)?.to_owned());
    match operation.str_at("op").as_deref() {
        Some("remove") => below(from("path")).is_some(),
        Some("move") => below(from("from")).is_some(),
        Some("add" | "replace") => below(from("path"))
            .is_some_and(|rest| operation.get("value").is_none_or(|value| !holds(Node::Loose(value), &rest))),
        _ => false,
    }
}

/// What of `path` is left below `place`.
fn below<'p>(path: &'p str, place: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(place)?;
    if place.is_empty() || rest.is_empty() { Some(rest) } else { rest.strip_prefix('.') }
}

/// True when something stands at the path.
fn holds(node: Node<'_, '_>, path: &str) -> bool {
    let mut values = Vec::new();
    follow_node(node, path, &mut values);
    values.iter().any(|value| !value.is_null())
}

/// True for a merge patch after which nothing stands at `path`: it sets `null` there or
/// above, or replaces what is above without it.
fn lacks(patch: Node<'_, '_>, path: &str, arrays: usize) -> bool {
    match patch.kind() {
        Kind::Null => true,
        Kind::Array if arrays < NESTED_ARRAYS_MAX && !path.is_empty() => {
            patch.elements().any(|element| lacks(element, path, arrays + 1))
        }
        Kind::Object => match patch.str_at("$patch").as_deref() {
            Some("delete") => true,
            Some("replace") => !path.is_empty() && !holds(patch, path),
            _ => !path.is_empty() && spelled(patch, path).any(|(value, rest)| lacks(value, rest, 0)),
        },
        _ => false,
    }
}
