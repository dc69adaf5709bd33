//! Puts matches back in order: each waits until no earlier one can come any more.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::observation::Observation;

/// How many matches wait at most, about 100 MB of them. More in one span of disorder are a
/// flood; the earliest are then taken early, and counted.
pub(super) const PENDING_MAX: usize = 262_144;

/// Matches that wait, and the time up to which none can be waited for.
#[derive(Debug)]
pub(super) struct Pending {
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// How much later than others an event may arrive, in microseconds.
    disorder: i64,
    /// Everything earlier has been released.
    watermark: i64,
    /// Matches that came after their time had passed.
    pub(super) late_count: u64,
    /// Matches that were taken early because too many waited.
    pub(super) hurried_count: u64,
}

#[derive(Debug)]
struct Waiting(Observation);

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.order().cmp(&other.0.order())
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
        Self { waiting: BinaryHeap::new(), disorder, watermark: i64::MIN, late_count: 0, hurried_count: 0 }
    }

    /// Takes a match; false if it came too late.
    pub(super) fn push(&mut self, observation: Observation) -> bool {
        if observation.time < self.watermark {
            self.late_count += 1;
            return false;
        }
        self.advance(observation.time.saturating_sub(self.disorder));
        self.waiting.push(Reverse(Waiting(observation)));
        true
    }

    /// Says that nothing earlier than this will come.
    pub(super) fn advance(&mut self, watermark: i64) {
        self.watermark = self.watermark.max(watermark);
    }

    /// The time before which everything is known.
    pub(super) fn watermark(&self) -> i64 {
        self.watermark
    }

    /// The earliest match that waits no longer.
    pub(super) fn pop(&mut self) -> Option<Observation> {
        let Reverse(Waiting(first)) = self.waiting.peek()?;
        let is_due = first.time < self.watermark;
        if !is_due {
            if self.waiting.len() <= PENDING_MAX {
                return None;
            }
            self.hurried_count += 1;
            self.watermark = first.time;
        }
        self.waiting.pop().map(|Reverse(Waiting(observation))| observation)
    }
}
