//! What is on its way to the brokers, and what has come of it.

use std::collections::HashMap;

use super::context::Report;
use super::failure::Failure;

/// How many alerts may be under way, or have landed unasked for: several times what a worker holds,
/// so that it is reached only by what nobody asks for again.
pub(super) const FLIGHTS_MAX: usize = 4096;

/// What became of an alert that was handed over.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// Nothing yet.
    UnderWay,
    /// All in-sync replicas have it.
    Landed,
    /// They do not have it, as far as is known.
    Failed(Failure),
}

/// Alerts that were handed over and not yet told of, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Flights(HashMap<u64, State>);

impl Flights {
    /// What became of an alert; nothing if it is not known.
    pub(super) fn state(&self, number: u64) -> Option<&State> {
        self.0.get(&number)
    }

    /// Notes that an alert was handed over.
    pub(super) fn begin(&mut self, number: u64) {
        self.0.insert(number, State::UnderWay);
    }

    /// Notes what became of one.
    pub(super) fn report(&mut self, report: Report) {
        let state = match report.outcome {
            Ok(()) => State::Landed,
            Err(failure) => State::Failed(failure),
        };
        self.0.insert(report.number, state);
    }

    /// Forgets one that was told of.
    pub(super) fn end(&mut self, number: u64) {
        self.0.remove(&number);
    }

    /// Forgets those that failed, so that they are sent again.
    pub(super) fn forget_failed(&mut self) {
        self.0.retain(|_, state| !matches!(state, State::Failed(_)));
    }

    /// How many are known.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// True if so many are left over that it is better to begin anew.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= FLIGHTS_MAX
    }
}
