//! Selections between reading and understanding: what pipelines change.

use std::collections::BTreeSet;

use super::context::Context;
use super::detection::{Selection, join_all, join_any};
use super::error::RuleErrorKind as Kind;
use super::modifier::Value;
use super::nearest::nearest;
use super::yaml::Node;
use super::{Block, Expr, Item, Place, Quantifier, Regex, Test, condition};

/// A selection under its name.
#[derive(Clone, Debug)]
pub(super) struct DraftSelection {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) draft: Option<Draft>,
    /// False when something was left out because of a mistake.
    pub(super) is_sound: bool,
}

/// Items and how they are combined.
#[derive(Clone, Debug)]
pub(super) enum Draft {
    All(Vec<Draft>),
    Any(Vec<Draft>),
    Item(DraftItem),
    Block(DraftBlock),
    /// What a block asks when it has selections and a condition of its own.
    Selections(Vec<DraftSelection>, Node),
}

/// What is asked of the elements of a list. Every name in it, that of the list included, is
/// as it would be written outside, so that pipelines need not know about blocks.
#[derive(Clone, Debug)]
pub(super) struct DraftBlock {
    pub(super) list: String,
    pub(super) quantifier: Quantifier,
    pub(super) body: Box<Draft>,
    pub(super) place: Place,
}

/// A field and the values that are wanted.
#[derive(Clone, Debug)]
pub(super) struct DraftItem {
    /// Nothing for keywords.
    pub(super) field: Option<String>,
    pub(super) values: Vec<DraftValue>,
    /// Whether every value is wanted, not any (`all`).
    pub(super) wants_all: bool,
    pub(super) is_negated: bool,
    pub(super) place: Place,
    /// The ids of the steps of pipelines that changed it.
    pub(super) applied: BTreeSet<String>,
}

/// A value and where it is written.
#[derive(Clone, Debug)]
pub(super) struct DraftValue {
    pub(super) value: Value,
    pub(super) place: Place,
}

impl DraftSelection {
    /// Understands the selection; without an expression when something in it is wrong.
    pub(super) fn finish(self, context: &mut Context<'_>) -> Selection {
        self.finish_within(None, context)
    }

    fn finish_within(self, list: Option<&str>, context: &mut Context<'_>) -> Selection {
        let before = (context.error_count(), context.bytes_left());
        let expr = self.draft.and_then(|draft| draft.finish(list, context));
        let is_sound = self.is_sound && context.error_count() == before.0;
        Selection {
            name: self.name,
            place: self.place,
            expr: expr.filter(|_| is_sound),
            bytes: before.1.saturating_sub(context.bytes_left()),
        }
    }
}

impl Draft {
    /// Understands it; `list` is the one whose elements are asked.
    fn finish(self, list: Option<&str>, context: &mut Context<'_>) -> Option<Expr> {
        let (parts, join): (_, fn(Vec<Expr>) -> Expr) = match self {
            Draft::Item(item) => return item.finish(list, context),
            Draft::Block(block) => return block.finish(list, context),
            Draft::Selections(selections, condition) => {
                let finish = |selection: DraftSelection| selection.finish_within(list, context);
                let selections: Vec<_> = selections.into_iter().map(finish).collect();
                return condition::read(&condition, &selections, &[], context);
            }
            Draft::All(parts) => (parts, join_all),
            Draft::Any(parts) => (parts, join_any),
        };
        // All are finished, so that each has its mistakes told.
        let parts: Vec<_> = parts.into_iter().map(|part| part.finish(list, context)).collect();
        parts.into_iter().collect::<Option<_>>().map(join)
    }

    /// What it is combined of; an item is not.
    pub(super) fn parts(&self) -> Vec<&Draft> {
        match self {
            Draft::Item(_) => Vec::new(),
            Draft::All(parts) | Draft::Any(parts) => parts.iter().collect(),
            Draft::Block(block) => vec![&block.body],
            Draft::Selections(selections, _) => {
                selections.iter().filter_map(|selection| selection.draft.as_ref()).collect()
            }
        }
    }

    /// The same, to be changed.
    pub(super) fn parts_mut(&mut self) -> Vec<&mut Draft> {
        match self {
            Draft::Item(_) => Vec::new(),
            Draft::All(parts) | Draft::Any(parts) => parts.iter_mut().collect(),
            Draft::Block(block) => vec![&mut block.body],
            Draft::Selections(selections, _) => {
                selections.iter_mut().filter_map(|selection| selection.draft.as_mut()).collect()
            }
        }
    }
}

impl DraftBlock {
    fn finish(self, around: Option<&str>, context: &mut Context<'_>) -> Option<Expr> {
        let Self { list, quantifier, body, place } = self;
        let name = relative(&list, around, place, context);
        let body = body.finish(Some(&list), context);
        if !context.spend(place, size_of::<Expr>() + list.len()) {
            return None;
        }
        Some(Expr::Block(Block { list: name?, quantifier, body: Box::new(body?), place }))
    }
}

/// A name as it is within the elements of `list`. Only pipelines give other names.
fn relative(name: &str, list: Option<&str>, place: Place, context: &mut Context<'_>) -> Option<String> {
    let Some(list) = list else { return Some(name.to_owned()) };
    if name == list {
        return Some(".".to_owned());
    }
    let below = name.strip_prefix(list).and_then(|rest| rest.strip_prefix('.'));
    let below = below.filter(|rest| !rest.is_empty()).map(str::to_owned);
    if below.is_none() {
        let message = format!("elements of `{list}` would be asked for `{name}`, which is not in them");
        context.report(place, Kind::PipelineFailed { message });
    }
    below
}

impl DraftItem {
    fn finish(self, list: Option<&str>, context: &mut Context<'_>) -> Option<Expr> {
        let Self { field, values, place, .. } = self;
        let field = match field {
            Some(field) => Some(relative(&field, list, place, context)?),
            None => None,
        };
        let copies = if self.wants_all { values.len() } else { 1 };
        if !context.spend(place, copies * field.as_deref().map_or(0, str::len)) {
            return None;
        }
        let is_keyword = field.is_none();
        let mut items = if self.wants_all { Vec::new() } else { vec![Values::at(place)] };
        let mut is_sound = true;
        // All are finished, so that each has its mistakes told.
        for value in values {
            if self.wants_all {
                items.push(Values::at(value.place));
            }
            let last = items.last_mut();
            is_sound &= last.is_some_and(|item| value.finish(is_keyword, list, context, item).is_some());
        }
        if !is_sound {
            return None;
        }
        let items = items.into_iter().map(|Values { place, tests, places }| {
            context.value_places.insert(place, places);
            Expr::Item(Item { field: field.clone(), tests: tests.into(), place })
        });
        let expr = join_all(items.collect());
        Some(if self.is_negated { Expr::Not(Box::new(expr)) } else { expr })
    }
}

/// The values of an item, understood, and the place of each.
struct Values {
    place: Place,
    tests: Vec<Test>,
    places: Vec<Place>,
}

impl Values {
    fn at(place: Place) -> Self {
        Self { place, tests: Vec::new(), places: Vec::new() }
    }
}

impl DraftValue {
    /// Adds the tests that the value stands for.
    fn finish(
        self,
        is_keyword: bool,
        list: Option<&str>,
        context: &mut Context<'_>,
        item: &mut Values,
    ) -> Option<()> {
        let Self { mut value, place } = self;
        if !context.spend(place, value.bytes()) {
            return None;
        }
        let mut is_sound = true;
        value.each_reference(&mut |name| match relative(name, list, place, context) {
            Some(within) => *name = within,
            None => is_sound = false,
        });
        if !is_sound {
            return None;
        }
        let placeholder = value.placeholder().map(|placeholder| placeholder.place);
        let added = match value.needs_field().filter(|_| is_keyword) {
            Some(what) => Err(Kind::NeedsField { what }),
            None if context.setup.trusts_expressions => {
                value.add_tests(is_keyword, |text| Ok(Regex::trusted(text)), &mut item.tests)
            }
            None => check(&value).and_then(|()| value.add_tests(is_keyword, Regex::new, &mut item.tests)),
        };
        match added {
            Ok(()) => {
                item.places.resize(item.tests.len(), place);
                Some(())
            }
            Err(Kind::UnresolvedPlaceholder { name, .. }) => {
                let closest = nearest(&name, context.setup.lists.names()).map(str::to_owned);
                context.report(placeholder.unwrap_or(place), Kind::UnresolvedPlaceholder { name, closest });
                None
            }
            Err(kind) => {
                context.report(place, kind);
                None
            }
        }
    }
}

/// Checks the expressions that lists and pipelines may have changed.
fn check(value: &Value) -> Result<(), Kind> {
    match value {
        Value::Forms(values) => values.iter().try_for_each(check),
        Value::Regex(regex) => regex.check().map_err(|fault| fault.kind),
        _ => Ok(()),
    }
}
