//! What a request writes, whatever the shape it is written in.
//!
//! A create, an update, a merge patch, a strategic merge patch and server-side apply have
//! the shape of the object. A JSON Patch is seen as one [`Tree`] for each value that it
//! sets: the segments of its path, then the value. What a patch takes from elsewhere in
//! the object (`copy`, `move`) is looked up in the response.
//!
//! What is written is not bounded by count, since a bound would hide what comes after it: the
//! event bounds the work, and every walk is linear in it. What copies take along is bounded, as
//! few bytes could ask for much; where they go counts as hidden anyway.

use super::Known;
use crate::event::{Event, Key};
use crate::field::{Sight, Value, ends, follow_node, is_write, sight_of};
use crate::json::{Json, Kind};
use crate::kept::{Kept, Node};

/// How many places of a response are looked up for one patch, and how many copies within a
/// patch are followed without one. Beyond it the whole response counts as written: lookups
/// stay linear, and many of them hide nothing.
const LOOKUPS_MAX: usize = 8;

/// How many keys deep a lookup goes; what stands below counts as written. The deepest list
/// of containers is six deep, and each key is one more walk over the body.
const LOOKUP_DEPTH_MAX: usize = 8;

/// How many values one copy within a patch takes along.
const COPIED_MAX: usize = 1024;

/// How many segments the paths of all those may have that the copies of one patch take along.
const COPIED_SEGMENTS_MAX: usize = 1 << 15;

/// How many segments the path of an operation may have: no object is as deep, so what is behind
/// more is nowhere.
const SEGMENTS_MAX: usize = 1 << 10;

/// The parts of an object that a request sets.
pub(super) struct Written<'a> {
    /// The body, if it has the shape of the object.
    pub(super) whole: Option<Kept<'a>>,
    parts: Vec<Part<'a>>,
    /// Whether the body is shown.
    pub(super) sight: Sight,
}

/// A value that a patch sets, and where; no value where the event does not show it.
struct Part<'a> {
    path: Vec<String>,
    value: Option<Json<'a>>,
}

impl<'a> Written<'a> {
    /// What the request writes; nothing for requests that do not write.
    pub(super) fn by(event: &Event<'a>) -> Self {
        let mut written = Self { whole: None, parts: Vec::new(), sight: Sight::Clear };
        if !is_write(event) {
            return written;
        }
        match event.get(Key::RequestObject) {
            None => written.sight = sight_of(event, Key::RequestObject),
            Some(patch) if patch.kind() == Kind::Array => written.parts = parts(patch, event),
            object => written.whole = object.map(Kept::new),
        }
        written
    }

    /// Each part as a tree from the root of the object.
    pub(super) fn trees<'t>(&'t self) -> impl Iterator<Item = Tree<'a, 't>> + use<'a, 't> {
        let whole = self.whole.as_ref().map(|value| Tree::of(Node::Kept(value)));
        let part = |part: &'t Part<'a>| Tree { path: &part.path, value: part.value.map(Node::Loose) };
        whole.into_iter().chain(self.parts.iter().map(part))
    }
}

/// Appends what stands at a dotted path of the object that the request writes.
pub(super) fn read<'a>(path: &str, known: &Known<'a>, values: &mut Vec<Value<'a>>) -> Sight {
    let written = known.written();
    written.trees().fold(written.sight, |sight, tree| sight.and(tree.follow(path, values)))
}

/// The object in the response, if there is one: a refusal answers with a `Status`.
pub(super) fn response<'a>(event: &Event<'a>) -> Option<Json<'a>> {
    let object = event.get(Key::ResponseObject).filter(|object| object.kind() == Kind::Object)?;
    (object.str_at("kind").as_deref() != Some("Status")).then_some(object)
}

fn parts<'a>(operations: Json<'a>, event: &Event<'a>) -> Vec<Part<'a>> {
    let mut parts = Vec::new();
    let mut lookups: Vec<Vec<String>> = Vec::new();
    let mut copies_left = if response(event).is_none() { LOOKUPS_MAX } else { 0 };
    let mut segments_left = COPIED_SEGMENTS_MAX;
    let segments_at = |operation: Json<'a>, key| segments(&operation.str_at(key)?);
    for operation in operations.elements() {
        let Some(path) = segments_at(operation, "path") else { continue };
        let value = match operation.str_at("op").as_deref() {
            Some("add" | "replace") => operation.get("value").or(Some(Json::NULL)),
            Some("copy" | "move") => {
                if let (Some(from), 1..) = (segments_at(operation, "from"), copies_left) {
                    copies_left -= 1;
                    let found = copied(&parts, &from, &path, &mut segments_left);
                    parts.extend(found);
                }
                None
            }
            _ => continue,
        };
        if value.is_none_or(|value| is_item(&path, value)) && lookups.len() <= LOOKUPS_MAX {
            let list = path.iter().position(|segment| is_index(segment)).unwrap_or(path.len());
            let lookup = &path[..list.min(LOOKUP_DEPTH_MAX)];
            if !lookups.iter().any(|known| known == lookup) {
                lookups.push(lookup.to_vec());
            }
        }
        parts.extend(value.map(|value| Part { path, value: Some(value) }));
    }
    if lookups.len() > LOOKUPS_MAX {
        lookups = vec![Vec::new()];
    }
    parts.extend(lookups.into_iter().filter_map(|path| taken(path, event)));
    parts
}

/// What earlier operations of the same patch put to where a copy takes it from; of much, the first.
fn copied<'a>(
    parts: &[Part<'a>],
    from: &[String],
    path: &[String],
    segments_left: &mut usize,
) -> Vec<Part<'a>> {
    let mut copy = |part: &Part<'a>| {
        let value = part.value?;
        let mut has_room = |below: &[String]| {
            let left = segments_left.checked_sub(path.len() + below.len());
            left.inspect(|left| *segments_left = *left)
        };
        if let Some(below) = part.path.strip_prefix(from) {
            has_room(below)?;
            return Some(Part { path: [path, below].concat(), value: Some(value) });
        }
        let below =
            from.strip_prefix(part.path.as_slice()).filter(|below| below.len() <= LOOKUP_DEPTH_MAX)?;
        let value = below.iter().try_fold(value, |value, key| match value.kind() {
            Kind::Array => value.elements().nth(key.parse().ok()?),
            _ => value.get(key),
        })?;
        has_room(&[])?;
        Some(Part { path: path.to_vec(), value: Some(value) })
    };
    parts.iter().filter_map(&mut copy).take(COPIED_MAX).collect()
}

/// A scalar put into a list: the rest of the list, such as the words of a command before
/// it, is not in the patch.
fn is_item(path: &[String], value: Json<'_>) -> bool {
    let is_scalar = !matches!(value.kind(), Kind::Array | Kind::Object);
    is_scalar && path.last().is_some_and(|segment| is_index(segment))
}

/// What stands in the response where a patch put something that it does not show. Lists are
/// taken whole, since later operations may have moved their elements.
fn taken<'a>(path: Vec<String>, event: &Event<'a>) -> Option<Part<'a>> {
    let Some(response) = response(event) else { return Some(Part { path, value: None }) };
    let value = path.iter().try_fold(response, |value, key| value.get(key))?;
    Some(Part { path, value: Some(value) })
}

/// The segments of a JSON pointer. The API server ignores what stands before the first
/// slash, so it is ignored here. Nothing for one that leads deeper than any object.
pub(super) fn segments(pointer: &str) -> Option<Vec<String>> {
    let is_real = memchr::memchr_iter(b'/', pointer.as_bytes()).count() <= SEGMENTS_MAX;
    let plain = |segment: &str| segment.replace("~1", "/").replace("~0", "~");
    is_real.then(|| pointer.split('/').skip(1).map(plain).collect())
}

/// True for what points at an element of a list; the API server takes `-1` and `+1` too.
fn is_index(segment: &str) -> bool {
    segment == "-" || segment.parse::<i64>().is_ok()
}

/// A value below some path, walked from the beginning of the path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree<'a, 't> {
    path: &'t [String],
    value: Option<Node<'a, 't>>,
}

impl<'a, 't> Tree<'a, 't> {
    /// A tree that is all value.
    pub(super) fn of(value: Node<'a, 't>) -> Self {
        Self { path: &[], value: Some(value) }
    }

    /// What stands behind a key.
    pub(super) fn get(self, key: &str) -> Option<Self> {
        match (self.path, self.value) {
            ([first, path @ ..], _) => (first == key).then_some(Self { path, ..self }),
            ([], Some(value)) => value.get(key).map(Self::of),
            ([], None) => Some(self),
        }
    }

    /// The parts behind some keys, found in one pass.
    pub(super) fn get_all<const COUNT: usize>(self, keys: [&str; COUNT]) -> [Option<Self>; COUNT] {
        match self.value {
            Some(value) if self.path.is_empty() => value.get_all(keys).map(|value| Some(Self::of(value?))),
            _ => keys.map(|key| self.get(key)),
        }
    }

    /// Follows `keys` from object to object.
    pub(super) fn at(self, keys: &[&str]) -> Option<Self> {
        keys.iter().try_fold(self, |tree, key| tree.get(key))
    }

    /// The elements of a list, without those that a strategic patch deletes.
    pub(super) fn elements(self) -> impl Iterator<Item = Self> {
        let (one, list) = match (self.path, self.value) {
            ([first, path @ ..], _) => (is_index(first).then_some(Self { path, ..self }), None),
            ([], None) => (Some(self), None),
            ([], Some(list)) => (None, Some(list)),
        };
        let elements = list.into_iter().flat_map(Node::elements);
        one.into_iter().chain(elements.filter(|element| !is_deletion(*element)).map(Self::of))
    }

    /// What this tree shows of the list that it is.
    pub(super) fn listed(self) -> Listed<'a, 't> {
        match (self.path, self.value.map(|value| (value, value.kind()))) {
            ([first, path @ ..], _) if is_index(first) => {
                Listed::Patched(first.parse().ok(), Self { path, ..self })
            }
            ([], None | Some((_, Kind::Null))) => Listed::Nothing,
            ([], Some((list, Kind::Array))) => Listed::Whole(list),
            _ => Listed::Single(self),
        }
    }

    /// The value itself, where the path ends.
    pub(super) fn value(self) -> Option<Json<'a>> {
        self.value.filter(|_| self.path.is_empty()).map(Node::json)
    }

    /// Hidden where the path ends in a value that the event does not show.
    pub(super) fn sight(self) -> Sight {
        if self.path.is_empty() && self.value.is_none() { Sight::Hidden } else { Sight::Clear }
    }

    /// Appends what stands at the end of a dotted path, lists as they are.
    pub(super) fn ends(mut self, mut path: &str, found: &mut Vec<Self>) {
        while let ([first, below @ ..], false) = (self.path, path.is_empty()) {
            let after = path.strip_prefix(first.as_str());
            match after.and_then(|rest| rest.strip_prefix('.').or(rest.is_empty().then_some(rest))) {
                Some(rest) => path = rest,
                None if is_index(first) => {}
                None => return,
            }
            self.path = below;
        }
        match self.value {
            Some(value) if self.path.is_empty() => {
                let mut values = Vec::new();
                ends(value, path, &mut values);
                found.extend(values.into_iter().map(Self::of));
            }
            _ => found.push(self),
        }
    }

    /// Appends what stands at the end of a dotted path, through every element of lists.
    pub(super) fn follow(mut self, mut path: &str, values: &mut Vec<Value<'a>>) -> Sight {
        while let [first, below @ ..] = self.path {
            let after = path.strip_prefix(first.as_str());
            match after.and_then(|rest| rest.strip_prefix('.').or(rest.is_empty().then_some(rest))) {
                Some(rest) if !path.is_empty() => path = rest,
                _ if is_index(first) => {}
                _ if path.is_empty() => {
                    values.push(Value::Json(Json::EMPTY_OBJECT));
                    return Sight::Clear;
                }
                _ => return Sight::Clear,
            }
            self.path = below;
        }
        if let Some(value) = self.value {
            follow_node(value, path, values);
        }
        self.sight()
    }
}

/// What a tree shows of a list.
pub(super) enum Listed<'a, 't> {
    /// Nothing, or nothing that the event shows.
    Nothing,
    /// The list itself.
    Whole(Node<'a, 't>),
    /// One element or what is below it, and the position that a patch gives for it.
    Patched(Option<usize>, Tree<'a, 't>),
    /// Something that is no list.
    Single(Tree<'a, 't>),
}

/// The keys by which strategic patches tell the entries of lists apart.
const MERGE_KEYS: &[&str] =
    &["name", "key", "ip", "port", "containerPort", "mountPath", "devicePath", "topologyKey", "type", "uid"];

/// True for a list entry that a strategic patch deletes. Every other kind of body keeps
/// such an entry and drops the directive as an unknown field, so an entry that says more
/// or less than which one is meant counts as written.
pub(super) fn is_deletion(element: Node<'_, '_>) -> bool {
    element.str_at("$patch").as_deref() == Some("delete")
        && element.entries().count() == 2
        && MERGE_KEYS.iter().any(|key| element.get(key).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts_of(operations: &[String]) -> Vec<(usize, bool)> {
        let event = format!(r#"{{"verb":"patch","requestObject":[{}]}}"#, operations.join(","));
        let event = Event::parse(event.as_bytes()).unwrap();
        Written::by(&event).parts.iter().map(|part| (part.path.len(), part.value.is_some())).collect()
    }

    fn add(path: &str) -> String {
        format!(r#"{{"op":"add","path":"{path}","value":1}}"#)
    }

    fn copy(from: &str, path: &str) -> String {
        format!(r#"{{"op":"copy","from":"{from}","path":"{path}"}}"#)
    }

    #[test]
    fn copies_take_along_no_more_than_is_bounded_and_where_they_go_is_hidden() {
        let values = (0..COPIED_MAX).map(|n| add(&format!("/a/b{n}")));
        for (depth, room) in
            [(1, 8 * COPIED_MAX), (99, COPIED_SEGMENTS_MAX / 100), (1000, COPIED_SEGMENTS_MAX / 1001)]
        {
            let copies = (0..8).map(|n| copy("/a", &format!("/c{n}{}", "/x".repeat(depth - 1))));
            let parts = parts_of(&values.clone().chain(copies).collect::<Vec<_>>());
            let (shown, hidden): (Vec<_>, Vec<_>) = parts.into_iter().partition(|(_, is_shown)| *is_shown);
            assert_eq!(shown.len(), COPIED_MAX + room, "{depth}");
            assert_eq!(hidden.len(), 8, "{depth}");
        }
    }

    #[test]
    fn what_lies_deeper_than_any_object_is_nowhere() {
        let deep = "/x".repeat(SEGMENTS_MAX);
        assert_eq!(parts_of(&[add(&deep)]), [(SEGMENTS_MAX, true)]);
        let deeper = deep + "/x";
        assert_eq!(parts_of(&[add(&deeper), add("/a"), copy("/a", &deeper)]), [(1, true)]);
        assert_eq!(parts_of(&[add("/a"), copy(&deeper, "/b")]), [(1, true), (1, false)]);
    }
}
