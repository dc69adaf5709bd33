//! Selections between reading and understanding: what pipelines change.

use std::collections::BTreeSet;

use super::context::Context;
use super::detection::{Selection, join_all, join_any};
use super::error::RuleErrorKind as Kind;
use super::expression;
use super::modifier::Value;
use super::nearest::nearest;
use super::{Expr, Item, Place, Test};

/// A selection under its name.
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
        let before = (context.error_count(), context.bytes_left());
        let expr = self.draft.and_then(|draft| draft.finish(context));
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
    fn finish(self, context: &mut Context<'_>) -> Option<Expr> {
        let (parts, join): (_, fn(Vec<Expr>) -> Expr) = match self {
            Draft::Item(item) => return item.finish(context),
            Draft::All(parts) => (parts, join_all),
            Draft::Any(parts) => (parts, join_any),
        };
        // All are finished, so that each has its mistakes told.
        let parts: Vec<_> = parts.into_iter().map(|part| part.finish(context)).collect();
        parts.into_iter().collect::<Option<_>>().map(join)
    }
}

impl DraftItem {
    fn finish(self, context: &mut Context<'_>) -> Option<Expr> {
        let Self { field, values, place, .. } = self;
        let values: Vec<_> = values.into_iter().map(|value| value.finish(field.is_none(), context)).collect();
        let values: Vec<_> = values.into_iter().collect::<Option<_>>()?;
        let mut item = |place: Place, values: Vec<(Place, Vec<Test>)>| {
            let places = values.iter().flat_map(|(place, tests)| std::iter::repeat_n(*place, tests.len()));
            context.value_places.insert(place, places.collect());
            let tests = values.into_iter().flat_map(|(_, tests)| tests).collect();
            Expr::Item(Item { field: field.clone(), tests, place })
        };
        let expr = if self.wants_all {
            join_all(values.into_iter().map(|value| item(value.0, vec![value])).collect())
        } else {
            item(place, values)
        };
        Some(if self.is_negated { Expr::Not(Box::new(expr)) } else { expr })
    }
}

impl DraftValue {
    /// The tests that the value stands for, and its place.
    fn finish(self, is_keyword: bool, context: &mut Context<'_>) -> Option<(Place, Vec<Test>)> {
        let Self { value, place } = self;
        if !context.spend(place, value.bytes()) {
            return None;
        }
        let placeholder = value.placeholder().map(|placeholder| placeholder.place);
        let tests = match value.needs_field().filter(|_| is_keyword) {
            Some(what) => Err(Kind::NeedsField { what }),
            None => check(&value).and_then(|()| value.into_tests(is_keyword)),
        };
        match tests {
            Ok(tests) => Some((place, tests)),
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
        Value::Regex(regex) => match regex.text.plain() {
            Some(text) => expression::check(text).map_err(|fault| fault.kind),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}
