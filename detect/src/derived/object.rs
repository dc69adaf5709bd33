//! The name of the object that a request is about.

use crate::event::{Event, Key};
use crate::field::{Sight, Value, sight_of};
use crate::json::Json;

/// Where a name may stand, the best first.
const PLACES: &[(Key, &[&str])] = &[
    (Key::ObjectRef, &["name"]),
    (Key::ResponseObject, &["metadata", "name"]),
    (Key::RequestObject, &["metadata", "name"]),
    (Key::RequestObject, &["metadata", "generateName"]),
];

/// Appends the name in `objectRef`, else the one the response gives, else the one that the
/// request asks for.
pub(super) fn name<'a>(event: &Event<'a>, values: &mut Vec<Value<'a>>) -> Sight {
    let is_name = |name: &Json<'_>| name.as_str().is_some_and(|name| !name.is_empty());
    // A response is long, and hardly ever needed.
    let mut names = PLACES.iter().filter_map(|(key, path)| event.at(*key, path));
    if let Some(name) = names.find(is_name) {
        values.push(Value::Json(name));
        return Sight::Clear;
    }
    // Only a creation can have a name that the reference does not show.
    match event.str(Key::Verb).as_deref() {
        Some("create") => sight_of(event, Key::RequestObject),
        _ => Sight::Clear,
    }
}
