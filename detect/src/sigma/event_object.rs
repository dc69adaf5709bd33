//! Rules about Event objects, said about the requests that write those objects.
//!
//! What `kubectl get events` shows was created, updated or patched through the API server
//! before. So a path of the Event object is a path below `requestObject` of such requests.

use std::borrow::Cow;
use std::sync::Arc;

use super::detection::{join_all, join_any};
use super::{Block, Expr, Item, Part, Pattern, Place, Quantifier, Test};
use crate::derived;

/// Where the object stands that a request writes.
const OBJECT: &str = "requestObject.";

/// The keys of Event objects, those of `v1` and of `events.k8s.io/v1`.
pub(super) const KEYS: [&str; 24] = [
    "apiVersion",
    "kind",
    "metadata",
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "type",
    "eventTime",
    "series",
    "action",
    "related",
    "reportingComponent",
    "reportingInstance",
    "reportingController",
    "regarding",
    "note",
    "deprecatedSource",
    "deprecatedFirstTimestamp",
    "deprecatedLastTimestamp",
    "deprecatedCount",
];

/// What `v1` and `events.k8s.io/v1` call the same thing.
const SPELLINGS: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// The condition of a rule about Event objects as one about requests.
pub(super) fn narrow(condition: Expr) -> Expr {
    let parts = [
        ("objectRef.resource", vec![text("events")]),
        ("objectRef.apiGroup", vec![Test::Null, text(""), text("events.k8s.io")]),
        ("verb", ["create", "update", "patch"].map(text).into()),
    ];
    let item = |(field, tests): (&str, Vec<Test>)| {
        Expr::Item(Item { field: Some(field.to_owned()), tests: tests.into(), place: Place::default() })
    };
    let is_written = Expr::All(parts.into_iter().map(item).collect());
    Expr::All(vec![Expr::Named("an Event is written".to_owned(), Box::new(is_written)), below(condition)])
}

/// Reads the paths of the Event object where it stands in a request.
pub(super) fn below(expr: Expr) -> Expr {
    let all = |parts: Vec<Expr>| parts.into_iter().map(below).collect();
    match expr {
        Expr::All(parts) => Expr::All(all(parts)),
        Expr::Any(parts) => Expr::Any(all(parts)),
        Expr::Not(part) => Expr::Not(Box::new(below(*part))),
        Expr::Named(name, part) => Expr::Named(name, Box::new(below(*part))),
        Expr::Item(item) => spelled(item),
        Expr::Block(block) => elements(block),
    }
}

/// Where a field of a rule about Event objects stands in the requests that write them.
pub(crate) fn in_request(field: &str) -> Cow<'_, str> {
    if is_path(field) { Cow::Owned(format!("{OBJECT}{field}")) } else { Cow::Borrowed(field) }
}

/// Whether a field is a path of the Event object. Computed fields come first.
pub(super) fn is_path(field: &str) -> bool {
    KEYS.contains(&root(field)) && derived::find(field).is_none()
}

/// A block under every name that its list has in an Event object; names within are relative.
fn elements(mut block: Block) -> Expr {
    if !is_path(&block.list) {
        return Expr::Block(block);
    }
    let list = std::mem::take(&mut block.list);
    let with = |name: String| Expr::Block(Block { list: format!("{OBJECT}{name}"), ..block.clone() });
    let blocks = spellings(&list).into_iter().map(with).collect();
    match block.quantifier {
        // An object has one of the names at most; of what is absent these hold.
        Quantifier::None | Quantifier::AllOrEmpty => join_all(blocks),
        Quantifier::Any | Quantifier::All | Quantifier::At(_) => join_any(blocks),
    }
}

/// An item under every name that its field has in an Event object.
fn spelled(mut item: Item) -> Expr {
    let mut tests = item.tests.to_vec();
    for test in &mut tests {
        if let Test::FieldRef(other, _) = test
            && is_path(other)
        {
            *other = format!("{OBJECT}{other}");
        }
    }
    item.tests = tests.into();
    let Some(field) = item.field.take_if(|field| is_path(field)) else { return Expr::Item(item) };
    let fields: Vec<String> = spellings(&field).into_iter().map(|field| format!("{OBJECT}{field}")).collect();
    let (absence, presence): (Vec<Test>, Vec<Test>) =
        item.tests.iter().cloned().partition(|test| matches!(test, Test::Null | Test::Exists(false)));
    let items = |tests: Vec<Test>| -> Vec<Expr> {
        let tests: Arc<[Test]> = tests.into();
        let with = |field: &String| Item {
            field: Some(field.clone()),
            tests: Arc::clone(&tests),
            place: item.place,
        };
        fields.iter().map(|field| Expr::Item(with(field))).collect()
    };
    let mut parts = if presence.is_empty() { Vec::new() } else { items(presence) };
    if !absence.is_empty() {
        // An object has one of the names at most; what is absent is so under each of them.
        parts.push(join_all(items(absence)));
    }
    join_any(parts)
}

/// The field, and what the other version of the type calls it.
fn spellings(field: &str) -> Vec<String> {
    let key = root(field);
    let other = SPELLINGS.iter().find_map(|&(one, two)| match key {
        _ if key == one => Some(two),
        _ if key == two => Some(one),
        _ => None,
    });
    let rest = field.get(key.len()..).unwrap_or_default();
    let other = other.map(|other| format!("{other}{rest}"));
    [field.to_owned()].into_iter().chain(other).collect()
}

fn root(field: &str) -> &str {
    field.split_once('.').map_or(field, |(root, _)| root)
}

fn text(text: &str) -> Test {
    let parts = if text.is_empty() { Vec::new() } else { vec![Part::Literal(text.to_owned())] };
    Test::Text(Pattern { parts, is_cased: false })
}
