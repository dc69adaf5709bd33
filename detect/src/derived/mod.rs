//! Fields computed from an event, so that a rule covers every shape of the same act.

use crate::event::Event;
use crate::field::{Field, Sight, Value, View};

/// A computed field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Derived {
    Outcome,
    ActorName,
    ActorKind,
    ActorGroups,
    ActorOriginal,
    SourceIp,
    SourceScope,
    ObjectName,
}

/// The computed field of this name or alias, if there is one.
pub fn find(_name: &str) -> Option<Field> {
    None
}

/// Appends the values of a computed field to `values`.
pub fn read<'a>(_derived: Derived, _rest: &str, _view: View<'a>, _values: &mut Vec<Value<'a>>) -> Sight {
    Sight::Clear
}

/// How the request ended.
pub fn outcome(_event: &Event<'_>) -> &'static str {
    "pending"
}
