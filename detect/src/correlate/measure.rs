//! What a correlation counts in one group, kept up to date match by match.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::observation::{Amount, Observation};
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
    by_time: BTreeMap<(i64, u64), Box<str>>,
    last_seen: HashMap<Box<str>, (i64, u64)>,
    sequence: u64,
}

/// Numbers, and their running sum.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    kept: VecDeque<(i64, f64)>,
    sum: f64,
    count: u64,
}

/// When each rule matched last, and chains of rules that matched in order.
#[derive(Debug)]
pub(super) struct Rules {
    last: Box<[i64]>,
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
                Relation::Metric(Metric::Average, ..) => numbers.sum / numbers.count as f64,
                Relation::Metric(Metric::Percentile(percentile), ..) => numbers.percentile(*percentile),
                _ => numbers.sum,
            },
            Measure::Rules(rules) => f64::from(rules.seen().count_ones()),
        }
    }

    /// The distinct values, the most recent last.
    pub(super) fn values(&self) -> impl DoubleEndedIterator<Item = &str> {
        let distinct = match self {
            Measure::Distinct(distinct) => Some(distinct),
            _ => None,
        };
        distinct.into_iter().flat_map(|distinct| distinct.by_time.values()).map(AsRef::as_ref)
    }

    /// Roughly the memory it takes.
    pub(super) fn bytes(&self) -> usize {
        // A value is held twice, in two maps.
        const VALUE_BYTES: usize = 160;
        match self {
            Measure::Count(_) => 0,
            Measure::Distinct(distinct) => size_of::<Distinct>() + distinct.by_time.len() * VALUE_BYTES,
            Measure::Numbers(numbers) => size_of::<Numbers>() + numbers.kept.capacity() * 16,
            Measure::Rules(rules) => {
                size_of::<Rules>() + rules.last.len() * 8 + rules.chains.capacity() * size_of::<Chain>()
            }
        }
    }
}

impl Distinct {
    fn add(&mut self, time: i64, value: &str, max: usize) {
        self.sequence += 1;
        let key = (time, self.sequence);
        if let Some(last) = self.last_seen.get_mut(value) {
            let text = self.by_time.remove(last);
            *last = key;
            self.by_time.extend(text.map(|text| (key, text)));
            return;
        }
        self.last_seen.insert(value.into(), key);
        self.by_time.insert(key, value.into());
        if self.by_time.len() > max
            && let Some((_, oldest)) = self.by_time.pop_first()
        {
            self.last_seen.remove(&oldest);
        }
    }

    fn forget(&mut self, since: i64) {
        while let Some(first) = self.by_time.first_entry().filter(|first| first.key().0 < since) {
            self.last_seen.remove(&first.remove());
        }
    }
}

impl Numbers {
    fn add(&mut self, time: i64, number: f64, is_kept: bool) {
        self.sum += number;
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
        let Some((_, number)) = self.kept.pop_front() else { return };
        self.count -= 1;
        // Rounding errors must not outlive the numbers that they are of.
        self.sum = if self.kept.is_empty() { 0.0 } else { self.sum - number };
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
        low + (high - low) * rank.fract()
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
        let is_same = |known: &Chain| known.rules == chain.rules && known.request == chain.request;
        if let Some(known) = self.chains.iter_mut().find(|known| is_same(known)) {
            known.start = known.start.max(chain.start);
            return;
        }
        self.chains.push(chain);
        let alike = self.chains.iter().enumerate().filter(|(_, known)| known.rules == chain.rules);
        let earliest = alike.clone().min_by_key(|(_, known)| known.start).map(|(at, _)| at);
        if let Some(earliest) = earliest.filter(|_| alike.count() > 2) {
            self.chains.swap_remove(earliest);
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
