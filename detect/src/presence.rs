//! Which keys a request body has: a field whose path names another one is absent, which is
//! told without walking the body for it.

use std::collections::HashMap;

use crate::condition::Condition;
use crate::derived::Derived;
use crate::event::{Event, Key};
use crate::field::Field;
use crate::json::Kind;
use crate::scan;
use crate::truth::Truth;

/// The keys that fields name, each with a number.
#[derive(Debug, Default)]
pub(crate) struct Names {
    numbers: HashMap<Box<[u8]>, usize, foldhash::fast::RandomState>,
}

/// Numbers of keys of which all must be there.
pub(crate) type Needed = Box<[usize]>;

/// What a condition needs not to be false: the keys of any of these. A condition that cannot
/// be false has one that needs nothing; one that is false has none.
pub(crate) type Ways = Vec<Needed>;

/// How many ways are told apart; the more there are, the less each rules out.
const WAYS_MAX: usize = 8;

/// The ways of what may hold whatever the body is.
pub(crate) fn free() -> Ways {
    vec![Needed::default()]
}

/// The ways of a condition over numbered items, from those of the items.
pub(crate) fn ways(condition: &Condition, of_item: &impl Fn(usize) -> Ways) -> Ways {
    match condition {
        Condition::Known(Truth::False) => Ways::new(),
        Condition::Known(_) | Condition::Not(_) => free(),
        Condition::Item(item) => of_item(*item),
        Condition::Any(parts) => any_of(parts.iter().map(|part| ways(part, of_item))),
        Condition::All(parts) => all_of(parts.iter().map(|part| ways(part, of_item))),
    }
}

/// The ways of what needs one of these to hold.
pub(crate) fn any_of(parts: impl Iterator<Item = Ways>) -> Ways {
    let ways: Ways = parts.flatten().collect();
    if ways.len() > WAYS_MAX || ways.iter().any(|way| way.is_empty()) { free() } else { ways }
}

/// The ways of what needs all of these to hold.
pub(crate) fn all_of(parts: impl Iterator<Item = Ways>) -> Ways {
    parts.fold(free(), |left, right| {
        // Either is needed, so one of them alone is no mistake.
        if left.len() * right.len() > WAYS_MAX {
            return if right.len() < left.len() { right } else { left };
        }
        let both = |one: &Needed| right.iter().map(|other| union(one, other)).collect::<Vec<_>>();
        left.iter().flat_map(both).collect()
    })
}

fn union(left: &Needed, right: &Needed) -> Needed {
    left.iter().chain(right.iter().filter(|number| !left.contains(number))).copied().collect()
}

/// What is known of the keys of one body.
#[derive(Debug, Default)]
pub(crate) struct Present {
    bits: Vec<u64>,
    /// Whether the body has a shape of which the keys tell something.
    is_plain: bool,
}

impl Names {
    /// What must be in a body for the field to have a value there; nothing if that cannot be
    /// told.
    pub(crate) fn needed_by_field(&mut self, field: &Field) -> Needed {
        let path = match field {
            Field::Path(path) => path.strip_prefix("requestObject.").unwrap_or_default(),
            Field::Derived(Derived::Pod | Derived::Container | Derived::Written, path) => path,
            Field::Derived(derived, _) => path_behind(*derived),
        };
        self.needed_by_path(path)
    }

    /// The numbers of the keys in a dotted path.
    pub(crate) fn needed_by_path(&mut self, path: &str) -> Needed {
        path.split('.').filter(|name| !name.is_empty()).map(|name| self.number(name)).collect()
    }

    fn number(&mut self, name: &str) -> usize {
        let next = self.numbers.len();
        *self.numbers.entry(name.as_bytes().into()).or_insert(next)
    }
}

/// The path that a computed field is read from; empty if it is not one alone.
pub(crate) fn path_behind(derived: Derived) -> &'static str {
    match derived {
        Derived::PodHostpath => "hostPath.path",
        Derived::ContainerCapabilitiesAdd => "capabilities.add",
        Derived::ContainerImageRegistry
        | Derived::ContainerImageRepository
        | Derived::ContainerImageName
        | Derived::ContainerImageTag
        | Derived::ContainerImageDigest => "image",
        _ => "",
    }
}

impl Present {
    /// Looks at every key in the body of a request.
    pub(crate) fn read(&mut self, event: &Event<'_>, names: &Names) {
        let body = event.get(Key::RequestObject);
        // The paths of a JSON Patch are values, not keys.
        self.is_plain = body.is_some_and(|body| body.kind() == Kind::Object);
        if let Some(body) = body.filter(|_| self.is_plain) {
            self.bits.clear();
            self.bits.resize(names.numbers.len().div_ceil(64), 0);
            scan::each_key(body.bytes(), |key| self.add(key, names));
        }
    }

    /// A key with dots may be several steps of a path; names have none.
    fn add(&mut self, key: &[u8], names: &Names) {
        if self.note(key, names) || memchr::memchr(b'.', key).is_none() {
            return;
        }
        for name in key.split(|byte| *byte == b'.') {
            self.note(name, names);
        }
    }

    /// Notes that a name is there; false if no field has it.
    fn note(&mut self, name: &[u8], names: &Names) -> bool {
        let number = names.numbers.get(name);
        if let Some(number) = number {
            self.bits[number / 64] |= 1 << (number % 64);
        }
        number.is_some()
    }

    /// Whether what needs these keys is absent for sure.
    pub(crate) fn lacks(&self, needed: &[usize]) -> bool {
        self.is_plain && needed.iter().any(|number| self.bits[number / 64] >> (number % 64) & 1 == 0)
    }
}
