//! How far a partition is, while several batches of it are in flight.

use std::collections::VecDeque;

/// How far a partition is: what is in flight, in the order it was read, and what is done.
///
/// **Invariant:** [`Progress::done_before`] never passes over a run that is in flight.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// What is in flight or waits for what is before it.
    runs: VecDeque<Run>,
    /// The ticket of the first of them.
    first: u64,
    done_before: Option<i64>,
    done_ms: Option<i64>,
    latest_us: Option<i64>,
}

/// Messages that follow one another.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// The offset behind the last of them.
    end: i64,
    /// When the last of them was written: milliseconds since 1970.
    written_ms: Option<i64>,
    /// The latest time of an event in them: microseconds since 1970.
    latest_us: Option<i64>,
    is_done: bool,
}

/// Stands for messages that are in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

impl Progress {
    /// Notes that messages up to, not including, `end` are in flight.
    pub fn begin(&mut self, end: i64, written_ms: Option<i64>) -> Ticket {
        self.runs.push_back(Run { end, written_ms, latest_us: None, is_done: false });
        Ticket(self.first + self.runs.len() as u64 - 1)
    }

    /// Notes that messages are done, with the latest time of an event in them; true if thereby more may
    /// be committed.
    pub fn finish(&mut self, ticket: Ticket, latest_us: Option<i64>) -> bool {
        let index = ticket.0.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        let Some(run) = index.and_then(|index| self.runs.get_mut(index)) else { return false };
        run.is_done = true;
        run.latest_us = latest_us;
        let before = self.first;
        while let Some(run) = self.runs.front().copied().filter(|run| run.is_done) {
            self.runs.pop_front();
            self.first += 1;
            self.done_before = Some(run.end);
            self.done_ms = run.written_ms.or(self.done_ms);
            self.latest_us = self.latest_us.max(run.latest_us);
        }
        self.first > before
    }

    /// The offset before which everything is done; nothing if nothing is known to be.
    pub fn done_before(&self) -> Option<i64> {
        self.done_before
    }

    /// When the last message was written that is done: milliseconds since 1970.
    pub fn done_ms(&self) -> Option<i64> {
        self.done_ms
    }

    /// The latest time of an event among what is done: microseconds since 1970.
    pub fn latest_us(&self) -> Option<i64> {
        self.latest_us
    }

    /// True if nothing is in flight.
    pub fn is_idle(&self) -> bool {
        self.runs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Runs begin in order and are finished in any order, some while others begin.
        #[test]
        fn what_may_be_committed_never_passes_over_what_is_in_flight(
            lengths in prop::collection::vec(1_i64..50, 1..40),
            picks in prop::collection::vec((any::<u16>(), any::<bool>()), 0..200),
            starts_again_at in prop::option::of(0_usize..40),
        ) {
            let mut progress = Progress::default();
            let mut in_flight: Vec<(Ticket, usize)> = Vec::new();
            let mut ends = Vec::new();
            let mut end = 1_000;
            let mut lengths = lengths.into_iter().enumerate();
            let mut picks = picks.into_iter();
            loop {
                let (pick, begins) = picks.next().unwrap_or((0, false));
                if begins || in_flight.is_empty() {
                    let Some((number, length)) = lengths.next() else {
                        if in_flight.is_empty() { break }
                        continue;
                    };
                    // A topic that was made anew begins at zero again.
                    if starts_again_at == Some(number) { end = 0; }
                    end += length;
                    in_flight.push((progress.begin(end, Some(end)), ends.len()));
                    ends.push(end);
                } else {
                    let (ticket, _) = in_flight.swap_remove(usize::from(pick) % in_flight.len());
                    progress.finish(ticket, None);
                    progress.finish(ticket, None);
                }
                let first_open = in_flight.iter().map(|(_, number)| *number).min().unwrap_or(ends.len());
                let expected = first_open.checked_sub(1).map(|last| ends[last]);
                prop_assert_eq!(progress.done_before(), expected);
                prop_assert_eq!(progress.done_ms(), expected);
                prop_assert_eq!(progress.is_idle(), in_flight.is_empty());
            }
            prop_assert_eq!(progress.done_before(), ends.last().copied());
        }
    }

    #[test]
    fn a_ticket_of_nothing_changes_nothing() {
        let mut progress = Progress::default();
        assert!(!progress.finish(Ticket(7), None));
        assert_eq!(progress.done_before(), None);
    }
}
