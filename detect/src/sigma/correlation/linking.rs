//! Finds the rules that correlations mention.

use std::collections::{BTreeSet, HashMap};

use crate::sigma::error::{RuleError, RuleErrorKind as Kind};
use crate::sigma::link::Names;
use crate::sigma::{Logic, Rule};

/// Replaces every mention of a rule by its id; appends what is wrong, and gives the numbers
/// of the correlations that cannot work: they mention rules that do not exist, or lead back
/// to themselves, or relate one that cannot work.
pub(in crate::sigma) fn resolve(
    rules: &mut [Rule],
    names: &Names,
    problems: &mut Vec<RuleError>,
) -> BTreeSet<usize> {
    let ids: Vec<String> = rules.iter().map(|rule| rule.id.clone()).collect();
    let mut broken = BTreeSet::new();
    for (number, rule) in rules.iter_mut().enumerate() {
        let Logic::Correlation(correlation) = &mut rule.logic else { continue };
        for reference in correlation.references_mut() {
            match names.find(&reference.text) {
                Ok(found) => reference.text.clone_from(&ids[found]),
                Err(kind) => {
                    broken.insert(number);
                    let (path, place) = (rule.path.clone(), reference.place);
                    problems.push(RuleError { path, place, kind, label: None });
                }
            }
        }
    }
    let related = related(rules);
    for number in circular(&related) {
        let rule = &rules[number];
        let first = rule.correlation().and_then(|correlation| correlation.rules.first());
        let place = first.map(|reference| reference.place).unwrap_or_default();
        let kind = Kind::CircularRule { title: rule.title.clone() };
        problems.push(RuleError { path: rule.path.clone(), place, kind, label: None });
        broken.insert(number);
    }
    spread(&related, &mut broken);
    broken
}

/// For each rule, the numbers of those that it relates.
fn related(rules: &[Rule]) -> Vec<Vec<usize>> {
    let numbers: HashMap<&str, usize> =
        rules.iter().enumerate().map(|(number, rule)| (rule.id.as_str(), number)).collect();
    let of_rule = |rule: &Rule| {
        let mentioned = rule.correlation().into_iter().flat_map(|correlation| &correlation.rules);
        mentioned.filter_map(|reference| numbers.get(reference.text.as_str()).copied()).collect()
    };
    rules.iter().map(of_rule).collect()
}

/// The numbers of the rules that go round in a circle, or lead into one.
fn circular(related: &[Vec<usize>]) -> Vec<usize> {
    let mut is_settled = vec![false; related.len()];
    loop {
        let is_free =
            |rule: &usize| !is_settled[*rule] && related[*rule].iter().all(|other| is_settled[*other]);
        let free: Vec<usize> = (0..related.len()).filter(is_free).collect();
        if free.is_empty() {
            return (0..related.len()).filter(|rule| !is_settled[*rule]).collect();
        }
        for rule in free {
            is_settled[rule] = true;
        }
    }
}

/// Adds the rules that relate broken ones.
fn spread(related: &[Vec<usize>], broken: &mut BTreeSet<usize>) {
    loop {
        let count = broken.len();
        let relates_broken = |rule: &usize| related[*rule].iter().any(|other| broken.contains(other));
        let more: Vec<usize> = (0..related.len()).filter(relates_broken).collect();
        broken.extend(more);
        if broken.len() == count {
            return;
        }
    }
}
