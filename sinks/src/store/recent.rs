//! The latest alerts, in memory as well: a sink that keeps up need not have them read again.
//!
//! **Invariant:** what is given was committed, and follows one another without a gap. Who is further behind
//! reads the database, which has the same and more.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::outbox::{NewAlert, Outgoing};

/// How much is kept, in bytes of JSON: what a sink holds, and what is written meanwhile.
const RECENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Alerts that are kept, and those of the transaction at hand.
#[derive(Default)]
pub(super) struct Recent(Mutex<State>);

#[derive(Default)]
struct State {
    /// Dense, by number.
    kept: VecDeque<Arc<Outgoing>>,
    bytes: usize,
    /// The last of them; what does not fit is a gap.
    staged: VecDeque<Arc<Outgoing>>,
    staged_bytes: usize,
}

impl Recent {
    /// Begins with a transaction: what the one before staged and did not settle never was.
    pub(super) fn begin(&self) {
        let mut state = self.lock();
        state.staged.clear();
        state.staged_bytes = 0;
    }

    /// Notes an alert that is new in the transaction at hand.
    pub(super) fn stage(&self, number: u64, alert: &NewAlert) {
        let NewAlert { id, route, json } = alert.clone();
        let mut state = self.lock();
        state.staged_bytes += json.len();
        state.staged.push_back(Arc::new(Outgoing { number, id, route, json }));
        while state.staged_bytes > RECENT_BYTES_MAX
            && let Some(oldest) = state.staged.pop_front()
        {
            state.staged_bytes -= oldest.json.len();
        }
    }

    /// Keeps what was staged: it has been committed.
    pub(super) fn settle(&self) {
        let mut state = self.lock();
        state.staged_bytes = 0;
        for alert in std::mem::take(&mut state.staged) {
            if state.kept.back().is_some_and(|last| last.number + 1 != alert.number) {
                state.clear();
            }
            state.bytes += alert.json.len();
            state.kept.push_back(alert);
        }
        while state.bytes > RECENT_BYTES_MAX
            && let Some(oldest) = state.kept.pop_front()
        {
            state.bytes -= oldest.json.len();
        }
    }

    /// Lets go of everything, as the database is another one or has less by now.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    /// The alerts behind one, within limits, at least one; nothing if not all of them are here.
    pub(super) fn behind(&self, after: u64, count_max: usize, bytes_max: usize) -> Option<Vec<Outgoing>> {
        let state = self.lock();
        // Numbers begin with 1.
        let before = state.kept.front()?.number.checked_sub(1)?;
        let passed_count = usize::try_from(after.checked_sub(before)?).ok()?;
        let mut bytes = 0;
        let waiting = state.kept.iter().skip(passed_count).take(count_max).enumerate();
        let found = waiting.take_while(|(index, alert)| {
            bytes += alert.json.len();
            *index == 0 || bytes <= bytes_max
        });
        let found: Vec<_> = found.map(|(_, alert)| Arc::clone(alert)).collect();
        drop(state);
        (!found.is_empty()).then(|| found.into_iter().map(Arc::unwrap_or_clone).collect())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn clear(&mut self) {
        self.kept.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::Route;

    /// Commits alerts of these numbers, each with so many bytes.
    fn commit(recent: &Recent, numbers: impl IntoIterator<Item = u64>, bytes: usize) {
        recent.begin();
        for number in numbers {
            let id = u128::from(number);
            recent.stage(number, &NewAlert { id, route: Route::default(), json: "x".repeat(bytes) });
        }
        recent.settle();
    }

    fn behind(recent: &Recent, after: u64, count_max: usize, bytes_max: usize) -> Option<Vec<u64>> {
        let found = recent.behind(after, count_max, bytes_max)?;
        Some(found.iter().map(|alert| alert.number).collect())
    }

    #[test]
    fn what_is_behind_is_given_within_limits_or_not_at_all() {
        let recent = Recent::default();
        assert_eq!(behind(&recent, 0, 9, 99), None);
        commit(&recent, 5..=7, 10);
        commit(&recent, 8..=9, 10);
        assert_eq!(behind(&recent, 3, 9, 99), None, "4 is not here");
        assert_eq!(behind(&recent, 4, 9, 99), Some(vec![5, 6, 7, 8, 9]));
        assert_eq!(behind(&recent, 6, 2, 99), Some(vec![7, 8]));
        assert_eq!(behind(&recent, 6, 9, 20), Some(vec![7, 8]));
        assert_eq!(behind(&recent, 6, 9, 1), Some(vec![7]), "at least one");
        assert_eq!(behind(&recent, 9, 9, 99), None);
        assert_eq!(behind(&recent, u64::MAX, 9, 99), None);
        recent.clear();
        assert_eq!(behind(&recent, 4, 9, 99), None);
    }

    #[test]
    fn what_was_rolled_back_never_was_and_a_gap_begins_anew() {
        let recent = Recent::default();
        commit(&recent, 1..=2, 10);
        recent.begin();
        recent.stage(3, &NewAlert { id: 33, route: Route::default(), json: "rolled back".to_owned() });
        assert_eq!(behind(&recent, 0, 9, 99), Some(vec![1, 2]), "it is not committed yet");
        commit(&recent, [], 0);
        assert_eq!(behind(&recent, 2, 9, 99), None, "another was committed instead");
        commit(&recent, 3..=3, 10);
        assert_eq!(recent.behind(2, 9, 99).unwrap()[0].id, 3);
        commit(&recent, 6..=7, 10);
        assert_eq!(behind(&recent, 2, 9, 99), None);
        assert_eq!(behind(&recent, 5, 9, 99), Some(vec![6, 7]));
    }

    #[test]
    fn the_oldest_go_when_there_is_too_much() {
        let recent = Recent::default();
        for number in 1..=10 {
            commit(&recent, [number], RECENT_BYTES_MAX / 4);
        }
        assert_eq!(behind(&recent, 5, 9, usize::MAX), None);
        assert_eq!(behind(&recent, 6, 9, usize::MAX), Some(vec![7, 8, 9, 10]));
        commit(&recent, [11], RECENT_BYTES_MAX + 1);
        assert_eq!(behind(&recent, 9, 9, usize::MAX), Some(vec![10]), "11 was too long");
        commit(&recent, 12..=20, RECENT_BYTES_MAX / 4);
        assert_eq!(behind(&recent, 15, 9, usize::MAX), None);
        assert_eq!(behind(&recent, 16, 9, usize::MAX), Some(vec![17, 18, 19, 20]));
        let state = recent.lock();
        assert_eq!((state.bytes, state.staged_bytes), (RECENT_BYTES_MAX, 0));
    }
}
