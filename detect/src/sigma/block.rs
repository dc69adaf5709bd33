//! Blocks: conditions on the elements of a list, `containers[any]`.

use std::collections::HashSet;

use super::Quantifier;
use super::detection::{Builder, Head, selection};
use super::draft::{Draft, DraftBlock};
use super::error::RuleErrorKind as Kind;
use super::modifier::Value;
use super::nearest::nearest;
use super::yaml::{Content, Node};

/// How deep blocks may nest; Kubernetes types nest lists four deep.
const BLOCKS_MAX: usize = 8;

/// The blocks around what is read.
#[derive(Default)]
pub(super) struct Around {
    /// The list whose elements are asked, named from the event on.
    list: String,
    /// What stands before every field, as it is written.
    prefix: String,
    /// How many blocks there are.
    pub(super) depth: usize,
}

impl Around {
    /// A name within the element as it would be written outside.
    pub(super) fn full(&self, name: &str) -> String {
        join(&self.list, name)
    }
}

/// What stands between the brackets of a field's name.
#[derive(Clone, Copy)]
struct Selector<'f> {
    /// The list, still with its escapes.
    list: &'f str,
    text: &'f str,
    /// Where the text begins, counted in characters.
    from: usize,
}

impl Builder<'_, '_> {
    /// Takes the lists with their quantifiers off the field of `head`, and leaves what is
    /// asked of the last one's elements; nothing when a problem was reported.
    pub(super) fn steps(&mut self, head: &mut Head, key: &Node) -> Option<Vec<(String, Quantifier)>> {
        let Some(written) = head.field.take() else { return Some(Vec::new()) };
        let Around { list, prefix, depth } = self.around;
        // Names within blocks are held in full, so that they must not be many and long.
        let bytes = if *depth > 0 { list.len() + prefix.len() + written.len() } else { 0 };
        if !self.context.spend(head.place, bytes) {
            return None;
        }
        let field = join(prefix, &written);
        let added = field.chars().count() - written.chars().count().min(field.chars().count());
        let (selectors, rest) = split(&field);
        let mut steps = Vec::new();
        for Selector { list, text, from } in &selectors {
            let width = text.chars().count();
            let place = self.context.source.place_in(key, from.saturating_sub(added), width);
            let Some(quantifier) = Quantifier::parse(text) else {
                let closest = nearest(text, Quantifier::NAMES.iter().map(|(name, _)| *name));
                self.context.report(place, Kind::UnknownQuantifier { found: (*text).to_owned(), closest });
                return None;
            };
            if list.is_empty() {
                self.context.report(place, Kind::QuantifierWithoutList { quantifier: (*text).to_owned() });
                return None;
            }
            steps.push((unescaped(list), quantifier));
        }
        if *depth == 0 {
            let name = steps.first().map_or_else(|| unescaped(&field), |(list, _)| list.clone());
            self.context.fields.push((head.place, name));
        }
        head.field = Some(match rest {
            "" if !steps.is_empty() => ".".to_owned(),
            rest => unescaped(rest),
        });
        Some(steps)
    }

    /// What is asked of elements: a mapping of their fields, or values of one field.
    pub(super) fn block(
        &mut self,
        steps: Vec<(String, Quantifier)>,
        head: &Head,
        value: &Node,
    ) -> Option<Draft> {
        let depth = self.around.depth + steps.len();
        if depth > BLOCKS_MAX {
            self.context.report(head.place, Kind::Limit { what: "the nesting of blocks", max: BLOCKS_MAX });
            return None;
        }
        let is_mapping = matches!(value.content, Content::Map(_));
        if let (true, Some((modifier, place))) = (is_mapping, head.modifiers.first()) {
            self.context.report(*place, Kind::ModifierOnBlock { modifier: modifier.name() });
            return None;
        }
        let place = head.place;
        let mut list = self.around.list.clone();
        let mut lists = Vec::new();
        for (name, quantifier) in steps {
            list = join(&list, &name);
            if !self.context.spend(place, size_of::<DraftBlock>() + list.len()) {
                return None;
            }
            lists.push((list.clone(), quantifier));
        }
        let field = head.field.as_deref().unwrap_or_default();
        let prefix = if is_mapping && field != "." { escaped(field) } else { String::new() };
        let around = Around { list, prefix, depth };
        let mut inner =
            Builder { name: self.name, place: self.place, around: &around, context: &mut *self.context };
        let body = if is_mapping { inner.body(value) } else { inner.values(head, value) }?;
        Some(lists.into_iter().rev().fold(body, |body, (list, quantifier)| {
            Draft::Block(DraftBlock { list, quantifier, body: Box::new(body), place })
        }))
    }

    /// A mapping of fields that must all hold, or of selections with their own condition.
    fn body(&mut self, node: &Node) -> Option<Draft> {
        let (Content::Map(entries), Some(condition)) = (&node.content, node.get("condition")) else {
            return self.group(node);
        };
        let mut selections = Vec::new();
        for (key, value) in entries {
            if let Some(name) = key.scalar_text().filter(|name| *name != "condition") {
                selections.push(selection(name, key.place, value, self.around, self.context));
            }
        }
        Some(Draft::Selections(selections, condition.clone()))
    }

    /// Gives the fields that a value refers to their full names.
    pub(super) fn name_references(&mut self, node: &Node, mut value: Value) -> Option<Value> {
        let mut is_sound = true;
        value.each_reference(&mut |name| {
            is_sound = is_sound && self.context.spend(node.place, self.around.list.len());
            if is_sound {
                *name = self.around.full(name);
            }
        });
        is_sound.then_some(value)
    }

    /// Warns where several keys ask for any element of a list, and each may find another.
    pub(super) fn warn_of_other_elements(&mut self, entries: &[(Node, Node)]) {
        let mut lists = HashSet::new();
        for (key, _) in entries {
            let name = key.scalar_text().unwrap_or_default();
            let Some(Selector { list, text: "any", from }) = split(name).0.first().copied() else { continue };
            if !lists.insert(list) {
                let place = self.context.source.place_in(key, 0, from + "any]".len());
                self.context.report(place, Kind::OtherElement { list: unescaped(list) });
            }
        }
    }
}

/// The selectors of a name, and what follows the last of them.
///
/// Brackets are selectors at the end of a name or before a dot, unless they are escaped.
fn split(field: &str) -> (Vec<Selector<'_>>, &str) {
    let (mut selectors, mut start, mut at) = (Vec::new(), 0, 0);
    // One more than may nest is enough to refuse the name.
    while let Some(open) = find(field, '[', at).filter(|_| selectors.len() <= BLOCKS_MAX) {
        at = open + 1;
        let Some(close) = find(field, ']', at) else { break };
        let after = &field[close + 1..];
        if after.is_empty() || after.starts_with('.') {
            let from = field[..at].chars().count();
            selectors.push(Selector { list: &field[start..open], text: &field[at..close], from });
            start = (close + 2).min(field.len());
            at = start;
        }
    }
    (selectors, &field[start..])
}

/// Where a bracket stands that is not escaped, from `at` on.
fn find(field: &str, bracket: char, at: usize) -> Option<usize> {
    let found = field[at..].match_indices(bracket).map(|(index, _)| at + index);
    found.into_iter().find(|index| !field[..*index].ends_with('\\'))
}

fn unescaped(name: &str) -> String {
    name.replace("\\[", "[").replace("\\]", "]")
}

fn escaped(name: &str) -> String {
    name.replace('[', "\\[").replace(']', "\\]")
}

fn join(prefix: &str, field: &str) -> String {
    match (prefix, field) {
        ("", field) => field.to_owned(),
        (prefix, ".") => prefix.to_owned(),
        (prefix, field) => format!("{prefix}.{field}"),
    }
}
