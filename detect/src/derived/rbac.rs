//! What a written role allows, and what a written binding gives to whom.

use super::body::written;
use crate::event::{Event, Key};
use crate::field::{Sight, Value, is_write, sight_of};

const BINDINGS: &[&str] = &["rolebindings", "clusterrolebindings"];
const ROLES: &[&str] = &["roles", "clusterroles"];

/// Whether the request writes one of `resources` itself.
fn writes(event: &Event<'_>, resources: &[&str]) -> bool {
    let of_object = |name| event.str_at(Key::ObjectRef, name).unwrap_or_default();
    is_write(event)
        && resources.contains(&of_object("resource").as_ref())
        && of_object("subresource").is_empty()
}

/// The reference to the role. It cannot be changed, so a patch need not name it; then the
/// response does.
pub(super) fn read_role<'a>(event: &Event<'a>, part: &str, values: &mut Vec<Value<'a>>) -> Sight {
    if !writes(event, BINDINGS) {
        return Sight::Clear;
    }
    let (nodes, sight) = written(event);
    nodes.iter().filter_map(|node| node.child("roleRef")).for_each(|role| role.follow(part, values));
    if !values.is_empty() {
        return sight;
    }
    let response = event.at(Key::ResponseObject, &["roleRef", part]);
    values.extend(response.map(Value::Json));
    match (sight, event.get(Key::ResponseObject)) {
        (Sight::Hidden, _) => Sight::Hidden,
        (Sight::Clear, Some(_)) => Sight::Clear,
        (Sight::Clear, None) => sight_of(event, Key::ResponseObject),
    }
}

pub(super) fn read_subjects<'a>(event: &Event<'a>, path: &str, values: &mut Vec<Value<'a>>) -> Sight {
    read_list(event, BINDINGS, "subjects", path, values)
}

pub(super) fn read_rules<'a>(event: &Event<'a>, path: &str, values: &mut Vec<Value<'a>>) -> Sight {
    read_list(event, ROLES, "rules", path, values)
}

fn read_list<'a>(
    event: &Event<'a>,
    resources: &[&str],
    list: &str,
    path: &str,
    values: &mut Vec<Value<'a>>,
) -> Sight {
    if !writes(event, resources) {
        return Sight::Clear;
    }
    let (nodes, sight) = written(event);
    let elements = nodes.iter().filter_map(|node| node.child(list)).flat_map(|list| list.elements());
    elements.for_each(|element| element.follow(path, values));
    sight
}
