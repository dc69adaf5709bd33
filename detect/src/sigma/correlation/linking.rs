//! Finds the rules that correlations mention.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::sigma::correlation::Reference;
use crate::sigma::error::RuleErrorKind as Kind;
use crate::sigma::link::{Names, Problems};
use crate::sigma::{Logic, Rule};

/// Replaces every mention of a rule by its id; appends what is wrong, and gives the numbers
/// of the correlations that cannot work: they mention rules that do not exist, or lead back
/// to themselves, or relate one that cannot work.
pub(in crate::sigma) fn resolve(
    rules: &mut [Rule],
    names: &Names,
    problems: &mut Problems,
) -> BTreeSet<usize> {
    let ids: Vec<String> = rules.iter().map(|rule| rule.id.clone()).collect();
    let mut broken = BTreeSet::new();
    for (number, rule) in rules.iter_mut().enumerate() {
        let Logic::Correlation(correlation) = &mut rule.logic else { continue };
        for reference in correlation.references_mut() {
            if let Some(found) = names.number(&reference.text) {
                reference.text.clone_from(&ids[found]);
                continue;
            }
            broken.insert(number);
            problems.tell(&rule.path, reference.place, || names.fault(&reference.text));
        }
        if let Some(twice) = listed_twice(&correlation.rules) {
            broken.insert(number);
            problems.tell(&rule.path, twice.place, || Kind::RuleListedTwice { id: twice.text.clone() });
        }
    }
    let related = related(rules);
    let relating = relating(&related);
    for number in circular(&related, &relating) {
        let rule = &rules[number];
        let first = rule.correlation().and_then(|correlation| correlation.rules.first());
        let place = first.map(|reference| reference.place).unwrap_or_default();
        problems.tell(&rule.path, place, || Kind::CircularRule { title: rule.title.clone() });
        broken.insert(number);
    }
    spread(&relating, &mut broken);
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

/// For each rule, the numbers of those that relate it.
fn relating(related: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut relating = vec![Vec::new(); related.len()];
    for (rule, others) in related.iter().enumerate() {
        for other in others {
            relating[*other].push(rule);
        }
    }
    relating
}

/// The second mention of a rule that is listed by its id and by its name.
fn listed_twice(rules: &[Reference]) -> Option<&Reference> {
    let mut known = HashSet::new();
    rules.iter().find(|rule| !known.insert(rule.text.as_str()))
}

/// The numbers of the rules that go round in a circle, or lead into one.
fn circular(related: &[Vec<usize>], relating: &[Vec<usize>]) -> Vec<usize> {
    let mut open: Vec<usize> = related.iter().map(Vec::len).collect();
    let mut settled: Vec<usize> = (0..open.len()).filter(|rule| open[*rule] == 0).collect();
    while let Some(rule) = settled.pop() {
        for &other in &relating[rule] {
            open[other] -= 1;
            if open[other] == 0 {
                settled.push(other);
            }
        }
    }
    (0..open.len()).filter(|rule| open[*rule] > 0).collect()
}

/// Adds the rules that relate broken ones.
fn spread(relating: &[Vec<usize>], broken: &mut BTreeSet<usize>) {
    let mut next: Vec<usize> = broken.iter().copied().collect();
    while let Some(rule) = next.pop() {
        next.extend(relating[rule].iter().filter(|other| broken.insert(**other)));
    }
}
