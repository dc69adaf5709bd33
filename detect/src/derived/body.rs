//! What a write sets, whatever its form: an object, a merge patch, a strategic merge patch
//! and a server-side apply have the shape of the object; a JSON Patch is a list of places
//! and values.
//!
//! A [`Node`] is a value under a pointer that is still to be walked, so a JSON Patch reads
//! like the object it builds without being built.

use std::borrow::Cow;
use std::rc::Rc;

use crate::event::{Event, Key};
use crate::field::{Sight, Value, follow, is_write, sight_of};
use crate::json::{Json, Kind};

/// Longer pointers than this cannot reach a field of a Kubernetes type that rules read.
const POINTER_SEGMENTS_MAX: usize = 64;

/// A place in what a request sets.
#[derive(Clone, Debug)]
pub(crate) struct Node<'a> {
    /// Segments of a JSON Patch pointer that are still to be walked before `value` is reached.
    pointer: Rc<[Cow<'a, str>]>,
    walked: usize,
    value: Json<'a>,
}

/// Everything that a create, update or patch sets, and whether all of it can be seen.
pub(crate) fn written<'a>(event: &Event<'a>) -> (Vec<Node<'a>>, Sight) {
    if !is_write(event) {
        return (Vec::new(), Sight::Clear);
    }
    match event.get(Key::RequestObject) {
        None => (Vec::new(), sight_of(event, Key::RequestObject)),
        Some(body) if body.kind() == Kind::Array => json_patch(event, body),
        Some(body) => (vec![Node::root(body)], Sight::Clear),
    }
}

/// Reads `[{"op": …, "path": …, "value": …}]`. What `copy` and `move` put somewhere, and
/// the list around a single element that is set, stand in the response only; without it
/// the patch hides what it does.
fn json_patch<'a>(event: &Event<'a>, operations: Json<'a>) -> (Vec<Node<'a>>, Sight) {
    let response = event.get(Key::ResponseObject);
    let (mut nodes, mut sight) = (Vec::new(), Sight::Clear);
    for operation in operations.elements() {
        let op = operation.str_at("op").unwrap_or_default();
        let Some(pointer) = operation.str_at("path").and_then(segments) else { continue };
        let value = operation.get("value").filter(|_| matches!(op.as_ref(), "add" | "replace"));
        let moved = matches!(op.as_ref(), "copy" | "move");
        let list = value.filter(|value| is_element_of_scalars(&pointer, *value)).and(response);
        match (value, response) {
            (Some(value), _) => nodes.push(Node { pointer: pointer.clone().into(), walked: 0, value }),
            (None, Some(response)) if moved => from_response(response, &pointer, &mut nodes),
            (None, None) if moved => sight = Sight::Hidden,
            (None, _) => {}
        }
        if let (Some(response), Some((_, around))) = (list, pointer.split_last()) {
            from_response(response, around, &mut nodes);
        }
    }
    (nodes, sight)
}

/// Splits a JSON pointer; nothing for one that no field can have.
fn segments(pointer: Cow<'_, str>) -> Option<Vec<Cow<'_, str>>> {
    let path = pointer.strip_prefix('/')?;
    if path.split('/').count() > POINTER_SEGMENTS_MAX {
        return None;
    }
    Some(path.split('/').map(|segment| Cow::Owned(segment.replace("~1", "/").replace("~0", "~"))).collect())
}

fn is_index(segment: &str) -> bool {
    segment == "-" || (!segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_element_of_scalars(pointer: &[Cow<'_, str>], value: Json<'_>) -> bool {
    pointer.last().is_some_and(|segment| is_index(segment)) && value.text().is_some()
}

/// What stands at `pointer` in the response. Later operations may shift elements, so an
/// index stands for every element of its list.
fn from_response<'a>(response: Json<'a>, pointer: &[Cow<'a, str>], nodes: &mut Vec<Node<'a>>) {
    let mut found = vec![response];
    for segment in pointer {
        found = found
            .into_iter()
            .flat_map(|value| match value.kind() {
                Kind::Array if is_index(segment) => value.elements().collect(),
                _ => value.get(segment).into_iter().collect::<Vec<_>>(),
            })
            .collect();
    }
    let pointer: Rc<[Cow<'a, str>]> = pointer.into();
    nodes.extend(found.into_iter().map(|value| Node { pointer: pointer.clone(), walked: 0, value }));
}

impl<'a> Node<'a> {
    /// The top of an object.
    pub(crate) fn root(value: Json<'a>) -> Self {
        Self { pointer: Rc::from([]), walked: 0, value }
    }

    fn next_segment(&self) -> Option<&str> {
        self.pointer.get(self.walked).map(AsRef::as_ref)
    }

    fn step(&self) -> Self {
        Self { walked: self.walked + 1, ..self.clone() }
    }

    /// What is set under `key`.
    pub(crate) fn child(&self, key: &str) -> Option<Self> {
        match self.next_segment() {
            Some(segment) => (segment == key).then(|| self.step()),
            None => self.value.get(key).filter(|value| !value.is_null()).map(Self::root),
        }
    }

    /// What is set under `keys`, one below the other.
    pub(crate) fn at(&self, keys: &[&str]) -> Option<Self> {
        keys.iter().try_fold(self.clone(), |node, key| node.child(key))
    }

    /// The elements that are set. An entry of a strategic merge patch that deletes sets nothing.
    pub(crate) fn elements(&self) -> Vec<Self> {
        match self.next_segment() {
            Some(segment) if is_index(segment) => vec![self.step()],
            Some(_) => Vec::new(),
            None => self.value.elements().filter(|element| !is_deletion(*element)).map(Self::root).collect(),
        }
    }

    /// The value itself, when nothing of a pointer is left to walk.
    pub(crate) fn value(&self) -> Option<Json<'a>> {
        self.next_segment().is_none().then_some(self.value)
    }

    /// The text of a scalar.
    pub(crate) fn text(&self) -> Option<Cow<'a, str>> {
        self.value()?.text()
    }

    /// The texts of a list, or of the elements of it that are set.
    pub(crate) fn texts(&self) -> impl Iterator<Item = Cow<'a, str>> {
        self.elements().into_iter().filter_map(|element| element.text())
    }

    /// Appends what a dotted path below this node leads to.
    pub(crate) fn follow(&self, path: &str, values: &mut Vec<Value<'a>>) {
        match self.next_segment() {
            None => follow(self.value, path, values),
            Some(segment) if is_index(segment) => self.step().follow(path, values),
            // The path ends above the value: something below it is set.
            Some(_) if path.is_empty() => values.push(Value::Json(self.value)),
            Some(segment) => {
                let Some(rest) = path.strip_prefix(segment) else { return };
                if let Some(rest) = rest.strip_prefix('.').or(rest.is_empty().then_some(rest)) {
                    self.step().follow(rest, values);
                }
            }
        }
    }
}

fn is_deletion(element: Json<'_>) -> bool {
    element.str_at("$patch").is_some_and(|directive| directive == "delete")
}
