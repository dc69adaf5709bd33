//! What holds across files: rules that other documents mention.

use core::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use super::context::PROBLEMS_MAX;
use super::correlation::Reference;
use super::error::{RuleError, RuleErrorKind as Kind};
use super::filter::{Filter, FilteredRules};
use super::logsource::Subject;
use super::nearest::nearest;
use super::{Expr, Logic, Place, Rule, correlation, event_object};

/// How much the conditions that filters add may take, roughly in bytes.
const FILTER_BYTES_MAX: usize = 256 << 20;

/// What came of linking.
#[derive(Debug, Default)]
pub struct Linked {
    /// What is wrong, in the order of the filters.
    pub problems: Vec<RuleError>,
    /// For each filter, the numbers of the rules that it was added to.
    pub filtered: Vec<BTreeSet<usize>>,
    /// The numbers of the correlations that cannot work, which have to be left out.
    pub broken: BTreeSet<usize>,
}

/// Adds every filter to the rules that it is for, and finds the rules that correlations
/// mention. To be called once, with all rules of all files, those about other logs
/// included.
pub fn link(rules: &mut [Rule], filters: &[Filter]) -> Linked {
    let names = Names::new(rules);
    let mut linked = Linked::default();
    let mut bytes_left = FILTER_BYTES_MAX;
    let mut problems = Problems(Vec::new());
    for filter in filters {
        let numbers = targets(filter, rules, &names, &mut problems);
        let Some(left) = bytes_left.checked_sub(filter.bytes.saturating_mul(numbers.len())) else {
            let what = "the size of all filtered rules";
            problems.tell(&filter.path, filter.place, || Kind::Limit { what, max: FILTER_BYTES_MAX });
            linked.filtered.push(BTreeSet::new());
            continue;
        };
        bytes_left = left;
        for &number in &numbers {
            rules.get_mut(number).into_iter().for_each(|rule| add(filter, rule));
        }
        linked.filtered.push(numbers);
    }
    linked.broken = correlation::resolve(rules, &names, &mut problems);
    linked.problems = problems.0;
    linked
}

/// The rules that a filter is for.
fn targets(filter: &Filter, rules: &[Rule], names: &Names, problems: &mut Problems) -> BTreeSet<usize> {
    let numbers: BTreeSet<usize> = match &filter.rules {
        FilteredRules::Any => {
            (0..).zip(rules).filter(|(_, rule)| is_for(filter, rule)).map(|(number, _)| number).collect()
        }
        FilteredRules::Listed(references) => {
            let mut numbers = BTreeSet::new();
            for Reference { text, place } in references {
                match names.number(text).map(|number| (number, rules.get(number))) {
                    Some((number, Some(rule))) if is_for(filter, rule) => drop(numbers.insert(number)),
                    Some((_, Some(rule))) => {
                        let kind = || Kind::IdleFilter { reason: mismatch(filter, rule) };
                        problems.tell(&filter.path, *place, kind);
                    }
                    _ => problems.tell(&filter.path, *place, || names.fault(text)),
                }
            }
            return numbers;
        }
    };
    // A filter about other logs comes with rules that may well not be here.
    if numbers.is_empty() && filter.logsource.subject().is_some() {
        let reason = || format!("no rule is about `{}`", filter.logsource);
        problems.tell(&filter.path, filter.place, || Kind::IdleFilter { reason: reason() });
    }
    numbers
}

/// Whether a filter can be added to a rule.
fn is_for(filter: &Filter, rule: &Rule) -> bool {
    rule.condition().is_some() && filter.logsource.contains(&rule.logsource)
}

/// Why a filter cannot be added to a rule.
fn mismatch(filter: &Filter, rule: &Rule) -> String {
    let title = &rule.title;
    match rule.condition() {
        None => format!("`{title}` is a correlation; filter the rules that it relates"),
        Some(_) => format!("`{title}` is about `{}`, not `{}`", rule.logsource, filter.logsource),
    }
}

fn add(filter: &Filter, rule: &mut Rule) {
    let subject = rule.logsource.subject();
    let Logic::Event(condition) = &mut rule.logic else { return };
    let mut added = filter.condition.clone();
    if subject == Some(Subject::EventObjects) {
        added = event_object::below(added);
    }
    let added = Expr::Named(filter.title.clone(), Box::new(added));
    // Side by side, not one around the other: a rule may have many filters.
    *condition = match std::mem::replace(condition, Expr::All(Vec::new())) {
        Expr::All(mut parts) => {
            parts.push(added);
            Expr::All(parts)
        }
        own => Expr::All(vec![own, added]),
    };
}

/// What is wrong, as far as it is told: whoever has so many mistakes will come back.
pub(super) struct Problems(Vec<RuleError>);

impl Problems {
    /// Adds one; that there are too many is the last.
    pub(super) fn tell(&mut self, path: &Path, place: Place, kind: impl FnOnce() -> Kind) {
        let kind = match self.0.len().cmp(&PROBLEMS_MAX) {
            Ordering::Less => kind(),
            Ordering::Equal => Kind::Limit { what: "the number of problems", max: PROBLEMS_MAX },
            Ordering::Greater => return,
        };
        self.0.push(RuleError { path: path.to_owned(), place, kind, label: None });
    }
}

/// The rules by what they may be called in other documents: their id, or their name.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Ids without dashes, since both spellings mean the same rule.
    ids: HashMap<String, usize>,
    /// Names with all rules that bear them: one is only a problem when it is mentioned.
    given: HashMap<String, Vec<usize>>,
    /// Every id and name as written, in the order of the rules, for suggestions.
    spellings: Vec<String>,
    /// Titles and file names, by which nobody may refer to a rule but somebody will try.
    others: HashMap<String, usize>,
    /// The id of each rule.
    id_of: Vec<String>,
}

impl Names {
    /// Notes what each of the rules is called.
    pub fn new(rules: &[Rule]) -> Self {
        let mut names = Self::default();
        for (number, rule) in rules.iter().enumerate() {
            names.ids.entry(plain_id(&rule.id)).or_insert(number);
            let stem = rule.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            for other in [rule.title.clone(), stem] {
                names.others.entry(other).or_insert(number);
            }
            names.spellings.push(rule.id.clone());
            names.id_of.push(rule.id.clone());
            if let Some(name) = &rule.name {
                names.given.entry(name.clone()).or_default().push(number);
                names.spellings.push(name.clone());
            }
        }
        names
    }

    /// The number of the rule with this id, or else the only one with this name.
    pub fn number(&self, text: &str) -> Option<usize> {
        let named = || match self.given.get(text).map(Vec::as_slice) {
            Some([number]) => Some(*number),
            _ => None,
        };
        self.ids.get(&plain_id(text)).copied().or_else(named)
    }

    /// Why there is no such number: [`Kind::AmbiguousRule`] when several rules have the
    /// name, else [`Kind::UnknownRule`].
    pub fn fault(&self, text: &str) -> Kind {
        match self.given.get(text) {
            Some(numbers) => {
                let ids = numbers.iter().filter_map(|&number| self.id_of.get(number));
                Kind::AmbiguousRule { name: text.to_owned(), ids: ids.cloned().collect() }
            }
            None => Kind::UnknownRule { reference: text.to_owned(), closest: self.closest(text) },
        }
    }

    /// What somebody who wrote `text` most likely meant.
    fn closest(&self, text: &str) -> Option<String> {
        let other = self.others.get(text).and_then(|&number| self.id_of.get(number));
        let other = other.map(String::as_str);
        other.or_else(|| nearest(text, self.spellings.iter().map(String::as_str))).map(str::to_owned)
    }
}

/// An id without dashes and in lower case, by which two spellings of it are equal.
pub fn plain_id(id: &str) -> String {
    id.chars().filter(|character| *character != '-').map(|character| character.to_ascii_lowercase()).collect()
}
