//! Puts matches back in order: each waits until no earlier one can come any more.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};

use super::observation::Observation;

/// How much memory the matches that wait take together. More in one span of disorder are a
/// flood; the earliest are then taken early, and counted.
pub const PENDING_BYTES_MAX: usize = 128 << 20;

/// How many matches one that comes may go before among those that came in order. Events come nearly
/// in order, and what one event gives is of one time; to go further back, a heap is the shorter way.
const STEPS_MAX: usize = 32;

/// Matches that wait, and the time up to which none can be waited for.
#[derive(Debug)]
pub(super) struct Pending {
    /// Those that came nearly in order, in order.
    ordered: VecDeque<Waiting>,
    /// The others.
    others: BinaryHeap<Reverse<Waiting>>,
    /// What the matches that wait take, without the heap itself.
    bytes: usize,
    /// How much later than others an event may arrive, in microseconds.
    disorder: i64,
    /// Everything earlier has been released.
    watermark: i64,
    /// Everything earlier has come.
    known: i64,
    /// Matches that were taken early because too many waited.
    pub(super) hurried_count: u64,
    /// What those that wait may take.
    pub(super) bytes_max: usize,
}

#[derive(Debug)]
struct Waiting {
    /// That of the match: most are told apart by it, without a look at the match.
    time: i64,
    observation: Box<Observation>,
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = |other: &Self| self.observation.order().cmp(&other.observation.order());
        self.time.cmp(&other.time).then_with(|| order(other))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Waiting {}

impl Pending {
    pub(super) fn new(disorder: i64) -> Self {
        Self {
            ordered: VecDeque::new(),
            others: BinaryHeap::new(),
            bytes: 0,
            disorder,
            watermark: i64::MIN,
            known: i64::MIN,
            hurried_count: 0,
            bytes_max: PENDING_BYTES_MAX,
        }
    }

    /// Takes a match; false if it came too late.
    pub(super) fn push(&mut self, observation: Observation) -> bool {
        if observation.time < self.watermark {
            return false;
        }
        self.advance(observation.time.saturating_sub(self.disorder));
        self.put(observation);
        true
    }

    /// Takes what a correlation makes of matches of the time that is being released.
    pub(super) fn put(&mut self, observation: Observation) {
        self.bytes += observation.bytes();
        let waiting = Waiting { time: observation.time, observation: Box::new(observation) };
        let later = self.ordered.iter().rev().take_while(|other| **other > waiting);
        match later.take(STEPS_MAX + 1).count() {
            steps if steps <= STEPS_MAX => self.ordered.insert(self.ordered.len() - steps, waiting),
            _ => self.others.push(Reverse(waiting)),
        }
    }

    /// Says that nothing earlier than this will come.
    pub(super) fn advance(&mut self, watermark: i64) {
        self.known = self.known.max(watermark);
        self.watermark = self.watermark.max(watermark);
    }

    /// The time before which everything is released.
    pub(super) fn watermark(&self) -> i64 {
        self.watermark
    }

    /// Roughly the memory of what waits.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + (self.ordered.capacity() + self.others.capacity()) * size_of::<Waiting>()
    }

    /// The earliest match that waits.
    pub(super) fn first(&self) -> Option<&Observation> {
        let other = self.others.peek().map(|Reverse(waiting)| waiting);
        let first = match (self.ordered.front(), other) {
            (Some(ordered), Some(other)) => Some(ordered.min(other)),
            (ordered, other) => ordered.or(other),
        };
        first.map(|first| &*first.observation)
    }

    /// The time of the earliest match and the number of its plan, if it waits no longer.
    pub(super) fn due(&mut self) -> Option<(i64, usize)> {
        let (time, plan) = self.first().map(|first| (first.time, first.plan))?;
        if time >= self.watermark && self.bytes() > self.bytes_max {
            // All of one time go together, with what correlations make of them.
            self.watermark = time.saturating_add(1);
        }
        (time < self.watermark).then_some((time, plan))
    }

    /// Takes out the earliest match.
    pub(super) fn pop(&mut self) -> Option<Observation> {
        let first = self.take_first()?.observation;
        self.bytes = self.bytes.saturating_sub(first.bytes());
        self.hurried_count += u64::from(first.time >= self.known && !first.is_derived);
        Some(*first)
    }

    fn take_first(&mut self) -> Option<Waiting> {
        let other = self.others.peek().map(|Reverse(waiting)| waiting);
        let is_other = other.is_some_and(|other| self.ordered.front().is_none_or(|first| other < first));
        if is_other {
            let first = self.others.pop().map(|Reverse(waiting)| waiting);
            if self.others.len() < self.others.capacity() / 8 {
                self.others.shrink_to(self.others.len() * 2);
            }
            return first;
        }
        let first = self.ordered.pop_front();
        if self.ordered.len() < self.ordered.capacity() / 8 {
            self.ordered.shrink_to(self.ordered.len() * 2);
        }
        first
    }
}
