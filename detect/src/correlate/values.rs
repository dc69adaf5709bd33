//! What the requests of a group share: the values of some fields, in one piece of memory.
//!
//! **Invariant:** the piece is what the key of the group is a hash of. Neither changes from one
//! version to the next: the ids of episodes depend on them, and what is stored of them.

use std::hash::{Hash, Hasher};
use std::slice;
use std::sync::Arc;

use super::observation::{ARC_BYTES, COMBINATIONS_MAX};

/// What a group is known by: 128 bits of a hash of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupKey([u8; 16]);

impl GroupKey {
    /// The key whose number was written with its lowest byte first.
    pub(super) fn from_le_bytes(mut bytes: [u8; 16]) -> Self {
        bytes.reverse();
        Self(bytes)
    }

    /// The number of the key with its lowest byte first.
    pub(super) fn to_le_bytes(self) -> [u8; 16] {
        let Self(mut bytes) = self;
        bytes.reverse();
        bytes
    }
}

impl Hash for GroupKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from_ne_bytes(self.0));
    }
}

/// The values that a group shares; nothing where the field is absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupValues(Arc<[u8]>);

impl GroupValues {
    /// What the group of these values is known by.
    pub(super) fn key(&self) -> GroupKey {
        let mut key = [0; 16];
        key.copy_from_slice(&blake3::hash(&self.0).as_bytes()[..16]);
        GroupKey(key)
    }

    /// The values in the order of the fields.
    pub(super) fn iter(&self) -> impl Iterator<Item = Option<&str>> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (is_present, after) = rest.split_first()?;
            let (length, after) = after.split_first_chunk()?;
            let (text, after) = after.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
            rest = after;
            Some(if *is_present == 0 { None } else { std::str::from_utf8(text).ok() })
        })
    }

    /// The memory it takes besides the reference to it.
    pub(super) fn bytes(&self) -> usize {
        ARC_BYTES + self.0.len().next_multiple_of(size_of::<usize>())
    }
}

/// A group and its key.
#[derive(Clone, Debug)]
pub(super) struct Keyed {
    pub(super) key: GroupKey,
    pub(super) values: GroupValues,
}

impl Keyed {
    fn new(written: &[u8]) -> Self {
        let values = GroupValues(written.into());
        Self { key: values.key(), values }
    }
}

/// The groups that a match is in: nearly always one.
#[derive(Clone, Debug)]
pub(super) enum Membership {
    One(Keyed),
    Many(Arc<[Keyed]>),
}

impl Membership {
    /// That in groups of which the values have been [written](write()) one after the other.
    pub(super) fn of(groups: &[Vec<u8>]) -> Self {
        match groups {
            [group] => Membership::One(Keyed::new(group)),
            groups => Membership::Many(groups.iter().map(|group| Keyed::new(group)).collect()),
        }
    }

    /// The groups.
    pub(super) fn groups(&self) -> &[Keyed] {
        match self {
            Membership::One(group) => slice::from_ref(group),
            Membership::Many(groups) => groups,
        }
    }

    /// The memory it takes besides itself.
    pub(super) fn bytes(&self) -> usize {
        let groups = match self {
            Membership::One(_) => 0,
            Membership::Many(groups) => ARC_BYTES + size_of_val(&**groups),
        };
        groups + self.groups().iter().map(|group| group.values.bytes()).sum::<usize>()
    }
}

/// Every way to take one value of each field, up to a limit.
pub(super) struct Ways {
    ways: Vec<Vec<u8>>,
    /// How many there are without the limit.
    count: usize,
}

/// How much room the values of most groups need, in bytes.
const USUAL_BYTES: usize = 128;

impl Ways {
    /// Those of no field: one.
    pub(super) fn new() -> Self {
        Self { ways: vec![Vec::with_capacity(USUAL_BYTES)], count: 1 }
    }

    /// Goes on with the values of one more field; without any, with that there is none.
    pub(super) fn follow<T: AsRef<str>>(&mut self, values: &[T]) {
        match values {
            [] => self.follow_one(None),
            [value] => self.follow_one(Some(value.as_ref())),
            values => {
                let with = |way: &Vec<u8>, value: &T| {
                    let mut way = way.clone();
                    write(Some(value.as_ref()), &mut way);
                    way
                };
                let longer =
                    self.ways.iter().flat_map(|way| values.iter().map(move |value| with(way, value)));
                self.ways = longer.take(COMBINATIONS_MAX).collect();
                self.count = self.count.saturating_mul(values.len());
            }
        }
    }

    fn follow_one(&mut self, value: Option<&str>) {
        self.ways.iter_mut().for_each(|way| write(value, way));
    }

    /// How many groups there would be without a limit.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The groups of these values.
    pub(super) fn membership(&self) -> Membership {
        Membership::of(&self.ways)
    }
}

/// Appends a value so that it shows where it ends.
pub(super) fn write(value: Option<&str>, written: &mut Vec<u8>) {
    let text = value.unwrap_or_default();
    written.push(u8::from(value.is_some()));
    written.extend_from_slice(&(text.len() as u64).to_le_bytes());
    written.extend_from_slice(text.as_bytes());
}
