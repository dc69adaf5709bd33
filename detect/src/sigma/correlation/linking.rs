//! Finds the rules that correlations mention.

use std::collections::{HashMap, HashSet};

use super::Correlation;
use crate::sigma::error::{RuleError, RuleErrorKind as Kind};
use crate::sigma::link::Names;
use crate::sigma::{Logic, Rule};

/// Replaces every mention of a rule by its id, and removes correlations that mention rules
/// which do not exist, or themselves.
pub fn resolve(rules: &mut Vec<Rule>) -> Vec<RuleError> {
    let names = Names::new(rules);
    let ids: Vec<String> = rules.iter().map(|rule| rule.id.clone()).collect();
    let mut problems = Vec::new();
    let mut broken = HashSet::new();
    for rule in rules.iter_mut() {
        let Logic::Correlation(correlation) = &mut rule.logic else { continue };
        for reference in correlation.references_mut() {
            match names.find(&reference.text) {
                Ok(number) => reference.text.clone_from(&ids[number]),
                Err(kind) => {
                    broken.insert(rule.id.clone());
                    let (path, place) = (rule.path.clone(), reference.place);
                    problems.push(RuleError { path, place, kind, label: None });
                }
            }
        }
    }
    for number in circular(rules) {
        let rule = &rules[number];
        let place =
            rule.correlation().and_then(|correlation| correlation.rules.first()).map(|rule| rule.place);
        let kind = Kind::CircularRule { title: rule.title.clone() };
        let place = place.unwrap_or_default();
        problems.push(RuleError { path: rule.path.clone(), place, kind, label: None });
        broken.insert(rule.id.clone());
    }
    remove_with_dependents(rules, broken);
    problems
}

/// The numbers of the rules that lead back to themselves.
fn circular(rules: &[Rule]) -> Vec<usize> {
    let numbers: HashMap<&str, usize> =
        rules.iter().enumerate().map(|(number, rule)| (rule.id.as_str(), number)).collect();
    let related = |rule: usize| {
        let mentioned = rules[rule].correlation().into_iter().flat_map(|correlation| &correlation.rules);
        mentioned.filter_map(|reference| numbers.get(reference.text.as_str()).copied())
    };
    // Rules that relate none but settled ones are settled; what is left goes round in a circle
    // or leads into one.
    let mut is_settled = vec![false; rules.len()];
    loop {
        let next = (0..rules.len())
            .filter(|rule| !is_settled[*rule] && related(*rule).all(|other| is_settled[other]));
        let next: Vec<usize> = next.collect();
        if next.is_empty() {
            break;
        }
        next.into_iter().for_each(|rule| is_settled[rule] = true);
    }
    (0..rules.len()).filter(|rule| !is_settled[*rule]).collect()
}

/// Removes rules, and the correlations that cannot do without them.
fn remove_with_dependents(rules: &mut Vec<Rule>, mut broken: HashSet<String>) {
    loop {
        let before = broken.len();
        let mentions_broken =
            |correlation: &Correlation| correlation.rules.iter().any(|rule| broken.contains(&rule.text));
        let dependents: Vec<String> = rules
            .iter()
            .filter(|rule| rule.correlation().is_some_and(mentions_broken))
            .map(|rule| rule.id.clone())
            .collect();
        broken.extend(dependents);
        if broken.len() == before {
            break;
        }
    }
    rules.retain(|rule| !(rule.correlation().is_some() && broken.contains(&rule.id)));
}
