//! Conditions: to which rules, items and field names a step is applied.

use regex::Regex;

use super::super::draft::{DraftItem, DraftSelection};
use super::super::modifier::Value;
use super::super::text::Piece;
use super::super::{Level, Logsource};
use super::formula::Formula;
use super::run::Applied;
use super::subject::{Attribute, Kind, Subject};

/// Conditions of one sort and how they are combined.
#[derive(Clone, Debug)]
pub(super) struct Gate<C> {
    pub(super) conditions: Vec<C>,
    pub(super) link: Link,
    pub(super) is_negated: bool,
}

/// How conditions are combined.
#[derive(Clone, Debug)]
pub(super) enum Link {
    All,
    Any,
    Formula(Formula),
}

impl<C> Gate<C> {
    /// Whether the conditions hold. As in pySigma, no conditions hold unless they are
    /// negated or any of them is asked for.
    pub(super) fn holds(&self, test: impl Fn(&C) -> bool) -> bool {
        let holds = match &self.link {
            Link::All => self.conditions.iter().all(test),
            Link::Any => self.conditions.iter().any(test),
            Link::Formula(formula) => formula.holds(&|index| self.conditions.get(index).is_some_and(&test)),
        };
        holds != self.is_negated
    }
}

/// What a rule must be like.
#[derive(Clone, Debug)]
pub(super) enum RuleCondition {
    Logsource(Logsource),
    ContainsItem { field: Option<String>, value: Value },
    ContainsField(Option<String>),
    Applied(String),
    IsRule,
    IsCorrelation,
    Attribute { name: String, operator: Operator, value: serde_json::Value },
    Tag(String),
    State(StateCondition),
}

/// What an item must be like.
#[derive(Clone, Debug)]
pub(super) enum ItemCondition {
    Values { wants_all: bool, test: ValueTest },
    Applied(String),
    State(StateCondition),
}

/// What a value must be like.
#[derive(Clone, Debug)]
pub(super) enum ValueTest {
    Matches { pattern: Regex, is_negated: bool },
    Equals(Value),
    HasWildcard,
    IsNull,
}

/// What a field name must be like.
#[derive(Clone, Debug)]
pub(super) enum FieldCondition {
    Names { names: Vec<String>, patterns: Vec<Regex>, is_excluded: bool },
    Applied(String),
    State(StateCondition),
}

/// What a step before must have noted.
#[derive(Clone, Debug)]
pub(super) struct StateCondition {
    pub(super) key: String,
    pub(super) operator: Operator,
    pub(super) value: serde_json::Value,
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    GreaterOrEqual,
    Greater,
    LessOrEqual,
    Less,
    In,
    NotIn,
}

impl RuleCondition {
    pub(super) fn holds(&self, subject: &Subject<'_>, applied: &Applied<'_>) -> bool {
        match self {
            Self::Logsource(wanted) => subject.logsources().iter().any(|found| is_about(wanted, found)),
            Self::ContainsItem { field, value } => {
                let is_same = |found: &Value| is_same_value(value, found) && !is_cased(found);
                subject.any_item(&|item| {
                    field.is_some()
                        && item.field == *field
                        && item.values.iter().any(|found| is_same(&found.value))
                })
            }
            Self::ContainsField(field) => {
                field.is_some() && subject.any_item(&|item: &DraftItem| item.field == *field)
            }
            Self::Applied(id) => applied.to_rule(id),
            Self::IsRule => matches!(subject.kind, Kind::Rule { .. }),
            Self::IsCorrelation => matches!(subject.kind, Kind::Correlation { .. }),
            Self::Attribute { name, operator, value } => match subject.attribute(name) {
                Some(Attribute::List(found)) => in_list(*operator, &found, value),
                Some(Attribute::Value(found)) => operator.compares(&found, value),
                Some(Attribute::Level(found)) => {
                    let wanted = value.as_str().and_then(level);
                    wanted.is_some_and(|wanted| operator.orders(found.cmp(&wanted)))
                }
                Some(Attribute::Status(found)) => {
                    let wanted = value.as_str().and_then(status);
                    wanted.is_some_and(|wanted| operator.orders(found.cmp(&wanted)))
                }
                Some(Attribute::Date(found)) => {
                    let wanted = value.as_str().and_then(|text| text.parse().ok());
                    wanted.is_some_and(|wanted| operator.orders(found.cmp(&wanted)))
                }
                None => false,
            },
            Self::Tag(tag) => subject.tags.iter().any(|found| found == tag),
            Self::State(state) => state.holds(applied),
        }
    }
}

impl ItemCondition {
    pub(super) fn holds(&self, item: &DraftItem, applied: &Applied<'_>) -> bool {
        match self {
            Self::Values { wants_all: true, test } => {
                item.values.iter().all(|value| test.holds(&value.value))
            }
            Self::Values { wants_all: false, test } => {
                item.values.iter().any(|value| test.holds(&value.value))
            }
            Self::Applied(id) => item.applied.contains(id),
            Self::State(state) => state.holds(applied),
        }
    }
}

impl ValueTest {
    fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Matches { pattern, is_negated } => {
                let is_match = match value {
                    Value::Text(text) => pattern.is_match(&text.to_plain()),
                    _ => false,
                };
                is_match != *is_negated
            }
            Self::Equals(wanted) => !matches!(value, Value::Null) && is_same_value(wanted, value),
            Self::HasWildcard => match value {
                Value::Text(text) => {
                    text.pieces.iter().any(|piece| matches!(piece, Piece::Many | Piece::One))
                }
                _ => false,
            },
            Self::IsNull => matches!(value, Value::Null),
        }
    }
}

impl FieldCondition {
    /// Whether the name is meant; nothing is the field of keywords.
    pub(super) fn is_about(&self, field: Option<&str>, applied: &Applied<'_>) -> bool {
        match self {
            Self::Names { names, patterns, is_excluded } => {
                let is_named = field.is_some_and(|field| {
                    names.iter().any(|name| name == field)
                        || patterns.iter().any(|found| found.is_match(field))
                });
                is_named != *is_excluded
            }
            Self::Applied(id) => field.is_some_and(|field| applied.to_field(field, id)),
            Self::State(state) => state.holds(applied),
        }
    }

    /// Whether the field of the item or one that its values refer to is meant.
    pub(super) fn holds(&self, item: &DraftItem, applied: &Applied<'_>) -> bool {
        if let Self::Applied(id) = self {
            return item.applied.contains(id);
        }
        let refers = |value: &Value| match value {
            Value::FieldRef(field, _) => self.is_about(Some(field), applied),
            _ => false,
        };
        self.is_about(item.field.as_deref(), applied) || item.values.iter().any(|value| refers(&value.value))
    }
}

impl StateCondition {
    fn holds(&self, applied: &Applied<'_>) -> bool {
        applied.state(&self.key).is_some_and(|found| self.operator.compares(found, &self.value))
    }
}

impl Operator {
    /// The names of the operators that order, and of those that look into lists.
    pub(super) const NAMES: [(&'static str, Self); 8] = [
        ("eq", Self::Equal),
        ("ne", Self::NotEqual),
        ("gte", Self::GreaterOrEqual),
        ("gt", Self::Greater),
        ("lte", Self::LessOrEqual),
        ("lt", Self::Less),
        ("in", Self::In),
        ("not_in", Self::NotIn),
    ];

    fn orders(self, order: std::cmp::Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::GreaterOrEqual => order.is_ge(),
            Self::Greater => order.is_gt(),
            Self::LessOrEqual => order.is_le(),
            Self::Less => order.is_lt(),
            Self::In | Self::NotIn => false,
        }
    }

    /// Numbers are compared as numbers; texts and others are equal or not.
    fn compares(self, found: &serde_json::Value, wanted: &serde_json::Value) -> bool {
        match (number(found), number(wanted), self) {
            (Some(found), Some(wanted), _) => {
                found.partial_cmp(&wanted).is_some_and(|order| self.orders(order))
            }
            (_, _, Self::Equal) => found == wanted,
            (_, _, Self::NotEqual) => found != wanted,
            _ => false,
        }
    }
}

fn number(value: &serde_json::Value) -> Option<f64> {
    match value {
        serde_json::Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        value => value.as_f64(),
    }
}

/// A list is never equal to one value, and has no order.
fn in_list(operator: Operator, found: &[serde_json::Value], wanted: &serde_json::Value) -> bool {
    match operator {
        Operator::In => found.contains(wanted),
        Operator::NotIn => !found.contains(wanted),
        operator => operator == Operator::NotEqual,
    }
}

fn is_about(wanted: &Logsource, found: &Logsource) -> bool {
    let fits = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
    fits(&wanted.category, &found.category)
        && fits(&wanted.product, &found.product)
        && fits(&wanted.service, &found.service)
}

fn is_same_value(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::Text(wanted), Value::Text(found)) => wanted.pieces == found.pieces,
        (Value::Number(wanted), Value::Number(found)) => {
            wanted == found || wanted.parse::<f64>().ok() == found.parse::<f64>().ok()
        }
        (Value::Bool(wanted), Value::Bool(found)) => wanted == found,
        (Value::Null, Value::Null) => true,
        _ => false,
    }
}

fn is_cased(value: &Value) -> bool {
    matches!(value, Value::Text(text) if text.is_cased)
}

/// The level of this name, whatever its case.
pub(super) fn level(name: &str) -> Option<Level> {
    let found = super::super::document::LEVELS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, level)| *level)
}

/// How mature a status is, from `unsupported` up to `stable`.
pub(super) fn status(name: &str) -> Option<usize> {
    ["unsupported", "deprecated", "experimental", "test", "stable"]
        .iter()
        .position(|known| known.eq_ignore_ascii_case(name))
}

/// Whether any item of the selections satisfies a test.
pub(super) fn any_item(selections: &[DraftSelection], test: &dyn Fn(&DraftItem) -> bool) -> bool {
    selections.iter().filter_map(|selection| selection.draft.as_ref()).any(|draft| draft.any_item(test))
}
