//! Reads the `correlation` mapping of a document.

use core::time::Duration;
use std::collections::HashSet;

use super::{
    Alias, Bound, COUNT_MAX, Correlation, FIELDS_MAX, Metric, Needed, ORDERED_RULES_MAX, RULES_MAX, Range,
    Reference, Relation, RuleExpr,
};
use crate::sigma::condition;
use crate::sigma::context::Context;
use crate::sigma::detection::Selection;
use crate::sigma::error::RuleErrorKind as Kind;
use crate::sigma::nearest::nearest;
use crate::sigma::yaml::{Content, Node, Resolved};
use crate::sigma::{Expr, Place};

const KEYS: [&str; 8] =
    ["type", "rules", "generate", "group-by", "timespan", "aliases", "condition", "learning"];
const TYPES: [&str; 9] = [
    "event_count",
    "value_count",
    "value_sum",
    "value_avg",
    "value_median",
    "value_percentile",
    "temporal",
    "temporal_ordered",
    "first_seen",
];
const BOUNDS: [(&str, Bound); 6] = [
    ("lt", Bound::Less),
    ("lte", Bound::LessOrEqual),
    ("gt", Bound::Greater),
    ("gte", Bound::GreaterOrEqual),
    ("eq", Bound::Equal),
    ("neq", Bound::NotEqual),
];
/// Seconds of each unit; months and years are those of the Gregorian calendar on average.
const UNITS: [(char, u64); 7] =
    [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400), ('w', 604_800), ('M', 2_629_746), ('y', 31_556_952)];
/// A longer time span is a slip: no cluster is as old.
const TIMESPAN_YEARS_MAX: u64 = 100;
/// How long first-seen rules learn unless they say it, or as long as they remember.
const LEARNING_S: u64 = 7 * 86_400;

/// Reads a correlation; nothing when a problem was reported.
pub(in crate::sigma) fn read(node: &Node, context: &mut Context<'_>) -> Option<Correlation> {
    let before = context.error_count();
    let mut reader = Reader { node, context, field_places: Vec::new() };
    let Content::Map(_) = &node.content else {
        reader.wrong("correlation", node, "a mapping");
        return None;
    };
    reader.check_keys();
    let name = reader.relation_name();
    let rules = reader.rules(name);
    let group_by = reader.texts("group-by");
    let aliases = reader.aliases();
    reader.check_aliases(&group_by);
    let timespan = reader.duration("timespan", true);
    let generate = reader.generate();
    let relation = name.and_then(|name| reader.relation(name, &rules, timespan));
    if matches!(relation, Some(Relation::TemporalOrdered(_))) {
        reader.limit("the number of rules in order", rules.len(), ORDERED_RULES_MAX);
    }
    reader.limit("the number of fields to group by", group_by.len(), FIELDS_MAX);
    if let Some(relation) = &relation {
        reader.check_condition(relation);
    }
    let (relation, timespan) = relation.zip(timespan)?;
    let field_places = reader.field_places;
    let correlation = Correlation { relation, rules, group_by, aliases, timespan, generate, field_places };
    (context.error_count() == before).then_some(correlation)
}

struct Reader<'r, 't> {
    node: &'r Node,
    context: &'r mut Context<'t>,
    field_places: Vec<(String, Place)>,
}

impl<'r> Reader<'r, '_> {
    fn get(&self, key: &str) -> Option<&'r Node> {
        let node = self.node;
        node.get(key).filter(|node| !node.is_null())
    }

    fn wrong(&mut self, key: &str, node: &Node, expected: &'static str) {
        let kind = Kind::WrongType { key: key.to_owned(), expected, found: node.found() };
        self.context.report(node.place, kind);
    }

    fn missing(&mut self, key: &'static str) {
        let mut names = self.node.entries().iter().map(|(name, _)| name);
        let slip = names.find(|name| {
            let name = name.scalar_text().unwrap_or_default();
            !KEYS.contains(&name) && nearest(name, [key]).is_some()
        });
        let place = slip.map_or(self.node.place, |node| node.place);
        let slip = slip.and_then(Node::scalar_text).map(str::to_owned);
        self.context.report(place, Kind::MissingKey { key, slip });
    }

    fn limit(&mut self, what: &'static str, count: usize, max: usize) {
        if count > max {
            self.context.report(self.node.place, Kind::Limit { what, max });
        }
    }

    fn check_keys(&mut self) {
        for (key, _) in self.node.entries() {
            let Some(name) = key.scalar_text().filter(|name| !KEYS.contains(name)) else { continue };
            let closest = nearest(name, KEYS);
            self.context.report(key.place, Kind::IgnoredKey { key: name.to_owned(), closest });
        }
    }

    fn relation_name(&mut self) -> Option<&'static str> {
        let Some(node) = self.get("type") else {
            self.missing("type");
            return None;
        };
        let Some(text) = node.scalar_text() else {
            self.wrong("type", node, "a text");
            return None;
        };
        let name = TYPES.into_iter().find(|name| name.eq_ignore_ascii_case(text));
        if name.is_none() {
            let (value, closest, known) = (text.to_owned(), nearest(text, TYPES), TYPES.join(", "));
            self.context.report(node.place, Kind::UnknownValue { key: "type", value, closest, known });
        }
        name
    }

    /// The rules that are listed, or those that the condition names.
    fn rules(&mut self, relation: Option<&str>) -> Vec<Reference> {
        let is_temporal = matches!(relation, Some("temporal" | "temporal_ordered"));
        let condition = self.get("condition").filter(|node| is_temporal && node.scalar_text().is_some());
        match (self.get("rules"), condition) {
            (None, None) => {
                self.missing("rules");
                Vec::new()
            }
            (None, Some(condition)) => self.named_in(condition),
            (Some(node), _) => self.references(node),
        }
    }

    fn references(&mut self, node: &Node) -> Vec<Reference> {
        let nodes = list_of(node);
        if nodes.len() > RULES_MAX {
            let what = "the number of rules in a correlation";
            self.context.report(node.place, Kind::Limit { what, max: RULES_MAX });
            return Vec::new();
        }
        let mut references: Vec<Reference> = Vec::new();
        for node in nodes {
            match node.scalar_text() {
                Some(text) if !node.is_null() => {
                    // Listed twice it still is one rule.
                    if !references.iter().any(|known| known.text == text) {
                        references.push(Reference { text: text.to_owned(), place: node.place });
                    }
                }
                _ => self.wrong("rules", node, "ids or names of rules"),
            }
        }
        if references.is_empty() {
            self.context.report(node.place, Kind::EmptyText { key: "rules" });
        }
        references
    }

    fn named_in(&mut self, condition: &Node) -> Vec<Reference> {
        let words = condition::words(condition, RULES_MAX + 1, self.context);
        self.limit("the number of rules in a correlation", words.len(), RULES_MAX);
        words.into_iter().map(|(text, place)| Reference { text, place }).collect()
    }

    /// A text or a list of texts.
    fn texts(&mut self, key: &'static str) -> Vec<String> {
        self.get(key).map_or(Vec::new(), |node| self.texts_of(key, node))
    }

    fn texts_of(&mut self, key: &'static str, node: &Node) -> Vec<String> {
        let mut texts = Vec::new();
        for node in list_of(node) {
            match node.scalar_text() {
                Some(text) if !text.is_empty() => {
                    texts.push(text.to_owned());
                    self.field_places.push((text.to_owned(), node.place));
                }
                _ => self.wrong(key, node, "a list of field names"),
            }
        }
        texts
    }

    fn aliases(&mut self) -> Vec<Alias> {
        let Some(node) = self.get("aliases") else { return Vec::new() };
        let Content::Map(entries) = &node.content else {
            self.wrong("aliases", node, "a mapping");
            return Vec::new();
        };
        if entries.len() > FIELDS_MAX {
            let what = "the number of aliases";
            self.context.report(node.place, Kind::Limit { what, max: FIELDS_MAX });
            return Vec::new();
        }
        let mut aliases = Vec::new();
        for (key, value) in entries {
            self.limit("the number of fields of an alias", value.entries().len(), RULES_MAX);
            let Content::Map(fields) = &value.content else {
                self.wrong("aliases", value, "a mapping of rules to fields");
                continue;
            };
            let mut alias =
                Alias { name: key.scalar_text().unwrap_or_default().to_owned(), fields: Vec::new() };
            for (rule, field) in fields {
                match (rule.scalar_text(), field.scalar_text()) {
                    (Some(text), Some(name)) => {
                        let rule = Reference { text: text.to_owned(), place: rule.place };
                        alias.fields.push((rule, name.to_owned()));
                        self.field_places.push((name.to_owned(), field.place));
                    }
                    _ => self.wrong("aliases", field, "a field name"),
                }
            }
            aliases.push(alias);
        }
        aliases
    }

    /// Warns of aliases that group nothing.
    fn check_aliases(&mut self, group_by: &[String]) {
        let entries = self.get("aliases").map_or(&[][..], Node::entries);
        for (key, _) in entries {
            let name = key.scalar_text().unwrap_or_default();
            if !group_by.iter().any(|field| field == name) {
                self.context.report(key.place, Kind::IgnoredKey { key: name.to_owned(), closest: None });
            }
        }
    }

    fn never_fires(&mut self, node: &Node, reason: String) {
        self.context.report(node.place, Kind::NeverFires { reason, note: None });
    }

    fn generate(&mut self) -> bool {
        let Some(node) = self.get("generate") else { return false };
        match &node.content {
            Content::Scalar(scalar) if matches!(scalar.resolved(), Resolved::Bool(_)) => {
                scalar.resolved() == Resolved::Bool(true)
            }
            _ => {
                self.wrong("generate", node, "`true` or `false`");
                false
            }
        }
    }

    fn duration(&mut self, key: &'static str, is_required: bool) -> Option<Duration> {
        let Some(node) = self.get(key) else {
            if is_required {
                self.missing(key);
            }
            return None;
        };
        let text = node.scalar_text().unwrap_or_default();
        let duration = parse_timespan(text);
        if duration.is_none() {
            self.context.report(node.place, Kind::InvalidTimespan { key, value: text.to_owned() });
        }
        duration
    }

    fn relation(&mut self, name: &str, rules: &[Reference], timespan: Option<Duration>) -> Option<Relation> {
        let learning = self.duration("learning", false);
        if name == "first_seen" {
            if let Some(node) = self.get("condition") {
                self.context
                    .report(node.place, Kind::IgnoredKey { key: "condition".to_owned(), closest: None });
            }
            let usual = timespan.unwrap_or_default().min(Duration::from_secs(LEARNING_S));
            return Some(Relation::FirstSeen { learning: learning.unwrap_or(usual) });
        }
        if let Some(node) = self.get("learning") {
            self.context.report(node.place, Kind::IgnoredKey { key: "learning".to_owned(), closest: None });
        }
        match name {
            "temporal" => self.needed(rules).map(Relation::Temporal),
            "temporal_ordered" => self.needed(rules).map(Relation::TemporalOrdered),
            "event_count" => self.count_range().map(Relation::EventCount),
            "value_count" => {
                let fields = self.value_fields()?;
                self.limit("the number of fields to count", fields.len(), FIELDS_MAX);
                self.count_range().map(|range| Relation::ValueCount(fields, range))
            }
            _ => self.metric(name),
        }
    }

    fn metric(&mut self, name: &str) -> Option<Relation> {
        let fields = self.value_fields();
        let range = self.range()?;
        let metric = match name {
            "value_sum" => Metric::Sum,
            "value_avg" => Metric::Average,
            "value_median" => Metric::Percentile(50.0),
            _ => Metric::Percentile(self.percentile()?),
        };
        let [field] = <[String; 1]>::try_from(fields?).map_or_else(
            |_| {
                let place = self.get("condition").map_or(self.node.place, |node| node.place);
                self.context.report(place, Kind::OneField);
                None
            },
            Some,
        )?;
        Some(Relation::Metric(metric, field, range))
    }

    fn percentile(&mut self) -> Option<f64> {
        let condition = self.get("condition")?;
        let Some(node) = condition.get("percentile") else {
            self.context.report(condition.place, Kind::MissingKey { key: "percentile", slip: None });
            return None;
        };
        let number = number(node).filter(|number| (0.0..=100.0).contains(number));
        if number.is_none() {
            self.wrong("percentile", node, "a number from 0 to 100");
        }
        number
    }

    /// The condition as a mapping, which all but temporal relations need.
    fn condition_map(&mut self) -> Option<&'r Node> {
        let Some(node) = self.get("condition") else {
            self.missing("condition");
            return None;
        };
        if !matches!(node.content, Content::Map(_)) {
            self.wrong("condition", node, "a mapping such as `gte: 10`");
            return None;
        }
        Some(node)
    }

    fn value_fields(&mut self) -> Option<Vec<String>> {
        let condition = self.condition_map()?;
        let Some(node) = condition.get("field") else {
            self.context.report(condition.place, Kind::MissingKey { key: "field", slip: None });
            return None;
        };
        Some(self.texts_of("field", node)).filter(|fields| !fields.is_empty())
    }

    fn range(&mut self) -> Option<Range> {
        let condition = self.condition_map()?;
        let before = self.context.error_count();
        let mut bounds = Vec::new();
        for (key, value) in condition.entries() {
            let name = key.scalar_text().unwrap_or_default();
            match BOUNDS.iter().find(|(known, _)| *known == name) {
                Some((_, bound)) => match number(value) {
                    Some(number) => bounds.push((*bound, number)),
                    None => self.wrong(name, value, "a number"),
                },
                None if matches!(name, "field" | "percentile") => {}
                None => {
                    let known: Vec<&str> = BOUNDS.iter().map(|(name, _)| *name).collect();
                    let (closest, value) = (nearest(name, known.iter().copied()), name.to_owned());
                    let known = known.join(", ");
                    let kind = Kind::UnknownValue { key: "comparison", value, closest, known };
                    self.context.report(key.place, kind);
                }
            }
        }
        if bounds.is_empty() && self.context.error_count() == before {
            self.context.report(condition.place, Kind::MissingKey { key: "gte", slip: None });
        }
        Some(Range(bounds))
    }

    /// Warns of parameters that the relation does not have, and of bounds that exclude each
    /// other.
    fn check_condition(&mut self, relation: &Relation) {
        let Some(condition) = self.get("condition") else { return };
        let has_field = !relation.fields().is_empty();
        let has_percentile = matches!(relation, Relation::Metric(Metric::Percentile(_), ..));
        for (key, _) in condition.entries() {
            let name = key.scalar_text().unwrap_or_default();
            if name == "field" && !has_field || name == "percentile" && !has_percentile {
                self.context.report(key.place, Kind::IgnoredKey { key: name.to_owned(), closest: None });
            }
        }
        if let Some(range) = relation.range().filter(|range| range.is_impossible()) {
            self.never_fires(condition, format!("no number is {range}"));
        }
    }

    /// Bounds of a count: as much as they ask for has to be remembered.
    fn count_range(&mut self) -> Option<Range> {
        let range = self.range()?;
        #[allow(clippy::cast_precision_loss)]
        let is_bounded = range.0.iter().all(|(_, limit)| *limit <= COUNT_MAX as f64);
        if !is_bounded {
            let place = self.get("condition").map_or(self.node.place, |node| node.place);
            self.context.report(place, Kind::Limit { what: "the count to compare with", max: COUNT_MAX });
        }
        Some(range)
    }

    /// What temporal relations need: every rule unless the condition says otherwise.
    fn needed(&mut self, rules: &[Reference]) -> Option<Needed> {
        let Some(node) = self.get("condition") else {
            #[allow(clippy::cast_precision_loss)]
            return Some(Needed::Count(Range::at_least(rules.len() as f64)));
        };
        if let Content::Map(_) = node.content {
            let range = self.range()?;
            #[allow(clippy::cast_precision_loss)]
            let is_possible = (0..=rules.len()).any(|count| range.holds(count as f64));
            if !is_possible && !rules.is_empty() && !range.0.is_empty() {
                self.never_fires(node, format!("the number of rules that match is never {range}"));
            }
            return Some(Needed::Count(range));
        }
        // Then there is a mistake that has been reported.
        if rules.is_empty() || rules.len() > RULES_MAX {
            return None;
        }
        let selections: Vec<Selection> = rules.iter().map(placeholder).collect();
        let expr = condition::one(node, &selections, &mut HashSet::new(), self.context)?;
        let expr = over_rules(&expr, rules);
        for rule in
            rules.iter().enumerate().filter(|(number, _)| !mentions(&expr, *number)).map(|(_, rule)| rule)
        {
            self.context.report(rule.place, Kind::UnusedRule { name: rule.text.clone() });
        }
        Some(Needed::Expression(expr))
    }
}

/// A rule as the reader of conditions knows selections.
fn placeholder(rule: &Reference) -> Selection {
    Selection { name: rule.text.clone(), place: rule.place, expr: Some(Expr::All(Vec::new())), bytes: 0 }
}

/// The same expression over positions in the list of rules.
fn over_rules(expr: &Expr, rules: &[Reference]) -> RuleExpr {
    let all = |parts: &[Expr]| parts.iter().map(|part| over_rules(part, rules)).collect();
    match expr {
        Expr::Named(name, _) => {
            RuleExpr::Rule(rules.iter().position(|rule| rule.text == *name).unwrap_or_default())
        }
        Expr::All(parts) => RuleExpr::All(all(parts)),
        Expr::Any(parts) => RuleExpr::Any(all(parts)),
        Expr::Not(part) => RuleExpr::Not(Box::new(over_rules(part, rules))),
        Expr::Item(_) | Expr::Block(_) => RuleExpr::All(Vec::new()),
    }
}

fn mentions(expr: &RuleExpr, rule: usize) -> bool {
    match expr {
        RuleExpr::Rule(found) => *found == rule,
        RuleExpr::All(parts) | RuleExpr::Any(parts) => parts.iter().any(|part| mentions(part, rule)),
        RuleExpr::Not(part) => mentions(part, rule),
    }
}

fn list_of(node: &Node) -> &[Node] {
    match &node.content {
        Content::List(nodes) => nodes,
        _ => std::slice::from_ref(node),
    }
}

fn number(node: &Node) -> Option<f64> {
    let Content::Scalar(scalar) = &node.content else { return None };
    let Resolved::Number(text) = scalar.resolved() else { return None };
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// A whole number and one of the units s, m, h, d, w, M and y.
pub fn parse_timespan(text: &str) -> Option<Duration> {
    let (unit, seconds) = UNITS.into_iter().find(|(unit, _)| text.ends_with(*unit))?;
    let digits = text.strip_suffix(unit)?;
    let count: u64 = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??;
    let seconds = count.checked_mul(seconds)?;
    (1..=TIMESPAN_YEARS_MAX * 31_556_952).contains(&seconds).then(|| Duration::from_secs(seconds))
}
