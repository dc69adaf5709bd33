//! What a correlation keeps of one match: when, in which group, and how much.

use std::borrow::Cow;
use std::sync::Arc;

use crate::alert::{self, RequestIdentity};
use crate::event::{Event, Key};
use crate::field::{Field, Sight, Value, View};

use super::plan::Feed;

/// How many groups, and how many values, one match may belong to when a field has many.
pub(super) const COMBINATIONS_MAX: usize = 64;
/// How much of a value is kept, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 256;
/// How much of it is the beginning of a longer value; the rest tells such values apart.
const START_BYTES_MAX: usize = TEXT_BYTES_MAX - 18;

/// The values that a group shares; nothing where the field is absent.
pub(super) type GroupValues = Arc<[Option<Box<str>>]>;

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
    pub(super) group: u128,
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
    pub(super) fn order(&self) -> (i64, usize, u8, &Request, u128) {
        (self.time, self.plan, self.position, &self.request, self.group)
    }

    /// The memory it takes; what it shares with others counts for each of them.
    pub(super) fn bytes(&self) -> usize {
        let values = values_bytes(&self.values);
        size_of::<Self>() + self.request.audit_id.bytes() + values + self.amount.bytes()
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
const ARC_BYTES: usize = 2 * size_of::<usize>();

/// The memory of a shared text, the reference to it included.
pub(super) fn text_bytes(text: &Arc<str>) -> usize {
    size_of::<Arc<str>>() + ARC_BYTES + text.len().next_multiple_of(size_of::<usize>())
}

/// The memory of the values of a group.
pub(super) fn values_bytes(values: &GroupValues) -> usize {
    ARC_BYTES + size_of_val(&**values) + values.iter().flatten().map(|value| value.len()).sum::<usize>()
}

impl AuditId {
    /// Keeps an id as short as possible.
    pub(super) fn new(text: &str) -> Self {
        match parse_uuid(text) {
            Some(bytes) => AuditId::Uuid(bytes),
            None => AuditId::Text(capped(text).into()),
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
                let hex = format!("{:032x}", u128::from_be_bytes(*bytes));
                // Invariant: 32 hexadecimal digits.
                [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
            }
        }
    }
}

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
    /// Groups with their hashes, and the amount; `is_cut` when there were too many of either.
    Groups { groups: Vec<(u128, GroupValues)>, amount: Amount, is_cut: bool },
    /// Nothing to count or to compute with.
    Nothing,
    /// A field that the event hides.
    Hidden,
}

/// Reads the fields of a role through `read`, which gives the texts of a field.
pub(super) fn shown_of<'f>(
    feed: &'f Feed,
    mut read: impl FnMut(&'f (String, Field)) -> (Vec<String>, Sight),
) -> Shown {
    let mut lists = Vec::new();
    for field in &feed.group {
        let (texts, sight) = read(field);
        if texts.is_empty() && sight == Sight::Hidden {
            return Shown::Hidden;
        }
        lists.push(if texts.is_empty() { vec![None] } else { texts.into_iter().map(Some).collect() });
    }
    let mut amounts = Vec::new();
    for field in &feed.amounts {
        let (texts, sight) = read(field);
        match (texts.is_empty(), sight) {
            (true, Sight::Hidden) => return Shown::Hidden,
            (true, Sight::Clear) => return Shown::Nothing,
            (false, _) => amounts.push(texts),
        }
    }
    let amount = match amounts.as_slice() {
        [] => Amount::Nothing,
        _ if feed.is_metric => {
            let numbers = amounts.iter().flatten().filter_map(|text| text.trim().parse().ok());
            Amount::Numbers(numbers.filter(|number: &f64| number.is_finite()).collect())
        }
        _ => Amount::Values(combinations(&amounts).iter().map(|values| tuple(values)).collect()),
    };
    if matches!(&amount, Amount::Numbers(numbers) if numbers.is_empty()) {
        return Shown::Nothing;
    }
    let is_cut = count(&lists).max(count(&amounts)) > COMBINATIONS_MAX;
    Shown::Groups {
        groups: combinations(&lists).iter().map(|values| group(values)).collect(),
        amount,
        is_cut,
    }
}

/// The texts of a field in an event, each once and capped; one more than are combined, so
/// that it shows.
pub(super) fn texts_of(field: &Field, view: View<'_>) -> (Vec<String>, Sight) {
    let mut values = Vec::new();
    let sight = field.read(view, &mut values);
    let mut texts: Vec<String> = Vec::new();
    for text in values.iter().filter_map(Value::text) {
        if texts.len() > COMBINATIONS_MAX {
            break;
        }
        let text = capped(&text);
        if !texts.iter().any(|known| *known == text) {
            texts.push(text.into_owned());
        }
    }
    (texts, sight)
}

/// How many ways there are to take one of each list.
fn count<T>(lists: &[Vec<T>]) -> usize {
    lists.iter().fold(1, |count, list| count.saturating_mul(list.len()))
}

/// Every way to take one of each list, up to a limit.
fn combinations<T: Clone>(lists: &[Vec<T>]) -> Vec<Vec<T>> {
    if lists.iter().all(|list| list.len() == 1) {
        return vec![lists.concat()];
    }
    lists.iter().fold(vec![Vec::new()], |found, list| {
        let longer = found.iter().flat_map(|prefix| {
            list.iter().map(move |value| prefix.iter().cloned().chain([value.clone()]).collect())
        });
        longer.take(COMBINATIONS_MAX).collect()
    })
}

/// One text for a tuple of values that no other tuple has.
fn tuple(values: &[String]) -> Arc<str> {
    match values {
        [value] => value.as_str().into(),
        values => capped(&serde_json::Value::from(values).to_string()).into(),
    }
}

fn group(values: &[Option<String>]) -> (u128, GroupValues) {
    let values: GroupValues = values.iter().map(|value| value.as_deref().map(Into::into)).collect();
    (key_of(&values), values)
}

/// What a group is known by: a hash of its values.
pub(super) fn key_of(values: &GroupValues) -> u128 {
    let mut hasher = blake3::Hasher::new();
    for value in values.iter() {
        let text = value.as_deref().unwrap_or_default();
        hasher.update(&[u8::from(value.is_some())]).update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    alert::first_half(&hasher.finalize())
}

/// As much of a text as is kept. Texts that differ still do, and what is kept is kept as it
/// is: correlations of correlations know groups by it.
fn capped(text: &str) -> Cow<'_, str> {
    if text.len() <= TEXT_BYTES_MAX {
        return text.into();
    }
    let end = (0..=START_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let hash = blake3::hash(text.as_bytes()).to_hex();
    format!("{} #{}", text.get(..end).unwrap_or_default(), &hash[..16]).into()
}
