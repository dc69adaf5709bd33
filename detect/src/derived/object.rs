//! The name of the object that a request is about.

use crate::event::{Event, Key};
use crate::field::{Sight, Value, sight_of};
use crate::json::Json;

/// Appends the name in `objectRef`, else the one the response gives, else the one that the
/// request asks for.
pub(super) fn name<'a>(event: &Event<'a>, values: &mut Vec<Value<'a>>) -> Sight {
    let places = [
        event.at(Key::ObjectRef, &["name"]),
        event.at(Key::ResponseObject, &["metadata", "name"]),
        event.at(Key::RequestObject, &["metadata", "name"]),
        event.at(Key::RequestObject, &["metadata", "generateName"]),
    ];
    let is_name = |name: &Json<'_>| name.as_str().is_some_and(|name| !name.is_empty());
    if let Some(name) = places.into_iter().flatten().find(is_name) {
        values.push(Value::Json(name));
        return Sight::Clear;
    }
    // Only a creation can have a name that the reference does not show.
    match event.str(Key::Verb).as_deref() {
        Some("create") => sight_of(event, Key::RequestObject),
        _ => Sight::Clear,
    }
}
