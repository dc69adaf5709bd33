//! What the rules at hand cover of ATT&CK and of the Threat Matrix for Kubernetes.
//!
//! **Invariant:** a technique counts as proven only if an engine that runs the example events
//! of a rule matches one that should match: no file is believed.

use std::collections::{BTreeMap, HashSet};

use detect::sigma::{Level, Rule, correlation};

use crate::loading::Loaded;

pub(crate) mod catalog;
pub(crate) mod layer;
mod proof;
pub(crate) mod tags;

use catalog::{Catalog, Technique};

/// What there is against a technique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// No rule is about it.
    NoRule,
    /// A rule is about it, and nothing shows that it works.
    Rule,
    /// A rule is about it, and matches an example event that it should.
    Proven,
}

impl State {
    /// What a table says.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NoRule => "no rule",
            Self::Rule => "rule",
            Self::Proven => "rule with events",
        }
    }
}

/// A rule that gives alerts of its own.
#[derive(Debug)]
pub(crate) struct Covering {
    pub(crate) title: String,
    pub(crate) level: Level,
    pub(crate) is_proven: bool,
    /// The techniques that it names, of both matrices.
    techniques: Vec<String>,
}

/// What a set of rules covers.
#[derive(Debug)]
pub(crate) struct Coverage {
    /// The highest level first.
    rules: Vec<Covering>,
}

/// A technique and the rules about it.
#[derive(Debug)]
pub(crate) struct Covered<'c> {
    pub(crate) technique: &'c Technique,
    pub(crate) rules: Vec<&'c Covering>,
}

impl Covered<'_> {
    /// The best that any of the rules gives.
    pub(crate) fn state(&self) -> State {
        match (self.rules.is_empty(), self.rules.iter().any(|rule| rule.is_proven)) {
            (true, _) => State::NoRule,
            (false, false) => State::Rule,
            (false, true) => State::Proven,
        }
    }
}

impl Coverage {
    /// Looks at every rule that gives alerts, and runs the example events beside it.
    pub(crate) fn new(loaded: &Loaded) -> anyhow::Result<Self> {
        let proven = proof::proven(loaded)?;
        let rules: Vec<Rule> = loaded.rules.iter().map(|(_, rule)| rule.clone()).collect();
        let silent = correlation::silent(&rules);
        let loud = rules.iter().zip(silent).filter(|(_, is_silent)| !is_silent).map(|(rule, _)| rule);
        let mut rules: Vec<Covering> = loud.map(|rule| Covering::new(rule, &proven)).collect();
        rules.sort_by(|left, right| right.level.cmp(&left.level).then_with(|| left.title.cmp(&right.title)));
        Ok(Self { rules })
    }

    /// Every technique of a matrix, in the order of the catalog.
    pub(crate) fn of<'c>(&'c self, techniques: &'c [Technique]) -> Vec<Covered<'c>> {
        let covered = |technique: &'c Technique| Covered {
            technique,
            rules: self.rules.iter().filter(|rule| rule.is_about(technique.id)).collect(),
        };
        techniques.iter().map(covered).collect()
    }

    /// Techniques that rules name and the catalog does not have, with those rules.
    pub(crate) fn others(&self, catalog: &Catalog) -> BTreeMap<&str, Vec<&Covering>> {
        let mut others: BTreeMap<&str, Vec<&Covering>> = BTreeMap::new();
        for rule in &self.rules {
            for id in rule.techniques.iter().filter(|id| catalog.find(id).is_none()) {
                others.entry(id).or_default().push(rule);
            }
        }
        others
    }
}

impl Covering {
    fn new(rule: &Rule, proven: &HashSet<String>) -> Self {
        let mut techniques = tags::techniques(rule);
        techniques.extend(tags::threat_matrix(rule).map(str::to_owned));
        Self {
            title: rule.title.clone(),
            level: rule.level,
            is_proven: proven.contains(&rule.id),
            techniques,
        }
    }

    /// Whether it names the technique, or one of its sub-techniques: those are ways to do it.
    fn is_about(&self, id: &str) -> bool {
        let is_below = |name: &str| name.strip_prefix(id).is_some_and(|rest| rest.starts_with('.'));
        self.techniques.iter().any(|name| name == id || is_below(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(title: &str, technique: &str, is_proven: bool) -> Covering {
        let techniques = vec![technique.to_owned()];
        Covering { title: title.to_owned(), level: Level::Low, is_proven, techniques }
    }

    #[test]
    fn a_technique_is_as_good_as_its_best_rule() {
        let coverage = Coverage { rules: vec![rule("a", "T1552.007", false), rule("b", "T1552.007", true)] };
        let catalog = Catalog::new();
        let state = |id: &str| {
            let covered = coverage.of(&catalog.attack);
            covered.iter().find(|covered| covered.technique.id == id).unwrap().state()
        };
        assert_eq!(state("T1552.007"), State::Proven);
        assert_eq!(state("T1552"), State::Proven, "a sub-technique is a way to do it");
        assert_eq!(state("T1552.001"), State::NoRule);
        assert_eq!(state("T1613"), State::NoRule);
    }

    #[test]
    fn a_technique_that_the_catalog_lacks_is_not_lost() {
        let coverage = Coverage { rules: vec![rule("a", "T9999", true)] };
        assert_eq!(coverage.others(&Catalog::new()).keys().collect::<Vec<_>>(), [&"T9999"]);
    }
}
