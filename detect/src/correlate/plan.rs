//! Correlations made ready: which rule feeds which, in which role, through which fields.

use std::collections::HashMap;

use crate::alert;
use crate::field::Field;
use crate::sigma::correlation::{Correlation, Metric, Needed, Relation};
use crate::sigma::{Range, Rule, Subject, event_object};

/// A correlation with its fields understood.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    /// Its number among all rules.
    pub(super) rule: usize,
    /// Its id.
    pub(super) id: String,
    /// A hash of all that says what a group of it is: it has the same name among other rules,
    /// too.
    pub(super) name: u128,
    pub(super) relation: Relation,
    /// The numbers of the rules that it relates.
    pub(super) rules: Vec<usize>,
    /// What groups are told apart by.
    pub(super) group_by: Vec<String>,
    /// How far apart matches may be, in microseconds.
    pub(super) timespan: i64,
    /// True when a group is judged at each match, false when at the end of its window.
    pub(super) is_sliding: bool,
    /// The most matches of a group that are worth remembering.
    pub(super) members_max: usize,
    /// The most distinct values of a group that are worth remembering.
    pub(super) distinct_max: usize,
    /// For how long after a match it can still decide what is told, by this correlation or
    /// by those that relate it, in microseconds.
    pub(super) wanted_for: i64,
}

/// A role that the matches of a rule play in a correlation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Feed {
    /// The number of the plan.
    pub(super) plan: usize,
    /// The rule's position in the correlation's list.
    pub(super) position: u8,
    /// Names and fields of the group.
    pub(super) group: Vec<(String, Field)>,
    /// The number of the fields of the group: that of all roles with the same ones.
    pub(super) grouping: usize,
    /// Names and fields of what is counted or computed with.
    pub(super) amounts: Vec<(String, Field)>,
    /// True when it is numbers that are computed with.
    pub(super) is_metric: bool,
    /// A hash of all that says what an observation in this role means: it has the same name
    /// among other rules, too.
    pub(super) name: u128,
}

/// How many matches of a group are kept to be listed where fewer decide.
const MEMBERS_MIN: usize = 100;
/// How many where their number is not what counts.
const MEMBERS_MAX: usize = 1000;

impl Plan {
    fn new(rule: usize, header: &Rule, correlation: &Correlation, numbers: &HashMap<&str, usize>) -> Self {
        let relation = correlation.relation.clone();
        let members_max = match &relation {
            Relation::EventCount(range) => bound(range).max(MEMBERS_MIN),
            Relation::FirstSeen { .. } => 1,
            _ => MEMBERS_MAX,
        };
        let distinct_max = match &relation {
            Relation::ValueCount(_, range) => bound(range),
            _ => 0,
        };
        let number = |text: &str| numbers.get(text).copied();
        Self {
            rule,
            id: header.id.clone(),
            name: 0,
            rules: correlation.rules.iter().filter_map(|reference| number(&reference.text)).collect(),
            group_by: correlation.group_by.clone(),
            timespan: micros(correlation.timespan),
            is_sliding: relation.is_monotone(),
            members_max,
            distinct_max,
            wanted_for: 0,
            relation,
        }
    }

    /// For how long a match can decide what this correlation tells: it may be in windows for
    /// a time span, and an episode that one of them began goes on until it has been quiet.
    fn decides_for(&self) -> i64 {
        match self.relation {
            Relation::FirstSeen { .. } => self.timespan,
            _ => self.timespan.saturating_add(self.quiet()),
        }
    }

    /// For how long the relation must not hold for an episode to be over, in microseconds.
    /// Windows that are judged at their end follow each other at more than a time span.
    pub(super) fn quiet(&self) -> i64 {
        if self.is_sliding { self.timespan } else { self.timespan.saturating_mul(2) }
    }

    /// How many matches in the right order are remembered by the rules they are of.
    pub(super) fn is_ordered(&self) -> bool {
        matches!(self.relation, Relation::TemporalOrdered(_))
    }

    /// Whether chains other than those that leave no rule out can satisfy the relation.
    pub(super) fn allows_gaps(&self) -> bool {
        match &self.relation {
            Relation::TemporalOrdered(Needed::Count(range)) => range.least() < self.rules.len(),
            Relation::TemporalOrdered(Needed::Expression(_)) => true,
            _ => false,
        }
    }

    /// Whether every number has to be kept, or their sum and count suffice.
    pub(super) fn keeps_numbers(&self) -> bool {
        let is_percentile = matches!(self.relation, Relation::Metric(Metric::Percentile(_), ..));
        is_percentile || self.is_sliding
    }
}

/// More than this changes nothing about the verdict.
fn bound(range: &Range) -> usize {
    let largest = range.0.iter().fold(0.0, |largest: f64, (_, limit)| largest.max(limit.ceil()));
    // Limits are bounded when rules are read.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let largest = largest as usize;
    largest.saturating_add(1)
}

fn micros(duration: core::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4)
}

/// Every correlation among the rules, each after those that it relates, and for each rule the
/// roles that it plays.
pub(super) fn plans(rules: &[Rule]) -> (Vec<Plan>, Vec<Vec<Feed>>) {
    let numbers: HashMap<&str, usize> =
        rules.iter().enumerate().map(|(number, rule)| (rule.id.as_str(), number)).collect();
    let (mut plans, mut feeds) = (Vec::new(), vec![Vec::new(); rules.len()]);
    let mut groupings = HashMap::new();
    for number in in_order(rules, &numbers) {
        let rule = &rules[number];
        let Some(correlation) = rule.correlation() else { continue };
        let mut plan = Plan::new(number, rule, correlation, &numbers);
        let mut hasher = blake3::Hasher::new_derive_key("masthead correlation v1");
        for (position, &fed) in plan.rules.iter().enumerate() {
            let mut feed = feed(&plan, plans.len(), position, correlation, &rules[fed]);
            let fields: Vec<Field> = feed.group.iter().map(|(_, field)| field.clone()).collect();
            let next = groupings.len();
            feed.grouping = *groupings.entry(fields).or_insert(next);
            hasher.update(&feed.name.to_le_bytes());
            feeds[fed].push(feed);
        }
        plan.name = alert::first_half(&hasher.finalize());
        plans.push(plan);
    }
    // Those that relate a correlation come after it.
    for number in (0..plans.len()).rev() {
        let relating = feeds[plans[number].rule].iter().map(|feed: &Feed| plans[feed.plan].wanted_for);
        let wanted_for = plans[number].decides_for().saturating_add(relating.max().unwrap_or(0));
        plans[number].wanted_for = wanted_for;
    }
    (plans, feeds)
}

/// The role that the rule at a position of a correlation's list plays in it.
fn feed(plan: &Plan, number: usize, position: usize, correlation: &Correlation, fed: &Rule) -> Feed {
    let is_about_event_objects = fed.logsource.subject() == Some(Subject::EventObjects);
    let mut hasher = blake3::Hasher::new_derive_key("masthead role of a rule in a correlation v1");
    let mut note = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    };
    [plan.id.as_str(), plan.relation.name(), fed.id.as_str()].into_iter().for_each(&mut note);
    note(&format!("{} {position}", plan.timespan));
    correlation.rules.iter().for_each(|reference| note(&reference.text));
    let mut field_of = |name: &String| {
        let field = correlation.field_of(&fed.id, name);
        let read = if is_about_event_objects { event_object::in_request(field) } else { field.into() };
        [name.as_str(), field, &read].into_iter().for_each(&mut note);
        (field.to_owned(), Field::parse(&read))
    };
    let group = correlation.group_by.iter().map(&mut field_of).collect();
    let amounts = plan.relation.fields().iter().map(&mut field_of).collect();
    Feed {
        plan: number,
        // Invariant: a correlation relates at most 64 rules.
        position: u8::try_from(position).unwrap_or(u8::MAX),
        group,
        grouping: 0,
        amounts,
        is_metric: matches!(plan.relation, Relation::Metric(..)),
        name: alert::first_half(&hasher.finalize()),
    }
}

/// The numbers of the correlations, each after those that it relates: what one makes of the
/// matches of a moment is there when the next one looks at them.
fn in_order(rules: &[Rule], numbers: &HashMap<&str, usize>) -> Vec<usize> {
    let related = |rule: usize| {
        let mentioned = rules[rule].correlation().into_iter().flat_map(|correlation| &correlation.rules);
        mentioned.filter_map(|reference| numbers.get(reference.text.as_str()).copied())
    };
    let mut relating = vec![Vec::new(); rules.len()];
    let mut missing_counts = vec![0_usize; rules.len()];
    for (rule, missing_count) in missing_counts.iter_mut().enumerate() {
        for other in related(rule) {
            relating[other].push(rule);
            *missing_count += 1;
        }
    }
    let is_ready = |rule: &usize| missing_counts[*rule] == 0;
    let mut order: Vec<usize> = (0..rules.len()).filter(is_ready).collect();
    let mut next = 0;
    while let Some(&settled) = order.get(next) {
        for &rule in &relating[settled] {
            missing_counts[rule] -= 1;
            if missing_counts[rule] == 0 {
                order.push(rule);
            }
        }
        next += 1;
    }
    order
}
