//! What a correlation counts in one group, kept up to date match by match.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::memory::{self, Table};
use super::observation::{self, Amount, Observation};
use super::plan::Plan;
use crate::sigma::correlation::{Metric, Needed, Relation};

/// How many numbers a percentile is computed of; of more, the latest count.
pub(super) const NUMBERS_MAX: usize = 10_000;
/// A rule that has not matched.
const NEVER: i64 = i64::MIN;

/// What has been seen in the window of one group.
#[derive(Debug)]
pub(super) enum Measure {
    /// How many requests.
    Count(u64),
    /// Which values, the most recent last.
    Distinct(Box<Distinct>),
    /// Which numbers.
    Numbers(Box<Numbers>),
    /// Which rules matched, and in which order.
    Rules(Box<Rules>),
}

/// Values in the order in which they were last seen.
#[derive(Debug, Default)]
pub(super) struct Distinct {
    by_time: BTreeMap<(i64, u64), Arc<str>>,
    last_seen: Table<Arc<str>, (i64, u64)>,
    sequence: u64,
    text_bytes: usize,
}

/// Numbers, and their sum without those that were forgotten: what is added and subtracted
/// again leaves rounding errors, and one huge number nothing else.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    kept: VecDeque<(i64, f64)>,
    /// For each of the earliest numbers the sum of it and those after it, the first one's last.
    early_sums: Vec<f64>,
    /// The sum of the others.
    late_sum: f64,
    count: u64,
}

/// When each rule matched last, and chains of rules that matched in order.
#[derive(Debug)]
pub(super) struct Rules {
    last: Box<[i64]>,
    /// Ordered by their rules.
    chains: Vec<Chain>,
}

/// Some of the rules, each having matched after those before it in the list.
#[derive(Clone, Copy, Debug)]
struct Chain {
    /// Which rules, a bit each.
    rules: u64,
    /// When the first of them matched: of two chains of the same rules, the later start
    /// is within the window for longer.
    start: i64,
    /// The request that the last of them matched.
    request: u64,
}

impl Measure {
    pub(super) fn new(plan: &Plan) -> Self {
        match &plan.relation {
            Relation::EventCount(_) | Relation::FirstSeen { .. } => Measure::Count(0),
            Relation::ValueCount(..) => Measure::Distinct(Box::default()),
            Relation::Metric(..) => Measure::Numbers(Box::default()),
            Relation::Temporal(_) | Relation::TemporalOrdered(_) => {
                let last = vec![NEVER; plan.rules.len()].into();
                Measure::Rules(Box::new(Rules { last, chains: Vec::new() }))
            }
        }
    }

    /// Adds a match. `is_new` unless the request has been counted already.
    pub(super) fn add(&mut self, plan: &Plan, seen: &Observation, is_new: bool) {
        match (self, &seen.amount) {
            (Measure::Count(count), _) => *count += u64::from(is_new),
            (Measure::Distinct(distinct), Amount::Values(values)) => {
                values.iter().for_each(|value| distinct.add(seen.time, value, plan.distinct_max));
            }
            (Measure::Numbers(numbers), Amount::Numbers(added)) => {
                added.iter().for_each(|number| numbers.add(seen.time, *number, plan.keeps_numbers()));
            }
            (Measure::Rules(rules), _) => rules.add(plan, seen),
            (Measure::Distinct(_) | Measure::Numbers(_), _) => {}
        }
    }

    /// Forgets what is older than the window.
    pub(super) fn forget(&mut self, since: i64, forgotten_count: u64) {
        match self {
            Measure::Count(count) => *count = count.saturating_sub(forgotten_count),
            Measure::Distinct(distinct) => distinct.forget(since),
            Measure::Numbers(numbers) => numbers.forget(since),
            Measure::Rules(rules) => rules.forget(since),
        }
    }

    /// Takes back a match of this time, which is about to be added again at a later one.
    pub(super) fn remove(&mut self, time: i64, amount: &Amount) {
        match (self, amount) {
            (Measure::Count(count), _) => *count = count.saturating_sub(1),
            (Measure::Numbers(numbers), Amount::Numbers(removed)) => {
                removed.iter().for_each(|number| numbers.remove(time, *number));
            }
            // A value or a rule that is seen again is not one more.
            _ => {}
        }
    }

    /// Whether what the correlation asks for is there.
    pub(super) fn holds(&self, plan: &Plan) -> bool {
        match (&plan.relation, self) {
            (Relation::EventCount(range) | Relation::ValueCount(_, range), _) => {
                range.holds(self.number(plan))
            }
            (Relation::Metric(_, _, range), Measure::Numbers(numbers)) => {
                numbers.count > 0 && range.holds(self.number(plan))
            }
            (Relation::Temporal(needed), Measure::Rules(rules)) => rules.holds(needed),
            (Relation::TemporalOrdered(needed), Measure::Rules(rules)) => rules.holds_in_order(needed),
            (Relation::FirstSeen { .. }, _) => true,
            _ => false,
        }
    }

    /// The number that is compared: a count, a sum, a mean, a percentile, or how many rules.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn number(&self, plan: &Plan) -> f64 {
        match self {
            Measure::Count(count) => *count as f64,
            Measure::Distinct(distinct) => distinct.by_time.len() as f64,
            Measure::Numbers(numbers) => match &plan.relation {
                Relation::Metric(Metric::Average, ..) => numbers.sum() / numbers.count as f64,
                Relation::Metric(Metric::Percentile(percentile), ..) => numbers.percentile(*percentile),
                _ => numbers.sum(),
            },
            Measure::Rules(rules) => f64::from(rules.seen().count_ones()),
        }
    }

    /// The distinct values, the most recent last.
    pub(super) fn values(&self) -> impl DoubleEndedIterator<Item = &Arc<str>> {
        let distinct = match self {
            Measure::Distinct(distinct) => Some(distinct),
            _ => None,
        };
        distinct.into_iter().flat_map(|distinct| distinct.by_time.values())
    }

    /// Roughly the memory it takes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Measure::Count(_) => 0,
            Measure::Distinct(distinct) => {
                let ordered = memory::tree_bytes::<(i64, u64), Arc<str>>(distinct.by_time.len());
                size_of::<Distinct>() + distinct.text_bytes + distinct.last_seen.bytes() + ordered
            }
            Measure::Numbers(numbers) => {
                size_of::<Numbers>() + numbers.kept.capacity() * 16 + numbers.early_sums.capacity() * 8
            }
            Measure::Rules(rules) => {
                size_of::<Rules>() + rules.last.len() * 8 + rules.chains.capacity() * size_of::<Chain>()
            }
        }
    }
}

impl Distinct {
    fn add(&mut self, time: i64, value: &Arc<str>, max: usize) {
        self.sequence += 1;
        let key = (time, self.sequence);
        if let Some(last) = self.last_seen.get_mut(value) {
            let text = self.by_time.remove(last);
            *last = key;
            self.by_time.extend(text.map(|text| (key, text)));
            return;
        }
        self.text_bytes += shared_bytes(value);
        self.last_seen.insert(value.clone(), key);
        self.by_time.insert(key, value.clone());
        if self.by_time.len() > max {
            self.drop_oldest();
        }
    }

    fn forget(&mut self, since: i64) {
        while self.by_time.first_key_value().is_some_and(|(key, _)| key.0 < since) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((_, oldest)) = self.by_time.pop_first() else { return };
        self.last_seen.remove(&oldest);
        self.text_bytes -= shared_bytes(&oldest);
    }
}

/// The memory of a text without the references to it.
fn shared_bytes(text: &Arc<str>) -> usize {
    observation::text_bytes(text) - size_of::<Arc<str>>()
}

impl Numbers {
    fn add(&mut self, time: i64, number: f64, is_kept: bool) {
        self.late_sum += number;
        self.count += 1;
        if is_kept {
            self.kept.push_back((time, number));
            if self.kept.len() > NUMBERS_MAX {
                self.drop_oldest();
            }
        }
    }

    fn forget(&mut self, since: i64) {
        while self.kept.front().is_some_and(|(time, _)| *time < since) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if self.early_sums.is_empty() {
            self.sum_early();
        }
        self.early_sums.pop();
        self.count -= u64::from(self.kept.pop_front().is_some());
    }

    /// Takes back a number that was added at this time.
    fn remove(&mut self, time: i64, number: f64) {
        let is_same = |kept: &(i64, f64)| kept.0 == time && kept.1.to_bits() == number.to_bits();
        if let Some(at) = self.kept.iter().position(is_same) {
            self.kept.remove(at);
            self.count -= 1;
            self.sum_early();
        } else if self.kept.is_empty() && self.count > 0 {
            self.late_sum -= number;
            self.count -= 1;
        }
    }

    /// Takes every number for an early one.
    fn sum_early(&mut self) {
        let numbers = self.kept.iter().rev().scan(0.0, |sum, (_, number)| {
            *sum += number;
            Some(*sum)
        });
        self.early_sums.clear();
        self.early_sums.extend(numbers);
        self.late_sum = 0.0;
    }

    fn sum(&self) -> f64 {
        self.early_sums.last().unwrap_or(&0.0) + self.late_sum
    }

    /// The percentile, between two numbers on the line that joins them.
    fn percentile(&self, percentile: f64) -> f64 {
        let mut numbers: Vec<f64> = self.kept.iter().map(|(_, number)| *number).collect();
        numbers.sort_by(f64::total_cmp);
        let Some(last) = numbers.len().checked_sub(1) else { return f64::NAN };
        #[allow(clippy::cast_precision_loss)]
        let rank = percentile / 100.0 * last as f64;
        // A rank lies between 0 and the last number.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let below = rank.floor() as usize;
        let (low, high) = (numbers[below.min(last)], numbers[(below + 1).min(last)]);
        let (step, share) = (high - low, rank.fract());
        // Numbers at the two ends of what there is are further apart than any number.
        if step.is_finite() { low + step * share } else { low * (1.0 - share) + high * share }
    }
}

impl Rules {
    fn add(&mut self, plan: &Plan, seen: &Observation) {
        let position = usize::from(seen.position);
        if plan.is_ordered() {
            self.lengthen(plan, seen);
        }
        if let Some(last) = self.last.get_mut(position) {
            *last = seen.time;
        }
    }

    /// Appends the rule that matched to every chain that it may follow.
    fn lengthen(&mut self, plan: &Plan, seen: &Observation) {
        let bit = 1 << seen.position;
        let request = seen.request.identity;
        let may_follow = |chain: &Chain| {
            let has_gap = chain.rules != bit - 1;
            chain.rules < bit && chain.request != request && (plan.allows_gaps() || !has_gap)
        };
        let longer = self.chains.iter().filter(|chain| may_follow(chain));
        let longer = longer.map(|chain| Chain { rules: chain.rules | bit, request, ..*chain });
        let mut added: Vec<Chain> = longer.collect();
        if plan.allows_gaps() || seen.position == 0 {
            added.push(Chain { rules: bit, start: seen.time, request });
        }
        for chain in added {
            self.keep(chain);
        }
    }

    /// Keeps the two latest chains of the same rules that end with different requests: the
    /// latest of all may end with the very request that has to follow.
    fn keep(&mut self, chain: Chain) {
        let from = self.chains.partition_point(|known| known.rules < chain.rules);
        let alike = self.chains.get_mut(from..).unwrap_or_default();
        let count = alike.iter().take(2).take_while(|known| known.rules == chain.rules).count();
        let alike = alike.get_mut(..count).unwrap_or_default();
        if let Some(known) = alike.iter_mut().find(|known| known.request == chain.request) {
            known.start = known.start.max(chain.start);
        } else if count < 2 {
            self.chains.insert(from, chain);
        } else if let Some(earliest) = alike.iter_mut().min_by_key(|known| known.start)
            && earliest.start <= chain.start
        {
            *earliest = chain;
        }
    }

    fn forget(&mut self, since: i64) {
        self.last.iter_mut().filter(|last| **last < since).for_each(|last| *last = NEVER);
        self.chains.retain(|chain| chain.start >= since);
    }

    /// The rules that matched, a bit each.
    pub(super) fn seen(&self) -> u64 {
        let is_seen = |(_, last): &(usize, &i64)| **last != NEVER;
        self.last.iter().enumerate().filter(is_seen).fold(0, |seen, (position, _)| seen | 1 << position)
    }

    fn holds(&self, needed: &Needed) -> bool {
        satisfies(needed, self.seen(), self.seen())
    }

    fn holds_in_order(&self, needed: &Needed) -> bool {
        self.chains.iter().any(|chain| satisfies(needed, chain.rules, self.seen()))
    }
}

/// Whether the rules that matched suffice; `seen` are all that did, for those that must not.
fn satisfies(needed: &Needed, matched: u64, seen: u64) -> bool {
    match needed {
        Needed::Count(range) => range.holds(f64::from(matched.count_ones())),
        Needed::Expression(expr) => {
            expr.holds(&|rule| matched >> rule & 1 == 1, &|rule| seen >> rule & 1 == 0)
        }
    }
}
