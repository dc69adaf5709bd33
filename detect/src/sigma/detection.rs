//! Selections: what `detection` says about fields and keywords.

use super::condition;
use super::context::Context;
use super::error::{Label, RuleErrorKind as Kind};
use super::expression;
use super::modifier::{self, Modifier, Value};
use super::nearest::nearest;
use super::text::Text;
use super::yaml::{Content, Node, Resolved};
use super::{Expr, Item, Place, Test};

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

/// Reads `detection` into one condition; nothing when a problem was reported.
pub(super) fn read(node: &Node, context: &mut Context<'_>) -> Option<Expr> {
    let Content::Map(entries) = &node.content else {
        let kind =
            Kind::WrongType { key: "detection".to_owned(), expected: "a mapping", found: node.found() };
        context.report(node.place, kind);
        return None;
    };
    let mut selections = Vec::new();
    for (key, value) in entries {
        match key.scalar_text() {
            Some("timeframe") => context.report(key.place, Kind::IgnoredTimeframe),
            None | Some("condition") => {}
            Some(name) => selections.push(selection(name, key, value, "", 0, context)),
        }
    }
    if let Some(condition) = node.get("condition") {
        return condition::read(condition, &selections, context);
    }
    let mut names = entries.iter().filter_map(|(key, _)| Some((key.scalar_text()?, key.place)));
    let slip = names.find(|(name, _)| nearest(name, ["condition"]).is_some());
    let (slip, place) = slip.map_or((None, node.place), |(name, place)| (Some(name.to_owned()), place));
    context.report(place, Kind::MissingKey { key: "condition", slip });
    None
}

/// Reads a selection; `prefix` stands before its fields, `depth` counts the blocks around it.
pub(super) fn selection(
    name: &str,
    key: &Node,
    value: &Node,
    prefix: &str,
    depth: usize,
    context: &mut Context<'_>,
) -> Selection {
    let before = (context.error_count(), context.bytes_left());
    let expr = Builder { name, place: key.place, prefix: prefix.to_owned(), depth, context }.group(value);
    let is_sound = context.error_count() == before.0;
    Selection {
        name: name.to_owned(),
        place: key.place,
        expr: expr.filter(|_| is_sound),
        bytes: before.1.saturating_sub(context.bytes_left()),
    }
}

pub(super) struct Builder<'b, 't> {
    pub(super) name: &'b str,
    pub(super) place: Place,
    /// What stands before every field, as it is written.
    pub(super) prefix: String,
    /// How many blocks stand around.
    pub(super) depth: usize,
    pub(super) context: &'b mut Context<'t>,
}

impl Builder<'_, '_> {
    /// A mapping holds when all of its items do, a list when any of its elements does.
    pub(super) fn group(&mut self, node: &Node) -> Option<Expr> {
        match &node.content {
            Content::Map(entries) if !entries.is_empty() => {
                let parts: Vec<_> = entries.iter().map(|(key, value)| self.item(key, value)).collect();
                parts.into_iter().collect::<Option<_>>().map(join_all)
            }
            Content::List(nodes) if nodes.iter().all(is_scalar) && !nodes.is_empty() => {
                self.keywords(node.place, nodes)
            }
            Content::List(nodes) if !nodes.is_empty() => {
                let parts: Vec<_> = nodes.iter().map(|node| self.group(node)).collect();
                parts.into_iter().collect::<Option<_>>().map(join_any)
            }
            Content::Scalar(_) if !node.is_null() => self.keywords(node.place, std::slice::from_ref(node)),
            _ => {
                let place = if node.is_null() { self.place } else { node.place };
                self.context.report(place, Kind::EmptySelection { name: self.name.to_owned() });
                None
            }
        }
    }

    fn keywords(&mut self, place: Place, nodes: &[Node]) -> Option<Expr> {
        if self.depth > 0 {
            self.context.report(place, Kind::KeywordsInBlock);
            return None;
        }
        let head = Head { field: None, modifiers: Vec::new(), place };
        self.tests(&head, nodes)
    }

    fn item(&mut self, key: &Node, value: &Node) -> Option<Expr> {
        let head = self.head(key);
        if let Content::List(nodes) = &value.content
            && nodes.is_empty()
        {
            let field = key.scalar_text().unwrap_or_default().to_owned();
            self.context.report(value.place, Kind::EmptyValues { field });
            return None;
        }
        let mut head = head?;
        let steps = self.steps(&mut head, key)?;
        if steps.is_empty() { self.values(&head, value) } else { self.block(steps, &head, value) }
    }

    /// An item whose value is one text or number, or a list of them.
    pub(super) fn values(&mut self, head: &Head, value: &Node) -> Option<Expr> {
        if self.depth > 0 && head.field.is_none() {
            self.context.report(head.place, Kind::KeywordsInBlock);
            return None;
        }
        match &value.content {
            Content::List(nodes) => self.tests(head, nodes),
            _ => self.tests(head, std::slice::from_ref(value)),
        }
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
                    self.context.report(place, Kind::ModifierNotFirst { modifier: modifier.name() });
                }
                Some(modifier) => modifiers.push((modifier, place)),
                None if name.is_empty() => {
                    is_sound = false;
                    self.context.report(place, Kind::EmptyModifier);
                }
                None => {
                    is_sound = false;
                    let closest = nearest(name, Modifier::NAMES.iter().copied());
                    self.context.report(place, Kind::UnknownModifier { name: name.to_owned(), closest });
                }
            }
        }
        let place = match &field {
            Some(field) => self.context.source.place_in(key, 0, field.chars().count()),
            None => key.place,
        };
        is_sound.then_some(Head { field, modifiers, place })
    }

    fn tests(&mut self, head: &Head, nodes: &[Node]) -> Option<Expr> {
        if let (true, &[_]) = (head.has(Modifier::All), nodes) {
            let place =
                head.modifiers.iter().find(|(modifier, _)| *modifier == Modifier::All).map(|found| found.1);
            self.context.report(place.unwrap_or(head.place), Kind::AllOnSingleValue);
        }
        let mut alternatives = Vec::new();
        for node in nodes {
            alternatives.push(self.value(head, node).map(|tests| (node.place, tests)));
        }
        let alternatives: Vec<_> = alternatives.into_iter().collect::<Option<_>>()?;
        let expr = if head.has(Modifier::All) {
            join_all(
                alternatives
                    .into_iter()
                    .map(|(place, tests)| self.finish(head, place, vec![(place, tests)]))
                    .collect(),
            )
        } else {
            self.finish(head, head.place, alternatives)
        };
        Some(if head.has(Modifier::Neq) { Expr::Not(Box::new(expr)) } else { expr })
    }

    fn finish(&mut self, head: &Head, place: Place, alternatives: Vec<(Place, Vec<Test>)>) -> Expr {
        let places = alternatives.iter().flat_map(|(place, tests)| std::iter::repeat_n(*place, tests.len()));
        self.context.value_places.insert(place, places.collect());
        let tests = alternatives.into_iter().flat_map(|(_, tests)| tests).collect();
        Expr::Item(Item { field: head.field.clone(), tests, place })
    }

    /// The tests that one value of an item stands for.
    fn value(&mut self, head: &Head, node: &Node) -> Option<Vec<Test>> {
        let mut values = vec![self.raw(head, node)?];
        for &(modifier, place) in &head.modifiers {
            let mut changed = Vec::new();
            let mut bytes = values.iter().map(Value::bytes).sum::<usize>();
            for value in values {
                // Modifiers multiply, so the limit must hold before and after each of them.
                if bytes > VALUE_BYTES_MAX {
                    let what = "the size of a value with its modifiers";
                    self.context.report(node.place, Kind::Limit { what, max: VALUE_BYTES_MAX });
                    return None;
                }
                let more = match modifier::apply(modifier, value) {
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
        self.finish_value(head, node, values)
    }

    fn finish_value(&mut self, head: &Head, node: &Node, values: Vec<Value>) -> Option<Vec<Test>> {
        let is_keyword = head.field.is_none();
        let mut tests = Vec::new();
        for value in values {
            if !self.context.spend(node.place, value.bytes()) {
                return None;
            }
            if let Some(what) = value.needs_field().filter(|_| is_keyword) {
                self.context.report(node.place, Kind::NeedsField { what });
                return None;
            }
            if !self.check_regex(node, &value) {
                return None;
            }
            match value.into_tests(is_keyword) {
                Ok(more) => tests.extend(more),
                Err(kind) => {
                    self.context.report(node.place, kind);
                    return None;
                }
            }
        }
        Some(tests)
    }

    fn check_regex(&mut self, node: &Node, value: &Value) -> bool {
        let Value::Regex(regex) = value else { return true };
        match expression::check(&regex.text) {
            Ok(()) => true,
            Err(fault) => {
                let place = self.context.source.place_in(node, fault.from, fault.width);
                self.context.report(place, fault.kind);
                false
            }
        }
    }

    fn raw(&mut self, head: &Head, node: &Node) -> Option<Value> {
        let Content::Scalar(scalar) = &node.content else {
            self.context.report(node.place, Kind::UnsupportedValue { found: node.found() });
            return None;
        };
        Some(match scalar.resolved() {
            Resolved::Null => Value::Null,
            Resolved::Bool(truth) => Value::Bool(truth),
            Resolved::Number(number) if number.parse::<f64>().is_ok_and(f64::is_finite) => {
                Value::Number(number)
            }
            Resolved::Number(value) => {
                self.context.report(node.place, Kind::InfiniteNumber { value });
                return None;
            }
            // Backslashes and stars mean something else in regular expressions.
            Resolved::Text(text) if head.has(Modifier::Regex) => Value::Text(Text::from(text.to_owned())),
            Resolved::Text(text) => Value::Text(Text::parse(text)),
        })
    }

    fn report_modified(&mut self, node: &Node, modifier: Modifier, place: Place, kind: Kind) {
        let (at, kind) = match kind {
            Kind::UnresolvedPlaceholder { name } => {
                let text = node.scalar_text().unwrap_or_default();
                let written = format!("%{name}%");
                let from = text
                    .find(&written)
                    .and_then(|byte| text.get(..byte))
                    .map(|before| before.chars().count());
                let width = written.chars().count();
                let at = from.map(|from| self.context.source.place_in(node, from, width));
                (at.unwrap_or(node.place), Kind::UnresolvedPlaceholder { name })
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
