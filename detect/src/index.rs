//! Which rules an event can match at all, told from its cheapest fields.
//!
//! Every rule yields the values that `verb`, `objectRef.resource` and
//! `objectRef.subresource` must have. **Invariant:** the index may name too many rules, never
//! too few, and a rule it leaves out is false, not unknown. It reads nothing but the context
//! of an event.

use std::collections::{BTreeSet, HashMap};

use crate::event::{Event, Key};
use crate::json::{Json, Kind};
use crate::matcher::fold;
use crate::sigma::{Expr, Item, Part, Test};

const FIELDS: [&str; 3] = ["verb", "objectRef.resource", "objectRef.subresource"];

/// A set of alternatives, a bit each.
type Alternatives = Box<[u64]>;

/// The rules that each value of each indexed field leaves possible.
///
/// What is indexed are the alternatives at the top of a rule's condition: `a or b` asks
/// for a verb with one resource or for another verb with another, not for any mixture.
#[derive(Debug)]
pub(crate) struct Index {
    fields: [Postings; FIELDS.len()],
    /// The rule of each alternative, in ascending order.
    rules: Vec<usize>,
}

/// The alternatives possible for each value of one field.
#[derive(Debug)]
struct Postings {
    by_value: HashMap<Box<str>, Alternatives>,
    absent: Alternatives,
    other: Alternatives,
    all: Alternatives,
}

/// A necessary value of a field: a folded text, or its absence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Needed {
    Absent,
    Text(Box<str>),
}

impl Index {
    /// Reads the necessary conditions out of the rules' conditions.
    pub(crate) fn new<'r>(conditions: impl Iterator<Item = Option<&'r Expr>>) -> Self {
        let (mut parts, mut rules) = (Vec::new(), Vec::new());
        for (rule, condition) in conditions.enumerate() {
            if let Some(condition) = condition {
                alternatives(condition, &mut parts);
            }
            rules.resize(parts.len(), rule);
        }
        Self { fields: FIELDS.map(|field| Postings::new(field, &parts)), rules }
    }

    /// The numbers of the rules that the event may match, in ascending order.
    pub(crate) fn candidates<'i>(&'i self, event: &Event<'_>) -> impl Iterator<Item = usize> + use<'i> {
        let [by_verb, by_resource, by_subresource] = &self.fields;
        let verb = by_verb.possible(event.get(Key::Verb));
        let (resource, subresource) = match event.top_level_for(Key::ObjectRef, "resource") {
            Some(value) if !matches!(value.kind(), Kind::Object | Kind::Null) => {
                (&by_resource.all, &by_subresource.all)
            }
            _ => (
                by_resource.possible(event.entry(Key::ObjectRef, "resource")),
                by_subresource.possible(event.entry(Key::ObjectRef, "subresource")),
            ),
        };
        let possible = move |word: usize| bits(word, verb[word] & resource[word] & subresource[word]);
        let mut last = None;
        (0..verb.len())
            .flat_map(possible)
            .map(|alternative| self.rules[alternative])
            .filter(move |rule| last.replace(*rule) != Some(*rule))
    }
}

/// Appends the parts of which one must hold for `expr` not to be false.
fn alternatives<'r>(expr: &'r Expr, parts: &mut Vec<&'r Expr>) {
    match expr {
        Expr::Any(inner) => inner.iter().for_each(|part| alternatives(part, parts)),
        Expr::Named(_, part) => alternatives(part, parts),
        other => parts.push(other),
    }
}

fn set(alternatives: &mut Alternatives, number: usize) {
    alternatives[number / 64] |= 1 << (number % 64);
}

/// The numbers of the bits that are set in one word.
fn bits(word: usize, mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
        bits &= bits - 1;
        Some(word * 64 + bit)
    })
}

impl Postings {
    fn new(field: &str, parts: &[&Expr]) -> Self {
        let words = parts.len().div_ceil(64);
        let empty = || vec![0; words].into_boxed_slice();
        let mut this = Self { by_value: HashMap::new(), absent: empty(), other: empty(), all: empty() };
        let needed: Vec<_> = parts.iter().map(|part| necessary(part, field)).collect();
        for value in needed.iter().flatten().flatten() {
            if let Needed::Text(text) = value {
                this.by_value.entry(text.clone()).or_insert_with(empty);
            }
        }
        for (number, needed) in needed.iter().enumerate() {
            let mut set = |alternatives: &mut Alternatives| set(alternatives, number);
            set(&mut this.all);
            let Some(needed) = needed else {
                this.by_value.values_mut().for_each(&mut set);
                set(&mut this.absent);
                set(&mut this.other);
                continue;
            };
            for value in needed {
                match value {
                    Needed::Absent => set(&mut this.absent),
                    Needed::Text(text) => this.by_value.get_mut(text).into_iter().for_each(&mut set),
                }
            }
        }
        this
    }

    fn possible(&self, value: Option<Json<'_>>) -> &Alternatives {
        match value.map(|value| (value, value.kind())) {
            None | Some((_, Kind::Null)) => &self.absent,
            Some((value, Kind::String)) => {
                let text = value.as_str().unwrap_or_default();
                self.by_value.get(fold(&text).as_ref()).unwrap_or(&self.other)
            }
            Some(_) => &self.all,
        }
    }
}

/// The values that `field` must have for `expr` not to be false; nothing when any will do.
fn necessary(expr: &Expr, field: &str) -> Option<BTreeSet<Needed>> {
    match expr {
        Expr::All(parts) => {
            parts.iter().filter_map(|part| necessary(part, field)).reduce(|left, right| &left & &right)
        }
        Expr::Any(parts) => {
            parts.iter().try_fold(BTreeSet::new(), |all, part| Some(&all | &necessary(part, field)?))
        }
        Expr::Named(_, part) => necessary(part, field),
        Expr::Item(item) if item.field.as_deref() == Some(field) => needed_by(item),
        Expr::Item(_) | Expr::Not(_) | Expr::Block(_) => None,
    }
}

fn needed_by(item: &Item) -> Option<BTreeSet<Needed>> {
    item.tests
        .iter()
        .map(|test| match test {
            Test::Null => Some(Needed::Absent),
            Test::Text(pattern) => match pattern.parts.as_slice() {
                [] => Some(Needed::Text("".into())),
                [Part::Literal(text)] => Some(Needed::Text(fold(text).into())),
                _ => None,
            },
            _ => None,
        })
        .collect()
}
