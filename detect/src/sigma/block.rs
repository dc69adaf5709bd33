//! Blocks: conditions on the elements of a list, `containers[any]`.

use super::condition;
use super::detection::{Builder, Head, selection};
use super::error::RuleErrorKind as Kind;
use super::nearest::nearest;
use super::yaml::{Content, Node};
use super::{Block, Expr, Quantifier};

/// How deep blocks may nest; Kubernetes types nest lists four deep.
const BLOCKS_MAX: usize = 8;

/// What stands between the brackets of a field's name.
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
        let field = join(&self.prefix, &written);
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
        if self.depth == 0 {
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
    ) -> Option<Expr> {
        let depth = self.depth + steps.len();
        if depth > BLOCKS_MAX {
            self.context.report(head.place, Kind::Limit { what: "the nesting of blocks", max: BLOCKS_MAX });
            return None;
        }
        let is_mapping = matches!(value.content, Content::Map(_));
        if let (true, Some((modifier, place))) = (is_mapping, head.modifiers.first()) {
            self.context.report(*place, Kind::ModifierOnBlock { modifier: modifier.name() });
            return None;
        }
        let field = head.field.clone().unwrap_or_default();
        let prefix = if is_mapping && field != "." { escaped(&field) } else { String::new() };
        let place = head.place;
        let mut inner =
            Builder { name: self.name, place: self.place, prefix, depth, context: &mut *self.context };
        let body = if is_mapping { inner.body(value) } else { inner.values(head, value) }?;
        if !self.context.spend(place, steps.len() * size_of::<Expr>()) {
            return None;
        }
        Some(steps.into_iter().rev().fold(body, |body, (list, quantifier)| {
            Expr::Block(Block { list, quantifier, body: Box::new(body), place })
        }))
    }

    /// A mapping of fields that must all hold, or of selections with their own condition.
    fn body(&mut self, node: &Node) -> Option<Expr> {
        let (Content::Map(entries), Some(condition)) = (&node.content, node.get("condition")) else {
            return self.group(node);
        };
        let mut selections = Vec::new();
        for (key, value) in entries {
            if let Some(name) = key.scalar_text().filter(|name| *name != "condition") {
                selections.push(selection(name, key, value, &self.prefix, self.depth, self.context));
            }
        }
        condition::read(condition, &selections, self.context)
    }
}

/// The selectors of a name, and what follows the last of them.
///
/// Brackets are selectors at the end of a name or before a dot, unless they are escaped.
fn split(field: &str) -> (Vec<Selector<'_>>, &str) {
    let (mut selectors, mut start, mut at) = (Vec::new(), 0, 0);
    while let Some(open) = find(field, '[', at) {
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
