//! Correlations in words: what they look for, and how far a window is.

use detect::correlate::Window;
use detect::sigma::Rule;
use detect::sigma::correlation::{Correlation, Metric, Needed, Range, Relation, RuleExpr};
use detect::summary::span;
use sinks::clean;

/// What a correlation looks for, as the end of a sentence. `rules` are those that it relates.
pub(crate) fn looks_for(correlation: &Correlation, rules: &[Rule]) -> String {
    let fields = clean(&correlation.relation.fields().join("`, `")).into_owned();
    let what = match &correlation.relation {
        Relation::EventCount(range) => format!("requests: {range}"),
        Relation::ValueCount(_, range) => format!("different values of `{fields}`: {range}"),
        Relation::Metric(Metric::Sum, _, range) => format!("sum of `{fields}`: {range}"),
        Relation::Metric(Metric::Average, _, range) => format!("mean of `{fields}`: {range}"),
        Relation::Metric(Metric::Percentile(share), _, range) => {
            format!("percentile {share} of `{fields}`: {range}")
        }
        Relation::Temporal(needed) => format!("{}, in any order", self::needed(correlation, needed, rules)),
        Relation::TemporalOrdered(needed) => {
            format!("{}, one after the other", self::needed(correlation, needed, rules))
        }
        Relation::FirstSeen { learning } => {
            let span_before = span(correlation.timespan);
            return format!(
                "what was not seen in the {span_before} before, once it has learned for {}",
                span(*learning)
            );
        }
    };
    let judged = if correlation.relation.is_monotone() { "" } else { ", judged when they are over" };
    format!("{what}, within {}{judged}", span(correlation.timespan))
}

/// By what requests are told apart, as a sentence.
pub(crate) fn grouping(correlation: &Correlation) -> String {
    match correlation.group_by.as_slice() {
        [] => "over all requests together".to_owned(),
        fields => format!("for each `{}`", clean(&fields.join("`, `"))),
    }
}

/// How far a window is, and whose it is.
pub(crate) fn progress(correlation: &Correlation, window: &Window) -> String {
    let number = window.number;
    let matched = || window.rules.iter().filter(|matched| **matched).count();
    let far = match &correlation.relation {
        Relation::EventCount(range) => format!("{number} requests, wanted {range}"),
        Relation::ValueCount(_, range) => format!("{number} different values, wanted {range}"),
        Relation::Metric(_, _, range) => format!("{number:.2}, wanted {range}"),
        Relation::Temporal(_) | Relation::TemporalOrdered(_) => {
            format!("matches of {} of {} rules", matched(), window.rules.len())
        }
        Relation::FirstSeen { .. } => "been seen".to_owned(),
    };
    format!("{far}{}", shared(&window.group))
}

/// ` (user.username eve, no namespace)`, or nothing without a group.
pub(crate) fn shared(group: &[(String, Option<String>)]) -> String {
    let part = |(field, value): &(String, Option<String>)| match value {
        Some(value) => format!("{} {}", clean(field), clean(value)),
        None => format!("no {}", clean(field)),
    };
    let parts: Vec<String> = group.iter().map(part).collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

fn needed(correlation: &Correlation, needed: &Needed, rules: &[Rule]) -> String {
    match needed {
        Needed::Count(range) if is_all(range, correlation) => "matches of all of these rules".to_owned(),
        Needed::Count(range) => format!("of these rules: {range}"),
        Needed::Expression(expr) => expression(expr, correlation, rules),
    }
}

fn is_all(range: &Range, correlation: &Correlation) -> bool {
    #[allow(clippy::cast_precision_loss)]
    let all = Range::at_least(correlation.rules.len() as f64);
    *range == all
}

fn expression(expr: &RuleExpr, correlation: &Correlation, rules: &[Rule]) -> String {
    let joined = |parts: &[RuleExpr], word: &str| {
        let parts: Vec<String> = parts.iter().map(|part| expression(part, correlation, rules)).collect();
        format!("({})", parts.join(word))
    };
    match expr {
        RuleExpr::Rule(position) => {
            let id = correlation.rules.get(*position).map_or("", |reference| &reference.text);
            let rule = rules.iter().find(|rule| rule.id == id);
            format!("`{}`", clean(rule.map_or(id, |rule| rule.name.as_deref().unwrap_or(&rule.title))))
        }
        RuleExpr::All(parts) => joined(parts, " and "),
        RuleExpr::Any(parts) => joined(parts, " or "),
        RuleExpr::Not(part) => format!("not {}", expression(part, correlation, rules)),
    }
}
