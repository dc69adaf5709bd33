//! Selections: what `detection` says about fields and keywords.

use std::collections::BTreeSet;

use super::block::Around;
use super::condition;
use super::context::Context;
use super::draft::{Draft, DraftItem, DraftSelection, DraftValue};
use super::error::{Label, RuleErrorKind as ErrorKind};
use super::modifier::{self, Modifier, Value};
use super::nearest::nearest;
use super::pipeline::{self, Kind, Subject};
use super::placeholder::{EXPANDED_BYTES_MAX, expand};
use super::text::Text;
use super::yaml::{Content, Node, Resolved};
use super::{Block, Expr, Logsource, Place};

/// How much one value may grow to, roughly in bytes: a command of 1,000 characters with
/// three dashes becomes 125 texts.
const VALUE_BYTES_MAX: usize = 256 << 10;

/// A selection under its name; without an expression when something in it is wrong.
pub(super) struct Selection {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) expr: Option<Expr>,
    /// Roughly the memory it takes, since a condition may repeat it.
    pub(super) bytes: usize,
}

/// What `detection` holds, read but not yet understood.
pub(super) struct Detection<'n> {
    selections: Vec<DraftSelection>,
    condition: &'n Node,
    /// Selections that must hold besides the condition, and whether they must not.
    added: Vec<(String, bool)>,
}

/// What pipelines may change in a document besides its selections, and what they look at.
pub(super) struct Rest<'r> {
    pub(super) logsource: &'r mut Logsource,
    pub(super) custom: &'r mut Vec<(String, serde_json::Value)>,
    pub(super) tags: &'r [String],
}

/// Reads the selections and the condition below `section`, which may have `keys` of other
/// meaning; nothing when it is not a mapping or has no condition.
pub(super) fn read<'n>(
    node: &'n Node,
    section: &str,
    keys: &[&str],
    context: &mut Context<'_>,
) -> Option<Detection<'n>> {
    let Content::Map(entries) = &node.content else {
        let kind =
            ErrorKind::WrongType { key: section.to_owned(), expected: "a mapping", found: node.found() };
        context.report(node.place, kind);
        return None;
    };
    let mut selections = Vec::new();
    for (key, value) in entries {
        match key.scalar_text() {
            Some("timeframe") => context.report(key.place, ErrorKind::IgnoredTimeframe),
            None => {}
            Some(key) if keys.contains(&key) => {}
            Some(name) => selections.push(selection(name, key.place, value, &Around::default(), context)),
        }
    }
    if let Some(condition) = node.get("condition") {
        return Some(Detection { selections, condition, added: Vec::new() });
    }
    let mut names = entries.iter().filter_map(|(key, _)| Some((key.scalar_text()?, key.place)));
    let slip = names.find(|(name, _)| nearest(name, ["condition"]).is_some());
    let (slip, place) = slip.map_or((None, node.place), |(name, place)| (Some(name.to_owned()), place));
    context.report(place, ErrorKind::MissingKey { key: "condition", slip });
    None
}

impl Detection<'_> {
    /// Has pipelines change the selections and the rest of the document; false when one
    /// refused it.
    pub(super) fn process(
        &mut self,
        document: &Node,
        place: Place,
        rest: Rest<'_>,
        context: &mut Context<'_>,
    ) -> bool {
        let Rest { logsource, custom, tags } = rest;
        let kind = Kind::Rule { selections: std::mem::take(&mut self.selections), place, added: Vec::new() };
        let mut subject = Subject {
            document,
            logsource: std::mem::take(logsource),
            custom: std::mem::take(custom),
            tags: tags.to_vec(),
            fields: pipeline::texts(document, "fields").map(str::to_owned).collect(),
            kind,
        };
        let is_sound = pipeline::apply(&mut subject, context);
        (*logsource, *custom) = (subject.logsource, subject.custom);
        if let Kind::Rule { selections, added, .. } = subject.kind {
            (self.selections, self.added) = (selections, added);
        }
        is_sound
    }

    /// Understands the selections and the condition; nothing when a problem was reported.
    pub(super) fn finish(self, context: &mut Context<'_>) -> Option<Expr> {
        // Drafts become what they stand for one after the other.
        context.grant();
        let selections: Vec<_> =
            self.selections.into_iter().map(|selection| selection.finish(context)).collect();
        let mut expr = condition::read(self.condition, &selections, &self.added, context)?;
        for (name, is_negated) in self.added {
            let added = selections.iter().find(|selection| selection.name == name)?;
            let added = Expr::Named(name, Box::new(added.expr.clone()?));
            let added = if is_negated { Expr::Not(Box::new(added)) } else { added };
            expr = Expr::All(vec![added, expr]);
        }
        let is_sound = selections.iter().all(|selection| selection.expr.is_some());
        if context.setup.pipelines.is_empty() || !is_sound {
            return Some(expr);
        }
        let left = without_dropped(expr);
        if left.is_none() {
            let message = "it drops everything that the rule looks at".to_owned();
            context.report(self.condition.place, ErrorKind::PipelineFailed { message });
        }
        left
    }
}

/// The expression without the parts that pipelines emptied; as in pySigma these neither
/// hold nor fail.
fn without_dropped(expr: Expr) -> Option<Expr> {
    let (parts, join): (_, fn(Vec<Expr>) -> Expr) = match expr {
        Expr::All(parts) => (parts, join_all),
        Expr::Any(parts) => (parts, join_any),
        Expr::Not(part) => return without_dropped(*part).map(|part| Expr::Not(Box::new(part))),
        Expr::Named(name, part) => {
            return without_dropped(*part).map(|part| Expr::Named(name, Box::new(part)));
        }
        Expr::Block(block) => {
            let body = without_dropped(*block.body)?;
            return Some(Expr::Block(Block { body: Box::new(body), ..block }));
        }
        item @ Expr::Item(_) => return Some(item),
    };
    let left: Vec<Expr> = parts.into_iter().filter_map(without_dropped).collect();
    (!left.is_empty()).then(|| join(left))
}

/// Reads one selection; what is wrong in it is left out.
pub(super) fn selection(
    name: &str,
    place: Place,
    value: &Node,
    around: &Around,
    context: &mut Context<'_>,
) -> DraftSelection {
    let before = context.error_count();
    let draft = Builder { name, place, around, context }.group(value);
    DraftSelection { name: name.to_owned(), place, draft, is_sound: context.error_count() == before }
}

pub(super) struct Builder<'b, 't> {
    pub(super) name: &'b str,
    pub(super) place: Place,
    pub(super) around: &'b Around,
    pub(super) context: &'b mut Context<'t>,
}

impl Builder<'_, '_> {
    /// A mapping holds when all of its items do, a list when any of its elements does.
    pub(super) fn group(&mut self, node: &Node) -> Option<Draft> {
        match &node.content {
            Content::Map(entries) if !entries.is_empty() => {
                self.warn_of_other_elements(entries);
                Some(Draft::All(entries.iter().filter_map(|(key, value)| self.item(key, value)).collect()))
            }
            Content::List(nodes) if nodes.iter().all(is_scalar) && !nodes.is_empty() => {
                self.keywords(node.place, nodes)
            }
            Content::List(nodes) if !nodes.is_empty() => {
                Some(Draft::Any(nodes.iter().filter_map(|node| self.group(node)).collect()))
            }
            Content::Scalar(_) if !node.is_null() => self.keywords(node.place, std::slice::from_ref(node)),
            _ => {
                let place = if node.is_null() { self.place } else { node.place };
                self.context.report(place, ErrorKind::EmptySelection { name: self.name.to_owned() });
                None
            }
        }
    }

    fn keywords(&mut self, place: Place, nodes: &[Node]) -> Option<Draft> {
        if self.around.depth > 0 {
            self.context.report(place, ErrorKind::KeywordsInBlock);
            return None;
        }
        let head = Head { field: None, modifiers: Vec::new(), place };
        self.drafted(&head, nodes)
    }

    fn item(&mut self, key: &Node, value: &Node) -> Option<Draft> {
        let head = self.head(key);
        if let Content::List(nodes) = &value.content
            && nodes.is_empty()
        {
            let field = key.scalar_text().unwrap_or_default().to_owned();
            self.context.report(value.place, ErrorKind::EmptyValues { field });
            return None;
        }
        let mut head = head?;
        let steps = self.steps(&mut head, key)?;
        if steps.is_empty() { self.values(&head, value) } else { self.block(steps, &head, value) }
    }

    /// An item whose value is one text or number, or a list of them.
    pub(super) fn values(&mut self, head: &Head, value: &Node) -> Option<Draft> {
        if self.around.depth > 0 && head.field.is_none() {
            self.context.report(head.place, ErrorKind::KeywordsInBlock);
            return None;
        }
        let nodes = match &value.content {
            Content::List(nodes) => nodes.as_slice(),
            _ => std::slice::from_ref(value),
        };
        self.drafted(head, nodes)
    }

    /// Understands `field|modifier|modifier`.
    fn head(&mut self, key: &Node) -> Option<Head> {
        let text = key.scalar_text()?;
        let mut names = text.split('|');
        let field = names.next().filter(|field| !field.is_empty()).map(str::to_owned);
        let mut modifiers = Vec::new();
        let mut from = field.as_deref().map_or(0, |field| field.chars().count()) + 1;
        let mut is_sound = true;
        for (index, name) in names.enumerate() {
            let width = name.chars().count();
            let place = self.context.source.place_in(key, from, width);
            from += width + 1;
            match Modifier::from_name(name) {
                Some(modifier) if index > 0 && modifier.must_be_first() => {
                    is_sound = false;
                    self.context.report(place, ErrorKind::ModifierNotFirst { modifier: modifier.name() });
                }
                Some(modifier) => modifiers.push((modifier, place)),
                None if name.is_empty() => {
                    is_sound = false;
                    self.context.report(place, ErrorKind::EmptyModifier);
                }
                None => {
                    is_sound = false;
                    let closest = nearest(name, Modifier::NAMES.iter().copied());
                    self.context.report(place, ErrorKind::UnknownModifier { name: name.to_owned(), closest });
                }
            }
        }
        let place = match &field {
            Some(field) => self.context.source.place_in(key, 0, field.chars().count()),
            None => key.place,
        };
        is_sound.then_some(Head { field, modifiers, place })
    }

    fn drafted(&mut self, head: &Head, nodes: &[Node]) -> Option<Draft> {
        let is_expanded = head.has(Modifier::Expand);
        if let (true, &[_], false) = (head.has(Modifier::All), nodes, is_expanded) {
            let place =
                head.modifiers.iter().find(|(modifier, _)| *modifier == Modifier::All).map(|found| found.1);
            self.context.report(place.unwrap_or(head.place), ErrorKind::AllOnSingleValue);
        }
        let mut values = Vec::new();
        for node in nodes {
            let of_node = self.value(head, node).unwrap_or_default();
            if !self.context.spend(node.place, of_node.iter().map(Value::bytes).sum()) {
                return None;
            }
            for value in of_node {
                let value = self.name_references(node, value)?;
                values.push(DraftValue { value, place: node.place });
            }
        }
        Some(Draft::Item(DraftItem {
            field: head.field.as_deref().map(|field| self.around.full(field)),
            values,
            wants_all: head.has(Modifier::All),
            is_negated: head.has(Modifier::Neq),
            place: head.place,
            applied: BTreeSet::new(),
        }))
    }

    /// What the modifiers make of one value of an item.
    fn value(&mut self, head: &Head, node: &Node) -> Option<Vec<Value>> {
        let bytes_max = if head.has(Modifier::Expand) { EXPANDED_BYTES_MAX } else { VALUE_BYTES_MAX };
        let mut values = vec![self.raw(head, node)?];
        for &(modifier, place) in &head.modifiers {
            let mut changed = Vec::new();
            let mut bytes = values.iter().map(Value::bytes).sum::<usize>();
            for value in values {
                // Modifiers multiply, so the limit must hold before and after each of them.
                if bytes > bytes_max {
                    let what = "the size of a value with its modifiers";
                    self.context.report(node.place, ErrorKind::Limit { what, max: bytes_max });
                    return None;
                }
                let more = match self.apply(head, node, modifier, value) {
                    Ok(more) => more,
                    Err(kind) => {
                        self.report_modified(node, modifier, place, kind);
                        return None;
                    }
                };
                bytes += more.iter().map(Value::bytes).sum::<usize>();
                changed.extend(more);
            }
            values = changed;
        }
        let is_sound = |value| self.context.setup.trusts_expressions || self.check_regex(node, value);
        values.iter().all(is_sound).then_some(values)
    }

    fn apply(
        &self,
        head: &Head,
        node: &Node,
        modifier: Modifier,
        value: Value,
    ) -> Result<Vec<Value>, ErrorKind> {
        if modifier != Modifier::Expand {
            return modifier::apply(modifier, value);
        }
        let lists = &self.context.setup.lists;
        expand(value, lists, head.takes_networks(), &|name| self.place_of_placeholder(node, name))
    }

    fn place_of_placeholder(&self, node: &Node, name: &str) -> Place {
        let text = node.scalar_text().unwrap_or_default();
        let written = format!("%{name}%");
        let before = text.split_once(&written).map(|(before, _)| before.chars().count());
        let width = written.chars().count();
        before.map_or(node.place, |from| self.context.source.place_in(node, from, width))
    }

    /// Checks an expression while it is as written, so that a mistake has its exact place.
    fn check_regex(&mut self, node: &Node, value: &Value) -> bool {
        let Value::Regex(regex) = value else { return true };
        match regex.check() {
            Ok(()) => true,
            Err(fault) => {
                let place = match node.scalar_text() {
                    Some(written) if regex.text.plain() == Some(written) => {
                        self.context.source.place_in(node, fault.from, fault.width)
                    }
                    _ => node.place,
                };
                self.context.report(place, fault.kind);
                false
            }
        }
    }

    fn raw(&mut self, head: &Head, node: &Node) -> Option<Value> {
        let Content::Scalar(scalar) = &node.content else {
            self.context.report(node.place, ErrorKind::UnsupportedValue { found: node.found() });
            return None;
        };
        Some(match scalar.resolved() {
            Resolved::Null => Value::Null,
            Resolved::Bool(truth) => Value::Bool(truth),
            Resolved::Number(number) if number.parse::<f64>().is_ok_and(f64::is_finite) => {
                Value::Number(number)
            }
            Resolved::Number(value) => {
                self.context.report(node.place, ErrorKind::InfiniteNumber { value });
                return None;
            }
            // Backslashes and stars mean something else in regular expressions.
            Resolved::Text(text) if head.has(Modifier::Regex) => Value::Text(Text::from(text.to_owned())),
            Resolved::Text(text) => Value::Text(Text::parse(text)),
        })
    }

    fn report_modified(&mut self, node: &Node, modifier: Modifier, place: Place, kind: ErrorKind) {
        let (at, kind) = match kind {
            ErrorKind::UnresolvedPlaceholder { name, .. } => {
                let closest = nearest(&name, self.context.setup.lists.names()).map(str::to_owned);
                (self.place_of_placeholder(node, &name), ErrorKind::UnresolvedPlaceholder { name, closest })
            }
            kind => (node.place, kind),
        };
        let text = format!("because of `{}`", modifier.name());
        self.context.report_with(at, kind, Label { place, text });
    }
}

/// A field and its modifiers.
pub(super) struct Head {
    pub(super) field: Option<String>,
    pub(super) modifiers: Vec<(Modifier, Place)>,
    pub(super) place: Place,
}

impl Head {
    fn has(&self, modifier: Modifier) -> bool {
        self.modifiers.iter().any(|(found, _)| *found == modifier)
    }

    /// Whether nothing but lists is asked for, so that their networks can be meant.
    fn takes_networks(&self) -> bool {
        let is_neutral =
            |modifier: &Modifier| matches!(modifier, Modifier::Expand | Modifier::All | Modifier::Neq);
        self.field.is_some() && self.modifiers.iter().all(|(modifier, _)| is_neutral(modifier))
    }
}

fn is_scalar(node: &Node) -> bool {
    matches!(node.content, Content::Scalar(_))
}

/// One part alone needs no list around it.
pub(super) fn join_all(mut parts: Vec<Expr>) -> Expr {
    if parts.len() == 1 { parts.swap_remove(0) } else { Expr::All(parts) }
}

/// One part alone needs no list around it.
pub(super) fn join_any(mut parts: Vec<Expr>) -> Expr {
    if parts.len() == 1 { parts.swap_remove(0) } else { Expr::Any(parts) }
}
