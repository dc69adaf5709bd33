//! Filter documents: exceptions that are added to many rules at once.
//!
//! Follows the Sigma filters specification and, where that is silent, pySigma. Two
//! differences: a filter that names no rule is an error here where pySigma takes an empty
//! list for `any`, and so is naming a rule that does not exist, which pySigma ignores.

use std::path::PathBuf;

use super::context::Context;
use super::correlation::Reference;
use super::detection::{self, Rest};
use super::error::RuleErrorKind as Kind;
use super::nearest::nearest;
use super::yaml::{Content, Node};
use super::{Expr, Logsource, Place};

/// The keys of `filter` that are no selections.
const KEYS: [&str; 2] = ["rules", "condition"];

/// How many rules one filter may list.
const REFERENCES_MAX: usize = 1000;

/// A condition that must hold besides those of the rules that it is added to.
#[derive(Clone, Debug)]
pub struct Filter {
    /// The file it came from.
    pub path: PathBuf,
    /// Its `id`, if it has one.
    pub id: Option<String>,
    /// What it is for.
    pub title: String,
    /// The logs whose rules it may be added to.
    pub logsource: Logsource,
    /// The rules that it is added to.
    pub rules: FilteredRules,
    /// What must hold besides.
    pub condition: Expr,
    /// Where it says which rules are meant.
    pub place: Place,
    /// Roughly the memory of the condition, of which every rule gets a copy.
    pub(super) bytes: usize,
}

/// Which rules a filter is added to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilteredRules {
    /// Every rule of the filter's logsource.
    Any,
    /// These, as far as they are of the filter's logsource.
    Listed(Vec<Reference>),
}

/// What the `filter` mapping holds.
pub(super) struct Section {
    pub(super) rules: FilteredRules,
    pub(super) condition: Expr,
    pub(super) place: Place,
    pub(super) bytes: usize,
}

/// Reads the `filter` mapping of a document; nothing when a problem was reported.
pub(super) fn read(
    document: &Node,
    node: &Node,
    rest: Rest<'_>,
    context: &mut Context<'_>,
) -> Option<Section> {
    let errors = context.error_count();
    if !matches!(node.content, Content::Map(_)) {
        wrong("filter", node, "a mapping", context);
        return None;
    }
    let listed = node.get("rules").filter(|rules| !rules.is_null());
    let mut keys = KEYS.to_vec();
    let rules = if let Some(rules) = listed {
        rules_of(rules, context)
    } else {
        let slip = slip_of_rules(node);
        let place = slip.map_or(node.place, |slip| slip.place);
        let slip = slip.and_then(Node::scalar_text);
        context.report(place, Kind::MissingKey { key: "rules", slip: slip.map(str::to_owned) });
        // What was meant to say which rules is no selection.
        keys.extend(slip);
        None
    };
    let condition = node.get("condition");
    // Rules may have several conditions; of several exceptions nobody could say which holds.
    if let Some(list) = condition.filter(|condition| matches!(condition.content, Content::List(_))) {
        wrong("condition", list, "a text", context);
        return None;
    }
    let mut detection = detection::read(node, "filter", &keys, context)?;
    // Pipelines change a filter as they change the rules that it is added to.
    if context.error_count() == errors && !detection.process(document, node.place, rest, context) {
        return None;
    }
    let condition = detection.finish(context)?;
    let bytes = context.bytes_spent();
    Some(Section { rules: rules?, condition, place: listed.unwrap_or(node).place, bytes })
}

fn rules_of(node: &Node, context: &mut Context<'_>) -> Option<FilteredRules> {
    let nodes = match &node.content {
        Content::List(nodes) => nodes.as_slice(),
        _ => std::slice::from_ref(node),
    };
    if node.scalar_text().is_some_and(|text| text.eq_ignore_ascii_case("any")) {
        return Some(FilteredRules::Any);
    }
    if nodes.is_empty() {
        context.report(node.place, Kind::EmptyText { key: "rules" });
        return None;
    }
    if nodes.len() > REFERENCES_MAX {
        let what = "the number of rules that the filter lists";
        context.report(node.place, Kind::Limit { what, max: REFERENCES_MAX });
        return None;
    }
    let mut references: Vec<Reference> = Vec::new();
    let mut is_sound = true;
    for node in nodes {
        match node.scalar_text() {
            Some(text) if !text.is_empty() => {
                references.push(Reference { text: text.to_owned(), place: node.place });
            }
            _ => {
                is_sound = false;
                wrong("rules", node, "`any`, or ids or names of rules", context);
            }
        }
    }
    is_sound.then_some(FilteredRules::Listed(references))
}

/// The key that probably was meant to be `rules`, which is missing.
fn slip_of_rules(node: &Node) -> Option<&Node> {
    let is_slip = |key: &str| !KEYS.contains(&key) && nearest(key, ["rules"]).is_some();
    node.entries().iter().map(|(key, _)| key).find(|key| key.scalar_text().is_some_and(is_slip))
}

fn wrong(key: &str, node: &Node, expected: &'static str, context: &mut Context<'_>) {
    let kind = Kind::WrongType { key: key.to_owned(), expected, found: node.found() };
    context.report(node.place, kind);
}
