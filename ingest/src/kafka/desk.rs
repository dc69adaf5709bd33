//! What the thread that polls and the workers share: which partitions are this member's, what of
//! them is in flight, and what waits to be judged.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::batch::{Batch, Spare};
use super::gathering::BATCH_BYTES_MAX;
use super::{Partition, Progress};

/// The number of no assignment: of what was gathered before a partition went to somebody else.
pub(super) const LOST: u64 = 0;

/// How many batches leave their memory to others: as many as some workers are about. One that was larger than
/// usual keeps nothing.
const SPARES_MAX: usize = 8;
const SPARE_BYTES_MAX: usize = 2 * BATCH_BYTES_MAX;

/// The desk.
#[derive(Default)]
pub(super) struct Desk {
    state: Mutex<State>,
    /// Something was given, finished or closed.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    assigned: HashMap<Partition, Assigned>,
    /// Counts assignments, so that what is late is known for what it is.
    assignments: u64,
    waiting: VecDeque<Batch>,
    spares: Vec<Spare>,
    in_flight_count: usize,
    in_flight_bytes: usize,
    is_closed: bool,
}

/// A partition that is this member's.
pub(super) struct Assigned {
    assignment: u64,
    pub(super) progress: Progress,
    /// The offset that was last asked to be committed.
    committing: Option<i64>,
    /// When it last got further.
    pub(super) moved_at: Instant,
    /// Whether its end was reached since the last message.
    pub(super) is_at_end: bool,
    /// Whether people were told that it does not move.
    pub(super) is_stalled: bool,
}

/// How much may be in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) batches_max: usize,
    pub(super) bytes_max: usize,
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that partitions are this member's.
    pub(super) fn assign(&self, partitions: &[Partition]) {
        let mut state = self.state();
        for partition in partitions {
            state.assignments += 1;
            let assigned = Assigned {
                assignment: state.assignments,
                progress: Progress::default(),
                committing: None,
                moved_at: Instant::now(),
                is_at_end: false,
                is_stalled: false,
            };
            state.assigned.insert(partition.clone(), assigned);
        }
    }

    /// Notes that partitions are somebody else's: whatever of them is in flight counts for nothing.
    pub(super) fn revoke(&self, partitions: &[Partition]) {
        let mut state = self.state();
        for partition in partitions {
            state.assigned.remove(partition);
        }
    }

    /// All partitions that are this member's.
    pub(super) fn partitions(&self) -> Vec<Partition> {
        self.state().assigned.keys().cloned().collect()
    }

    /// A partition of this member's, and which assignment made it so.
    pub(super) fn assigned(&self, topic: &str, number: i32) -> Option<(Partition, u64)> {
        let state = self.state();
        let found = state.assigned.get_key_value(&Partition::new(topic, number))?;
        Some((found.0.clone(), found.1.assignment))
    }

    /// Which assignment made a partition this member's.
    pub(super) fn assignment(&self, partition: &Partition) -> Option<u64> {
        self.state().assigned.get(partition).map(|assigned| assigned.assignment)
    }

    /// Looks at a partition of this member's, or changes it.
    pub(super) fn with<T>(&self, partition: &Partition, look: impl FnOnce(&mut Assigned) -> T) -> Option<T> {
        self.state().assigned.get_mut(partition).map(look)
    }

    /// Gives a batch to the workers.
    pub(super) fn give(&self, mut batch: Batch) {
        let mut state = self.state();
        for run in &mut batch.runs {
            let assigned = state.assigned.get_mut(&run.partition);
            let assigned = assigned.filter(|assigned| assigned.assignment == run.assignment);
            run.ticket = assigned.map(|assigned| {
                assigned.is_at_end = false;
                assigned.progress.begin(run.end, run.written_ms)
            });
        }
        state.in_flight_count += 1;
        state.in_flight_bytes += batch.bytes();
        state.waiting.push_back(batch);
        drop(state);
        self.changed.notify_all();
    }

    /// A batch to judge; nothing once there is nothing more to do. Waits.
    pub(super) fn next(&self) -> Option<Batch> {
        let mut state = self.state();
        loop {
            if state.is_closed {
                return None;
            }
            if let Some(batch) = state.waiting.pop_front() {
                return Some(batch);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Notes that everything a batch gave is durable; `latest_us` has the latest time of an event by run.
    /// Gives the partitions that got further thereby, and their latest time.
    pub(super) fn finish(&self, batch: &Batch, latest_us: &[Option<i64>]) -> Vec<(Partition, Option<i64>)> {
        let mut further = Vec::new();
        let mut state = self.state();
        for (index, run) in batch.runs.iter().enumerate() {
            let assigned = state.assigned.get_mut(&run.partition);
            let assigned = assigned.filter(|assigned| assigned.assignment == run.assignment);
            if let (Some(assigned), Some(ticket)) = (assigned, run.ticket)
                && assigned.progress.finish(ticket, latest_us.get(index).copied().flatten())
            {
                assigned.moved_at = Instant::now();
                further.push((run.partition.clone(), assigned.progress.latest_us()));
            }
        }
        state.in_flight_count = state.in_flight_count.saturating_sub(1);
        state.in_flight_bytes = state.in_flight_bytes.saturating_sub(batch.bytes());
        drop(state);
        self.changed.notify_all();
        further
    }

    /// Keeps the memory of a batch that is done.
    pub(super) fn keep(&self, batch: Batch) {
        let spare = batch.into_spare();
        let mut state = self.state();
        if spare.room() <= SPARE_BYTES_MAX && state.spares.len() < SPARES_MAX {
            state.spares.push(spare);
        }
    }

    /// Memory for a batch.
    pub(super) fn spare(&self) -> Spare {
        self.state().spares.pop().unwrap_or_default()
    }

    /// Waits until there is room for another batch, but no longer than `patience`; true if there is.
    pub(super) fn wait_for_room(&self, room: Room, patience: Duration) -> bool {
        self.wait(patience, |state| {
            state.in_flight_count < room.batches_max && state.in_flight_bytes < room.bytes_max
        })
    }

    /// Waits until nothing of some partitions is in flight, but no longer than `patience`; true if so.
    pub(super) fn wait_for(&self, partitions: &[Partition], patience: Duration) -> bool {
        self.wait(patience, |state| {
            let assigned = partitions.iter().filter_map(|partition| state.assigned.get(partition));
            assigned.into_iter().all(|assigned| assigned.progress.is_idle())
        })
    }

    /// Waits for a worker's pause to be over; true if it is to go on trying.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        !self.wait(pause, |state| state.is_closed)
    }

    fn wait(&self, patience: Duration, is_so: impl Fn(&State) -> bool) -> bool {
        let waited = self
            .changed
            .wait_timeout_while(self.state(), patience, |state| !is_so(state) && !state.is_closed);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        is_so(&state)
    }

    /// What of some partitions is done and was not asked to be committed before; asks for it.
    pub(super) fn take_done(&self, partitions: Option<&[Partition]>) -> Vec<(Partition, i64)> {
        let mut state = self.state();
        let is_meant = |partition: &Partition| partitions.is_none_or(|meant| meant.contains(partition));
        let done = state.assigned.iter_mut().filter(|(partition, _)| is_meant(partition));
        done.filter_map(|(partition, assigned)| {
            let done_before = assigned.progress.done_before();
            if done_before == assigned.committing {
                return None;
            }
            assigned.committing = done_before;
            Some((partition.clone(), done_before?))
        })
        .collect()
    }

    /// Notes that what was asked for was not committed: it is asked for again.
    pub(super) fn not_committed(&self, partition: &Partition) {
        self.with(partition, |assigned| assigned.committing = None);
    }

    /// Has everything committed once more: what another member had on its way when a partition was taken from
    /// it may have come later, and have set this one back.
    pub(super) fn commit_again(&self) {
        self.state().assigned.values_mut().for_each(|assigned| assigned.committing = None);
    }

    /// Lets the workers end, whatever is still in flight.
    pub(super) fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::{Item, Run};
    use super::*;

    const ROOM: Room = Room { batches_max: 2, bytes_max: 100 };

    fn batch(desk: &Desk, partition: &Partition, end: i64) -> Batch {
        let (partition, assignment) = desk.assigned(&partition.topic, partition.number).unwrap();
        let run = Run { partition, assignment, end, written_ms: None, ticket: None };
        let item = Item { run: 0, offset: end - 1, key: None, header: None, value: Some(0..10) };
        Batch { bytes: vec![0; 10], items: vec![item], runs: vec![run], begun: Instant::now() }
    }

    #[test]
    fn only_what_is_done_without_a_gap_is_committed_and_only_once() {
        let (desk, partition) = (Desk::default(), Partition::new("audit", 3));
        desk.assign(std::slice::from_ref(&partition));
        desk.give(batch(&desk, &partition, 10));
        desk.give(batch(&desk, &partition, 20));
        assert!(!desk.wait_for_room(ROOM, Duration::ZERO), "two are in flight");
        let (first, second) = (desk.next().unwrap(), desk.next().unwrap());
        desk.finish(&second, &[]);
        assert!(desk.wait_for_room(ROOM, Duration::ZERO));
        assert_eq!(desk.take_done(None), []);
        assert_eq!(desk.finish(&first, &[Some(7)]), [(partition.clone(), Some(7))]);
        assert_eq!(desk.take_done(None), [(partition.clone(), 20)]);
        assert_eq!(desk.take_done(None), []);
        desk.not_committed(&partition);
        assert_eq!(desk.take_done(Some(std::slice::from_ref(&partition))), [(partition, 20)]);
    }

    #[test]
    fn memory_goes_from_batch_to_batch_within_limits() {
        let desk = Desk::default();
        let batch = |room: usize| Batch { bytes: Vec::with_capacity(room), ..Batch::begin(Spare::default()) };
        desk.keep(batch(SPARE_BYTES_MAX + 1));
        assert_eq!(desk.spare().room(), 0);
        for _ in 0..2 * SPARES_MAX {
            desk.keep(batch(1_000));
        }
        let kept = std::iter::repeat_with(|| desk.spare().room()).take_while(|room| *room > 0);
        assert_eq!(kept.count(), SPARES_MAX);
    }

    #[test]
    fn what_comes_late_after_a_rebalance_counts_for_nothing() {
        let (desk, partition) = (Desk::default(), Partition::new("audit", 0));
        let partitions = std::slice::from_ref(&partition);
        desk.assign(partitions);
        desk.give(batch(&desk, &partition, 10));
        let late = desk.next().unwrap();
        assert!(!desk.wait_for(partitions, Duration::ZERO));
        desk.revoke(partitions);
        assert!(desk.wait_for(partitions, Duration::ZERO));
        desk.assign(partitions);
        desk.give(batch(&desk, &partition, 5));
        assert_eq!(desk.finish(&late, &[]), []);
        assert_eq!(desk.take_done(None), []);
        desk.finish(&desk.next().unwrap(), &[]);
        assert_eq!(desk.take_done(None), [(partition, 5)]);
    }
}
