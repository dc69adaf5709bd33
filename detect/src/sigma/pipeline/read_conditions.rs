//! Reads the conditions of steps.

use super::super::context::Context;
use super::super::error::RuleErrorKind as Kind;
use super::super::nearest::nearest;
use super::super::yaml::{Content, Node};
use super::conditions::{
    self, FieldCondition, Gate, ItemCondition, Link, Operator, RuleCondition, StateCondition, ValueTest,
};
use super::formula::Formula;
use super::read::Parameters;

/// The keys of a step that concern conditions.
pub(super) const KEYS: [&str; 12] = [
    "rule_conditions",
    "rule_cond_op",
    "rule_cond_not",
    "rule_cond_expr",
    "detection_item_conditions",
    "detection_item_cond_op",
    "detection_item_cond_not",
    "detection_item_cond_expr",
    "field_name_conditions",
    "field_name_cond_op",
    "field_name_cond_not",
    "field_name_cond_expr",
];
const RULE: [&str; 9] = [
    "logsource",
    "contains_detection_item",
    "contains_field",
    "processing_item_applied",
    "processing_state",
    "is_sigma_rule",
    "is_sigma_correlation_rule",
    "rule_attribute",
    "tag",
];
const ITEM: [&str; 6] = [
    "match_string",
    "match_value",
    "contains_wildcard",
    "is_null",
    "processing_item_applied",
    "processing_state",
];
const FIELD: [&str; 4] = ["include_fields", "exclude_fields", "processing_item_applied", "processing_state"];

/// How a condition of one sort is read, given its type.
type Read<C> = fn(&str, &mut Parameters<'_, '_, '_>) -> Option<C>;

/// Reads the conditions of one sort; nothing when a mistake was reported.
pub(super) fn gate<C>(sort: &str, step: &Node, context: &mut Context<'_>, read: Read<C>) -> Option<Gate<C>> {
    let key = |suffix: &str| {
        let name = format!("{sort}_{suffix}");
        KEYS.into_iter().find(|known| **known == name).unwrap_or_default()
    };
    let before = context.error_count();
    let mut reader = Parameters::new("a step", step, context);
    let is_negated = reader.flag(key("cond_not"));
    let nodes = reader.get(key("conditions"));
    let formula = reader.get(key("cond_expr")).filter(|node| !node.is_null());
    let operator = reader.optional_text(key("cond_op"));
    let mut link = match operator.as_deref() {
        None | Some("and") => Link::All,
        Some("or") => Link::Any,
        Some(other) => {
            reader.unsupported(key("cond_op"), other, "operator", &["and", "or"], &[]);
            return None;
        }
    };
    let (names, nodes) = named(key("conditions"), nodes, &mut reader)?;
    if let Some(node) = formula {
        link = Link::Formula(self::formula(node, operator.is_some(), names.as_deref(), context)?);
    }
    let conditions: Vec<_> = nodes.into_iter().filter_map(|node| condition(node, context, read)).collect();
    (context.error_count() == before).then_some(Gate { conditions, link, is_negated })
}

/// The conditions, and their names if they have any.
fn named<'n>(
    key: &'static str,
    node: Option<&'n Node>,
    reader: &mut Parameters<'_, '_, '_>,
) -> Option<(Option<Vec<&'n str>>, Vec<&'n Node>)> {
    match node.map(|node| (node, &node.content)) {
        None => Some((None, Vec::new())),
        Some((_, Content::List(nodes))) => Some((None, nodes.iter().collect())),
        Some((_, Content::Map(entries))) => {
            let names = entries.iter().filter_map(|(name, _)| name.scalar_text()).collect();
            Some((Some(names), entries.iter().map(|(_, node)| node).collect()))
        }
        Some((node, Content::Scalar(_))) => {
            let kind = Kind::WrongType {
                key: key.to_owned(),
                expected: "a list or a mapping of conditions",
                found: node.found(),
            };
            reader.report(node.place, kind);
            None
        }
    }
}

fn formula(
    node: &Node,
    has_operator: bool,
    names: Option<&[&str]>,
    context: &mut Context<'_>,
) -> Option<Formula> {
    let fault = match (node.scalar_text(), names) {
        (None, _) => "an expression must be a text",
        (_, None) => "an expression needs conditions with names: a mapping, not a list",
        _ if has_operator => "an expression and an operator exclude each other",
        (Some(text), Some(names)) => match Formula::parse(text, names) {
            Ok(formula) => return Some(formula),
            Err(fault) => {
                let place = context.source.place_in(node, fault.from, fault.width);
                context.report(place, Kind::StepConditions { message: fault.message });
                return None;
            }
        },
    };
    context.report(node.place, Kind::StepConditions { message: fault.to_owned() });
    None
}

fn condition<C>(node: &Node, context: &mut Context<'_>, read: Read<C>) -> Option<C> {
    if !matches!(node.content, Content::Map(_)) {
        let kind =
            Kind::WrongType { key: "a condition".to_owned(), expected: "a mapping", found: node.found() };
        context.report(node.place, kind);
        return None;
    }
    let name = Parameters::new("a condition", node, context).text("type")?;
    let mut reader = Parameters::new(&name, node, context);
    reader.allow(&["type"]);
    let condition = read(&name, &mut reader);
    if condition.is_some() {
        reader.finish();
    }
    condition
}

/// Reads a condition about rules.
pub(super) fn rule(name: &str, reader: &mut Parameters<'_, '_, '_>) -> Option<RuleCondition> {
    Some(match name {
        "logsource" => RuleCondition::Logsource(reader.logsource()?),
        "contains_detection_item" => {
            let field = reader.required("field")?.scalar_text().map(str::to_owned);
            let node = reader.required("value")?;
            RuleCondition::ContainsItem { field, value: reader.plain(node)? }
        }
        "contains_field" => {
            RuleCondition::ContainsField(reader.required("field")?.scalar_text().map(str::to_owned))
        }
        "processing_item_applied" => RuleCondition::Applied(reader.text("processing_item_id")?),
        "processing_state" => RuleCondition::State(state(reader)?),
        "is_sigma_rule" => RuleCondition::IsRule,
        "is_sigma_correlation_rule" => RuleCondition::IsCorrelation,
        "rule_attribute" => attribute(reader)?,
        "tag" => RuleCondition::Tag(reader.text("tag")?),
        other => {
            reader.unsupported("type", other, "rule condition", &RULE, &[]);
            return None;
        }
    })
}

/// Reads a condition about items.
pub(super) fn item(name: &str, reader: &mut Parameters<'_, '_, '_>) -> Option<ItemCondition> {
    let test = match name {
        "match_string" => {
            let pattern = reader.regex("pattern", true);
            let is_negated = reader.flag("negate");
            ValueTest::Matches { pattern: pattern?, is_negated }
        }
        "match_value" => {
            let node = reader.required("value")?;
            ValueTest::Equals(reader.plain(node)?)
        }
        "contains_wildcard" => ValueTest::HasWildcard,
        "is_null" => ValueTest::IsNull,
        "processing_item_applied" => return Some(ItemCondition::Applied(reader.text("processing_item_id")?)),
        "processing_state" => return Some(ItemCondition::State(state(reader)?)),
        other => {
            reader.unsupported("type", other, "detection item condition", &ITEM, &[]);
            return None;
        }
    };
    let wants_all = match reader.text("cond")?.as_str() {
        "all" => true,
        "any" => false,
        other => {
            reader.unsupported("cond", other, "cond", &["any", "all"], &[]);
            return None;
        }
    };
    Some(ItemCondition::Values { wants_all, test })
}

/// Reads a condition about names of fields.
pub(super) fn field(name: &str, reader: &mut Parameters<'_, '_, '_>) -> Option<FieldCondition> {
    Some(match name {
        "include_fields" | "exclude_fields" => {
            let is_excluded = name == "exclude_fields";
            let (names, patterns) = match reader.optional_text("mode").as_deref() {
                None | Some("plain") => (reader.texts("fields")?, Vec::new()),
                Some("re") => (Vec::new(), reader.regexes("fields")?),
                Some(other) => {
                    reader.unsupported("mode", other, "mode", &["plain", "re"], &[]);
                    return None;
                }
            };
            FieldCondition::Names { names, patterns, is_excluded }
        }
        "processing_item_applied" => FieldCondition::Applied(reader.text("processing_item_id")?),
        "processing_state" => FieldCondition::State(state(reader)?),
        other => {
            reader.unsupported("type", other, "field name condition", &FIELD, &[]);
            return None;
        }
    })
}

fn state(reader: &mut Parameters<'_, '_, '_>) -> Option<StateCondition> {
    let key = reader.text("key")?;
    let value = reader.required("val")?.to_json();
    Some(StateCondition { key, operator: operator(reader)?, value })
}

fn operator(reader: &mut Parameters<'_, '_, '_>) -> Option<Operator> {
    let Some(name) = reader.optional_text("op") else { return Some(Operator::Equal) };
    let found = Operator::NAMES.iter().find(|(known, _)| *known == name);
    if found.is_none() {
        let names = Operator::NAMES.map(|(known, _)| known);
        reader.unsupported("op", &name, "operator", &names, &[]);
    }
    found.map(|(_, operator)| *operator)
}

fn attribute(reader: &mut Parameters<'_, '_, '_>) -> Option<RuleCondition> {
    let name = reader.text("attribute");
    let node = reader.required("value")?;
    let (name, operator, value) = (name?, operator(reader)?, node.to_json());
    let text = value.as_str().unwrap_or_default();
    let fits = match name.as_str() {
        "level" => conditions::level(text).is_some(),
        "status" => conditions::status(text).is_some(),
        "date" | "modified" => text.parse::<chrono::NaiveDate>().is_ok(),
        _ => true,
    };
    if !fits {
        let known = ["informational", "low", "medium", "high", "critical"];
        let closest = nearest(text, known).filter(|_| name == "level");
        let known = "a level, a status or a date written YYYY-MM-DD".to_owned();
        let value = node.scalar_text().unwrap_or_default().to_owned();
        reader.report(node.place, Kind::UnknownValue { key: "attribute", value, closest, known });
        return None;
    }
    Some(RuleCondition::Attribute { name, operator, value })
}
