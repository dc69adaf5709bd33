//! What was observed of a match as bytes, for a store.
//!
//! Roles are named by what they mean rather than by number, so that bytes outlive a restart
//! and a change of other rules: roles that are gone, or mean something else now, are left out.
//!
//! **Invariant:** no bytes are read into more than an event could give, nor into more memory
//! than a small multiple of their own length.

use std::sync::Arc;

use super::observation::{Amount, AuditId, COMBINATIONS_MAX, Request, TEXT_BYTES_MAX};
use super::observed::{Observed, Role};
use super::plan::Feed;
use super::relations::Relations;
use super::values::{self, Membership};

/// The form; another one begins with another byte.
const VERSION: u8 = 1;

const HAS_TIME: u8 = 1;
const IS_HIDDEN: u8 = 2;
const IS_CROWDED: u8 = 4;

/// What audit ids and values begin with.
const ABSENT: u8 = 0;
const SHORT: u8 = 1;
const LONG: u8 = 2;
const UUID: u8 = 3;

const NOTHING: u8 = 0;
const VALUES: u8 = 1;
const NUMBERS: u8 = 2;

impl Observed {
    /// Writes it in a form that [`Observed::from_bytes`] reads, also among other rules.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, self.flags()];
        bytes.extend(self.time_us().unwrap_or_default().to_le_bytes());
        let Request { identity, audit_id } = self.request();
        bytes.extend(identity.to_le_bytes());
        match audit_id {
            AuditId::Uuid(uuid) => {
                bytes.push(UUID);
                bytes.extend(uuid);
            }
            AuditId::Text(text) => write_text(Some(text), &mut bytes),
        }
        for role in self.roles() {
            write_role(role, &mut bytes);
        }
        bytes
    }

    /// Reads what [`Observed::to_bytes`] wrote; nothing if it is something else, or if these
    /// correlations want none of it.
    pub fn from_bytes(bytes: &[u8], relations: &Relations) -> Option<Self> {
        let mut form = Form { rest: bytes };
        if form.byte()? != VERSION {
            return None;
        }
        let flags = form.byte()?;
        let time = i64::from_le_bytes(form.array()?);
        let identity = u64::from_le_bytes(form.array()?);
        let request = Request { identity, audit_id: form.audit_id()? };
        let time = (flags & HAS_TIME != 0).then_some(time);
        let mut observed = Observed::new(relations.clone(), time, request);
        while !form.rest.is_empty() {
            let name = u128::from_le_bytes(form.array()?);
            let length = u32::from_le_bytes(form.array()?);
            let mut role = Form { rest: form.take(usize::try_from(length).ok()?)? };
            let is_known = observed.roles().iter().any(|known| known.name == name);
            if let Some(feed) = relations.feed(name).filter(|_| !is_known) {
                observed.add(role.role(feed)?, false);
            }
        }
        if flags & IS_HIDDEN != 0 {
            observed.hide();
        }
        observed.crowd(flags & IS_CROWDED != 0);
        let is_wanted = !observed.roles().is_empty() || time.is_none() || observed.is_hidden();
        is_wanted.then_some(observed)
    }

    fn flags(&self) -> u8 {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        flag(self.time_us().is_some(), HAS_TIME)
            | flag(self.is_hidden(), IS_HIDDEN)
            | flag(self.is_crowded(), IS_CROWDED)
    }
}

/// A role with its name and its length, so that who does not know it can pass it over.
fn write_role(role: &Role, bytes: &mut Vec<u8>) {
    bytes.extend(role.name.to_le_bytes());
    let start = bytes.len();
    bytes.extend([0; 4]);
    write_count(role.membership.groups().len(), bytes);
    for group in role.membership.groups() {
        group.values.iter().for_each(|value| write_text(value, bytes));
    }
    match &role.amount {
        Amount::Nothing => bytes.push(NOTHING),
        Amount::Values(values) => {
            bytes.push(VALUES);
            write_count(values.len(), bytes);
            values.iter().for_each(|value| write_text(Some(value), bytes));
        }
        Amount::Numbers(numbers) => {
            bytes.push(NUMBERS);
            write_count(numbers.len(), bytes);
            numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        }
    }
    // Invariant: a role has at most 64 groups and 65 values, each of a few texts of 256 bytes.
    let length = u32::try_from(bytes.len() - start - 4).unwrap_or(u32::MAX);
    if let Some(place) = bytes.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

fn write_count(count: usize, bytes: &mut Vec<u8>) {
    // Invariant: an event gives at most 65 of anything.
    bytes.push(u8::try_from(count).unwrap_or(u8::MAX));
}

/// A text of at most 256 bytes, or that there is none.
fn write_text(text: Option<&str>, bytes: &mut Vec<u8>) {
    let Some(text) = text else { return bytes.push(ABSENT) };
    // Invariant: no text is longer than `TEXT_BYTES_MAX`, which is one more than a byte holds.
    match u8::try_from(text.len()) {
        Ok(length) => bytes.extend([SHORT, length]),
        Err(_) => bytes.push(LONG),
    }
    bytes.extend(text.as_bytes());
}

/// What is left to read.
struct Form<'b> {
    rest: &'b [u8],
}

impl<'b> Form<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const COUNT: usize>(&mut self) -> Option<[u8; COUNT]> {
        self.take(COUNT)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// How many follow; at most one more than are combined.
    fn count(&mut self) -> Option<usize> {
        Some(usize::from(self.byte()?)).filter(|count| *count <= COMBINATIONS_MAX + 1)
    }

    fn audit_id(&mut self) -> Option<AuditId> {
        if self.rest.first() == Some(&UUID) {
            self.byte()?;
            return self.array().map(AuditId::Uuid);
        }
        self.text().map(|text| AuditId::Text(text.into()))
    }

    /// The value of a group: a text, or that there is none.
    // What may be absent may also be malformed.
    #[allow(clippy::option_option)]
    fn value(&mut self) -> Option<Option<&'b str>> {
        match self.byte()? {
            ABSENT => Some(None),
            tag => self.text_behind(tag).map(Some),
        }
    }

    fn text(&mut self) -> Option<&'b str> {
        let tag = self.byte()?;
        self.text_behind(tag)
    }

    fn text_behind(&mut self, tag: u8) -> Option<&'b str> {
        let length = match tag {
            SHORT => usize::from(self.byte()?),
            LONG => TEXT_BYTES_MAX,
            _ => return None,
        };
        core::str::from_utf8(self.take(length)?).ok()
    }

    /// All of a role.
    fn role(&mut self, feed: &Feed) -> Option<Role> {
        let mut groups = Vec::new();
        for _ in 0..self.count()? {
            let mut group = Vec::new();
            for _ in &feed.group {
                values::write(self.value()?, &mut group);
            }
            groups.push(group);
        }
        let amount = self.amount(feed)?;
        self.rest.is_empty().then(|| Role::new(feed, Membership::of(&groups), amount))
    }

    /// What the role counts or computes with; nothing if it is of another kind.
    fn amount(&mut self, feed: &Feed) -> Option<Amount> {
        match self.byte()? {
            NOTHING if feed.amounts.is_empty() => Some(Amount::Nothing),
            VALUES if !feed.amounts.is_empty() && !feed.is_metric => {
                let values = (0..self.count()?).map(|_| self.text().map(Arc::from));
                values.collect::<Option<Vec<_>>>().map(|values| Amount::Values(values.into()))
            }
            NUMBERS if feed.is_metric => {
                let numbers = (0..self.count()?).map(|_| {
                    let number = f64::from_le_bytes(self.array()?);
                    number.is_finite().then_some(number)
                });
                let numbers = numbers.collect::<Option<Vec<_>>>()?;
                (!numbers.is_empty()).then(|| Amount::Numbers(numbers.into()))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
