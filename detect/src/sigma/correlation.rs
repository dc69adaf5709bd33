//! Correlation documents: how the matches of other rules relate in time.
//!
//! Follows the Sigma correlation rules specification, the boolean conditions over rule
//! names of its later version, and one extension: [`Relation::FirstSeen`].

mod linking;
mod reader;

use core::fmt;
use core::time::Duration;
use std::collections::HashSet;

pub(super) use linking::resolve;
pub use reader::parse_timespan;
pub(super) use reader::read;

use serde::{Deserialize, Serialize};

use super::{Place, Rule};

/// How many rules one correlation may relate.
pub const RULES_MAX: usize = 64;
/// How many rules a correlation may put in order: what is remembered of a group doubles
/// with each.
pub const ORDERED_RULES_MAX: usize = 10;
/// How much a count may be compared with: as many matches of each group are remembered.
pub const COUNT_MAX: usize = 100_000;
/// How many fields may group, or be counted together.
pub const FIELDS_MAX: usize = 16;

/// A relation between the matches of other rules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Correlation {
    /// What must be seen within the time span.
    pub relation: Relation,
    /// The rules whose matches are related, in the order in which they are listed.
    pub rules: Vec<Reference>,
    /// Fields that matches must agree in to be related.
    pub group_by: Vec<String>,
    /// Names of `group_by` that stand for different fields of different rules.
    pub aliases: Vec<Alias>,
    /// How far apart matches may be.
    pub timespan: Duration,
    /// Whether the rules give alerts of their own besides.
    pub generate: bool,
    /// Where fields are named, for lints.
    pub field_places: Vec<(String, Place)>,
}

/// What must be seen within the time span of a correlation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Relation {
    /// So many requests.
    EventCount(Range),
    /// So many different values of a field, or different tuples of several.
    ValueCount(Vec<String>, Range),
    /// A sum, average or percentile of the numbers in a field.
    Metric(Metric, String, Range),
    /// Matches of several rules, in any order.
    Temporal(Needed),
    /// Matches of several rules in the order in which the rules are listed.
    TemporalOrdered(Needed),
    /// A group that was not seen within the time span before. Nothing is said in the time
    /// after the first match of all: there everything is new.
    FirstSeen {
        /// How long that time is.
        learning: Duration,
    },
}

/// What is computed from numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Metric {
    /// Their sum.
    Sum,
    /// Their mean.
    Average,
    /// The number below which this share of them lies, from 0 to 100, interpolated
    /// linearly. The median is 50.
    Percentile(f64),
}

/// Which rules have to match.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Needed {
    /// So many different ones.
    Count(Range),
    /// Those for which an expression holds.
    Expression(RuleExpr),
}

/// A boolean expression over rules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RuleExpr {
    /// The rule at this position of [`Correlation::rules`] matched.
    Rule(usize),
    /// Every part holds.
    All(Vec<RuleExpr>),
    /// At least one part holds.
    Any(Vec<RuleExpr>),
    /// The part does not hold.
    Not(Box<RuleExpr>),
}

/// A number that satisfies every bound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Range(pub Vec<(Bound, f64)>);

/// How a number is compared with a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Bound {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

/// A mention of a rule by id or name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The id or name as written; the id once rules have been linked.
    pub text: String,
    /// Where it is mentioned.
    pub place: Place,
}

/// A name for fields that differ from rule to rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    /// The name, as `group_by` has it.
    pub name: String,
    /// The field that stands for it in the matches of each rule.
    pub fields: Vec<(Reference, String)>,
}

/// By rule: whether it only serves correlations, and gives no alerts of its own. It does
/// unless a correlation that relates it says `generate`.
pub fn silent(rules: &[Rule]) -> Vec<bool> {
    let mentioned = |generate: bool| -> HashSet<&str> {
        let correlations = rules.iter().filter_map(Rule::correlation);
        let chosen = correlations.filter(|correlation| correlation.generate == generate);
        chosen.flat_map(|correlation| &correlation.rules).map(|rule| rule.text.as_str()).collect()
    };
    let (loud, quiet) = (mentioned(true), mentioned(false));
    rules.iter().map(|rule| quiet.contains(rule.id.as_str()) && !loud.contains(rule.id.as_str())).collect()
}

impl Correlation {
    /// The field of the rule of this id that `name`, a field or an alias, stands for.
    pub fn field_of<'c>(&'c self, rule_id: &str, name: &'c str) -> &'c str {
        let alias = self.aliases.iter().find(|alias| alias.name == name);
        let mut fields = alias.into_iter().flat_map(|alias| &alias.fields);
        fields.find(|(rule, _)| rule.text == rule_id).map_or(name, |(_, field)| field)
    }

    /// Every field, once for each time that it is named. An alias is none, unless it stands
    /// for nothing in the matches of one of the rules: there it is taken for a field.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        let has = |alias: &Alias, rule: &Reference| alias.fields.iter().any(|(of, _)| of.text == rule.text);
        let is_whole = move |alias: &Alias| self.rules.iter().all(|rule| has(alias, rule));
        let is_alias =
            move |name: &String| self.aliases.iter().any(|alias| alias.name == *name && is_whole(alias));
        let grouping = self.group_by.iter().filter(move |name| !is_alias(name));
        let aliased = self.aliases.iter().flat_map(|alias| &alias.fields).map(|(_, field)| field);
        grouping.chain(aliased).chain(self.relation.fields()).map(String::as_str)
    }

    /// The fields that stand behind aliases and in the condition.
    pub(super) fn single_fields_mut(&mut self) -> impl Iterator<Item = &mut String> {
        let aliased = self.aliases.iter_mut().flat_map(|alias| &mut alias.fields).map(|(_, field)| field);
        aliased.chain(self.relation.fields_mut())
    }

    /// Every mention of another rule.
    pub fn references_mut(&mut self) -> impl Iterator<Item = &mut Reference> {
        let in_aliases = self.aliases.iter_mut().flat_map(|alias| &mut alias.fields).map(|(rule, _)| rule);
        self.rules.iter_mut().chain(in_aliases)
    }
}

impl Relation {
    /// The name in rules.
    pub fn name(&self) -> &'static str {
        match self {
            Relation::EventCount(_) => "event_count",
            Relation::ValueCount(..) => "value_count",
            Relation::Metric(Metric::Sum, ..) => "value_sum",
            Relation::Metric(Metric::Average, ..) => "value_avg",
            Relation::Metric(Metric::Percentile(50.0), ..) => "value_median",
            Relation::Metric(Metric::Percentile(_), ..) => "value_percentile",
            Relation::Temporal(_) => "temporal",
            Relation::TemporalOrdered(_) => "temporal_ordered",
            Relation::FirstSeen { .. } => "first_seen",
        }
    }

    /// The fields whose values are counted or computed with.
    pub fn fields(&self) -> &[String] {
        match self {
            Relation::ValueCount(fields, _) => fields,
            Relation::Metric(_, field, _) => std::slice::from_ref(field),
            _ => &[],
        }
    }

    /// With what a count or a metric is compared.
    fn range(&self) -> Option<&Range> {
        match self {
            Relation::EventCount(range) | Relation::ValueCount(_, range) | Relation::Metric(.., range) => {
                Some(range)
            }
            _ => None,
        }
    }

    fn fields_mut(&mut self) -> &mut [String] {
        match self {
            Relation::ValueCount(fields, _) => fields,
            Relation::Metric(_, field, _) => std::slice::from_mut(field),
            _ => &mut [],
        }
    }

    /// Whether more matches can never undo the relation. Only then can it be judged before
    /// the time span is over.
    pub fn is_monotone(&self) -> bool {
        match self {
            Relation::EventCount(range)
            | Relation::ValueCount(_, range)
            | Relation::Metric(Metric::Sum, _, range) => range.is_monotone(),
            Relation::Metric(..) => false,
            Relation::Temporal(needed) | Relation::TemporalOrdered(needed) => match needed {
                Needed::Count(range) => range.is_monotone(),
                Needed::Expression(expr) => expr.is_monotone(),
            },
            Relation::FirstSeen { .. } => true,
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (bound, limit)) in self.0.iter().enumerate() {
            let and = if index == 0 { "" } else { " and " };
            write!(formatter, "{and}{} {limit}", bound.sign())?;
        }
        Ok(())
    }
}

impl Range {
    /// At least so much.
    pub fn at_least(number: f64) -> Self {
        Self(vec![(Bound::GreaterOrEqual, number)])
    }

    /// Whether a number satisfies every bound.
    pub fn holds(&self, number: f64) -> bool {
        self.0.iter().all(|(bound, limit)| bound.holds(number, *limit))
    }

    /// Whether there are bounds, and they exclude each other.
    fn is_impossible(&self) -> bool {
        let limits = || self.0.iter().map(|(_, limit)| *limit);
        let between = limits().flat_map(|one| limits().map(move |other| f64::midpoint(one, other)));
        let mut candidates = limits().flat_map(|limit| [limit - 1.0, limit + 1.0]).chain(between);
        !self.0.is_empty() && !candidates.any(|number| self.holds(number))
    }

    /// The smallest whole number that satisfies the lower bounds.
    pub fn least(&self) -> usize {
        let lower = self.0.iter().map(|(bound, limit)| match bound {
            Bound::Greater => limit.floor() + 1.0,
            Bound::GreaterOrEqual | Bound::Equal => limit.ceil(),
            _ => 0.0,
        });
        // Negative numbers become 0, absurd ones the largest there is.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let least = lower.fold(0.0, f64::max) as usize;
        least
    }

    fn is_monotone(&self) -> bool {
        self.0.iter().all(|(bound, _)| matches!(bound, Bound::Greater | Bound::GreaterOrEqual))
    }
}

impl Bound {
    fn holds(self, number: f64, limit: f64) -> bool {
        match self {
            Bound::Less => number < limit,
            Bound::LessOrEqual => number <= limit,
            Bound::Greater => number > limit,
            Bound::GreaterOrEqual => number >= limit,
            // Whole numbers and medians are compared; what is written is meant exactly.
            #[allow(clippy::float_cmp)]
            Bound::Equal => number == limit,
            #[allow(clippy::float_cmp)]
            Bound::NotEqual => number != limit,
        }
    }

    /// The sign, for people.
    pub fn sign(self) -> &'static str {
        match self {
            Bound::Less => "<",
            Bound::LessOrEqual => "≤",
            Bound::Greater => ">",
            Bound::GreaterOrEqual => "≥",
            Bound::Equal => "=",
            Bound::NotEqual => "≠",
        }
    }
}

impl RuleExpr {
    /// Whether the expression holds when `has` says which rules matched and `lacks` which
    /// of them did not.
    pub fn holds(&self, has: &impl Fn(usize) -> bool, lacks: &impl Fn(usize) -> bool) -> bool {
        match self {
            RuleExpr::Rule(rule) => has(*rule),
            RuleExpr::All(parts) => parts.iter().all(|part| part.holds(has, lacks)),
            RuleExpr::Any(parts) => parts.iter().any(|part| part.holds(has, lacks)),
            RuleExpr::Not(part) => part.fails(has, lacks),
        }
    }

    fn fails(&self, has: &impl Fn(usize) -> bool, lacks: &impl Fn(usize) -> bool) -> bool {
        match self {
            RuleExpr::Rule(rule) => lacks(*rule),
            RuleExpr::All(parts) => parts.iter().any(|part| part.fails(has, lacks)),
            RuleExpr::Any(parts) => parts.iter().all(|part| part.fails(has, lacks)),
            RuleExpr::Not(part) => part.holds(has, lacks),
        }
    }

    fn is_monotone(&self) -> bool {
        match self {
            RuleExpr::Rule(_) => true,
            RuleExpr::All(parts) | RuleExpr::Any(parts) => parts.iter().all(RuleExpr::is_monotone),
            RuleExpr::Not(_) => false,
        }
    }
}
