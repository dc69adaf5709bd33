//! What a correlation keeps of one match: when, in which group, and how much.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use crate::alert::RequestIdentity;
use crate::event::{Event, Key};
use crate::field::{Field, Sight, Value, View};

use super::plan::Feed;
use super::values::{GroupKey, GroupValues, Membership, Ways};

/// How many groups, and how many values, one match may belong to when a field has many.
pub(super) const COMBINATIONS_MAX: usize = 64;
/// How much of a value is kept, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 256;
/// How much of it is the beginning of a longer value; the rest tells such values apart.
const START_BYTES_MAX: usize = TEXT_BYTES_MAX - 18;

/// One match in one role and one group.
///
/// Ordered by time; at one time, in the order of the rules that a correlation lists, so
/// that matches of the same microsecond count as being in order.
#[derive(Clone, Debug)]
pub(super) struct Observation {
    /// Microseconds since 1970.
    pub(super) time: i64,
    pub(super) plan: usize,
    pub(super) position: u8,
    /// True when a correlation made it of other matches.
    pub(super) is_derived: bool,
    pub(super) request: Request,
    pub(super) group: GroupKey,
    pub(super) values: GroupValues,
    pub(super) amount: Amount,
}

/// Which request matched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Request {
    /// A hash of what identifies it.
    pub(super) identity: u64,
    pub(super) audit_id: AuditId,
}

/// An audit id; most are UUIDs, which take less room as numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum AuditId {
    Uuid([u8; 16]),
    Text(Arc<str>),
}

/// What a match adds to a group besides itself.
#[derive(Clone, Debug)]
pub(super) enum Amount {
    Nothing,
    Values(Arc<[Arc<str>]>),
    Numbers(Arc<[f64]>),
}

impl Observation {
    /// What observations are processed in the order of.
    pub(super) fn order(&self) -> (i64, usize, u8, &Request, GroupKey) {
        (self.time, self.plan, self.position, &self.request, self.group)
    }

    /// The memory it takes; what it shares with others counts for each of them.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.request.audit_id.bytes() + self.values.bytes() + self.amount.bytes()
    }
}

impl Amount {
    /// The memory it takes besides itself.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Amount::Nothing => 0,
            Amount::Values(values) => ARC_BYTES + values.iter().map(text_bytes).sum::<usize>(),
            Amount::Numbers(numbers) => ARC_BYTES + size_of_val(&**numbers),
        }
    }
}

/// What counts the owners of something shared.
pub(super) const ARC_BYTES: usize = 2 * size_of::<usize>();

/// The memory of a shared text, the reference to it included.
pub(super) fn text_bytes(text: &Arc<str>) -> usize {
    size_of::<Arc<str>>() + ARC_BYTES + text.len().next_multiple_of(size_of::<usize>())
}

impl AuditId {
    /// Keeps an id as short as possible.
    pub(super) fn new(text: &str) -> Self {
        match parse_uuid(text) {
            Some(bytes) => AuditId::Uuid(bytes),
            None => AuditId::Text(capped(text.into()).into()),
        }
    }

    /// The memory it takes besides itself.
    pub(super) fn bytes(&self) -> usize {
        match self {
            AuditId::Text(text) => text_bytes(text) - size_of::<Arc<str>>(),
            AuditId::Uuid(_) => 0,
        }
    }

    /// The id as it was.
    pub(super) fn text(&self) -> String {
        match self {
            AuditId::Text(text) => text.as_ref().to_owned(),
            AuditId::Uuid(bytes) => {
                let mut text = String::with_capacity(36);
                for (at, byte) in bytes.iter().enumerate() {
                    if matches!(at, 4 | 6 | 8 | 10) {
                        text.push('-');
                    }
                    text.extend([byte >> 4, byte & 0xf].map(|digit| char::from(HEX[usize::from(digit)])));
                }
                text
            }
        }
    }
}

// Invariant: there are as many as half a byte has values.
const HEX: [u8; 16] = *b"0123456789abcdef";

/// The bytes of a UUID in its usual spelling, which [`AuditId::text`] gives back.
fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let spelling: &[u8; 36] = text.as_bytes().try_into().ok()?;
    let mut digits = 0_u128;
    for (at, byte) in spelling.iter().enumerate() {
        let digit = match (at, byte) {
            (8 | 13 | 18 | 23, b'-') => continue,
            (8 | 13 | 18 | 23, _) => return None,
            (_, b'0'..=b'9') => byte - b'0',
            (_, b'a'..=b'f') => byte - b'a' + 10,
            _ => return None,
        };
        digits = digits << 4 | u128::from(digit);
    }
    Some(digits.to_be_bytes())
}

/// Which request an event is of.
pub(super) fn request_of(identity: &RequestIdentity, event: &Event<'_>) -> Request {
    // Half of a hash still tells apart the few requests that are compared.
    #[allow(clippy::cast_possible_truncation)]
    let identity = identity.of_request() as u64;
    Request { identity, audit_id: AuditId::new(&event.str(Key::AuditId).unwrap_or_default()) }
}

/// What an event shows of the fields of a role.
pub(super) enum Shown {
    /// Its groups, and the amount; `is_cut` when there were too many of either.
    Role { membership: Membership, amount: Amount, is_cut: bool },
    /// Nothing to count or to compute with.
    Nothing,
    /// A field that the event hides.
    Hidden,
}

/// The groups that an event is in by some of its fields.
#[derive(Clone)]
pub(super) enum Grouped {
    /// Its groups; `is_cut` when there are too many.
    Shown { membership: Membership, is_cut: bool },
    /// A field that the event hides.
    Hidden,
}

impl Grouped {
    /// Those by the values that were combined.
    pub(super) fn by(ways: &Ways) -> Self {
        Grouped::Shown { membership: ways.membership(), is_cut: ways.count() > COMBINATIONS_MAX }
    }
}

/// What a role shows that is in these groups and counts, or computes with, these texts of each of
/// its fields.
pub(super) fn shown<T: AsRef<str>>(feed: &Feed, grouped: Grouped, amounts: &[&[T]]) -> Shown {
    let Grouped::Shown { membership, is_cut } = grouped else { return Shown::Hidden };
    let amount = match amounts {
        [] => Amount::Nothing,
        _ if feed.is_metric => {
            let texts = amounts.iter().flat_map(|texts| texts.iter());
            let numbers = texts.filter_map(|text| text.as_ref().trim().parse().ok());
            Amount::Numbers(numbers.filter(|number: &f64| number.is_finite()).collect())
        }
        [texts] => {
            let texts = texts.iter().take(COMBINATIONS_MAX);
            Amount::Values(texts.map(|text| text.as_ref().into()).collect())
        }
        _ => Amount::Values(combinations(amounts).iter().map(|values| tuple(values)).collect()),
    };
    if matches!(&amount, Amount::Numbers(numbers) if numbers.is_empty()) {
        return Shown::Nothing;
    }
    let count = amounts.iter().fold(1, |count: usize, texts| count.saturating_mul(texts.len()));
    Shown::Role { membership, amount, is_cut: is_cut || count > COMBINATIONS_MAX }
}

/// Every way to take one of each list, up to a limit.
fn combinations<'t, T: AsRef<str>>(lists: &[&'t [T]]) -> Vec<Vec<&'t str>> {
    lists.iter().fold(vec![Vec::new()], |found, list| {
        let longer = found.iter().flat_map(|prefix: &Vec<&'t str>| {
            list.iter().map(move |value| prefix.iter().copied().chain([value.as_ref()]).collect())
        });
        longer.take(COMBINATIONS_MAX).collect()
    })
}

/// One text for a tuple of values that no other tuple has.
fn tuple(values: &[&str]) -> Arc<str> {
    // Invariant: texts can always be written.
    let text = serde_json::to_string(values).unwrap_or_default();
    capped(text.into()).into()
}

/// The texts of fields in one event, each field read once.
pub(super) struct Texts<'v> {
    view: View<'v>,
    found: Vec<Cow<'v, str>>,
    read: Vec<(&'v Field, Range<usize>, Sight)>,
    values: Vec<Value<'v>>,
}

impl<'v> Texts<'v> {
    /// Those in an event.
    pub(super) fn of(view: View<'v>) -> Self {
        Self { view, found: Vec::new(), read: Vec::new(), values: Vec::new() }
    }

    /// Reads a field, and says which of the texts are its own.
    pub(super) fn read(&mut self, field: &'v Field) -> (Range<usize>, Sight) {
        if let Some((_, range, sight)) = self.read.iter().find(|(known, ..)| *known == field) {
            return (range.clone(), *sight);
        }
        self.values.clear();
        let sight = field.read(self.view, &mut self.values);
        let start = self.found.len();
        for text in self.values.iter().filter_map(Value::text) {
            // One more than are combined, so that it shows.
            if self.found.len() - start > COMBINATIONS_MAX {
                break;
            }
            let text = capped(text);
            if !self.found.iter().skip(start).any(|known| *known == text) {
                self.found.push(text);
            }
        }
        let range = start..self.found.len();
        self.read.push((field, range.clone(), sight));
        (range, sight)
    }

    /// The texts of a field that has been read: each once and capped.
    pub(super) fn at(&self, range: Range<usize>) -> &[Cow<'v, str>] {
        self.found.get(range).unwrap_or_default()
    }
}

/// As much of a text as is kept. Texts that differ still do, and what is kept is kept as it
/// is: correlations of correlations know groups by it.
fn capped(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.len() <= TEXT_BYTES_MAX {
        return text;
    }
    let end = (0..=START_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let hash = blake3::hash(text.as_bytes()).to_hex();
    format!("{} #{}", text.get(..end).unwrap_or_default(), &hash[..16]).into()
}
