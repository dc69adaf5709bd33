//! How far behind its end each partition is, and which of them does not move.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::Statistics;
use rdkafka::statistics;

use super::desk::{Assigned, Desk};
use super::gathering::Gathering;
use super::{Judge, Lag, News, Partition};

/// How long a partition with messages may not move before people are told.
const STALLED_AFTER: Duration = Duration::from_secs(60);
/// How long it may not move, with nothing in flight, before the client is made anew.
const STUCK_AFTER: Duration = Duration::from_secs(300);

/// What is told of a partition besides its lag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Movement {
    Usual,
    AtEnd,
    Stalled(Duration),
    Moving,
}

/// Tells how far the partitions are that are this member's; true if one of them is held up by the client itself.
pub(super) fn tell(statistics: &Statistics, gathering: &Gathering, desk: &Desk, judge: &dyn Judge) -> bool {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
    let mut is_stuck = false;
    for partition in desk.partitions() {
        let topic = statistics.topics.get(&*partition.topic);
        let Some(figures) = topic.and_then(|topic| topic.partitions.get(&partition.number)) else { continue };
        let seen = desk.with(&partition, |assigned| {
            let is_idle = assigned.progress.is_idle() && !gathering.has(&partition);
            let lag = lag(figures, assigned, is_idle, now_ms)?;
            let movement = movement(lag, assigned, is_idle);
            is_stuck |= assigned.is_stalled && is_idle && assigned.moved_at.elapsed() >= STUCK_AFTER;
            Some((lag, movement))
        });
        let Some(Some((lag, movement))) = seen else { continue };
        judge.hear(News::Lag(&partition, lag));
        tell_movement(&partition, movement, judge);
    }
    is_stuck
}

fn tell_movement(partition: &Partition, movement: Movement, judge: &dyn Judge) {
    match movement {
        Movement::Usual => {}
        Movement::AtEnd => judge.hear(News::AtEnd(partition)),
        Movement::Stalled(duration) => judge.hear(News::Stalled(partition, duration)),
        Movement::Moving => judge.hear(News::Moving(partition)),
    }
}

/// The lag; nothing as long as nobody knows where the partition ends. It `is_idle` if everything that the
/// client gave of it is done.
fn lag(figures: &statistics::Partition, assigned: &Assigned, is_idle: bool, now_ms: i64) -> Option<Lag> {
    let is_known = |offset: &i64| *offset >= 0;
    let end = [figures.ls_offset, figures.hi_offset].into_iter().find(is_known)?;
    let begin = [figures.committed_offset, figures.lo_offset].into_iter().find(is_known);
    // Markers of transactions take offsets and are no messages: only the client knows that it has passed them.
    let passed = Some(figures.app_offset).filter(|offset| is_idle && is_known(offset));
    let position = assigned.progress.done_before().or(begin).max(passed)?;
    let is_done = assigned.is_at_end && is_idle;
    let offsets = if is_done { 0 } else { u64::try_from(end.saturating_sub(position)).unwrap_or(0) };
    let age = match assigned.progress.done_ms() {
        _ if offsets == 0 => Duration::ZERO,
        Some(done_ms) => Duration::from_millis(u64::try_from(now_ms.saturating_sub(done_ms)).unwrap_or(0)),
        None => assigned.moved_at.elapsed(),
    };
    Some(Lag { offsets, age })
}

/// Whether a partition moves as it should.
fn movement(lag: Lag, assigned: &mut Assigned, is_idle: bool) -> Movement {
    if lag.offsets == 0 {
        assigned.moved_at = Instant::now();
    }
    let stands_for = assigned.moved_at.elapsed();
    if stands_for < STALLED_AFTER && std::mem::take(&mut assigned.is_stalled) {
        return Movement::Moving;
    }
    if stands_for >= STALLED_AFTER && !assigned.is_stalled {
        assigned.is_stalled = true;
        return Movement::Stalled(stands_for);
    }
    if lag.offsets == 0 && is_idle { Movement::AtEnd } else { Movement::Usual }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(committed_offset: i64, end: i64) -> statistics::Partition {
        statistics::Partition {
            lo_offset: 5,
            app_offset: -1001,
            hi_offset: end,
            ls_offset: end,
            committed_offset,
            ..statistics::Partition::default()
        }
    }

    fn with_assigned<T>(look: impl FnOnce(&mut Assigned) -> T) -> T {
        let (desk, partition) = (Desk::default(), Partition::new("audit", 0));
        desk.assign(std::slice::from_ref(&partition));
        desk.with(&partition, look).unwrap()
    }

    #[test]
    fn lag_is_what_is_not_done() {
        with_assigned(|assigned| {
            assert_eq!(lag(&figures(-1001, -1001), assigned, true, 0), None);
            assert_eq!(lag(&figures(-1001, 100), assigned, true, 0).unwrap().offsets, 95);
            assert_eq!(lag(&figures(40, 100), assigned, true, 0).unwrap().offsets, 60);
            let ticket = assigned.progress.begin(90, Some(1_000));
            assert_eq!(lag(&figures(40, 100), assigned, false, 0).unwrap().offsets, 60);
            assigned.progress.finish(ticket, None);
            let expected = Lag { offsets: 10, age: Duration::from_secs(2) };
            assert_eq!(lag(&figures(40, 100), assigned, true, 3_000), Some(expected));
            assigned.is_at_end = true;
            assert_eq!(lag(&figures(40, 100), assigned, true, 3_000), Some(Lag::default()));
        });
    }

    /// Ends are told by number: of two topics nobody knows whose it is.
    #[test]
    fn markers_of_transactions_are_not_behind_in_partitions_of_one_number() {
        with_assigned(|assigned| {
            let ticket = assigned.progress.begin(90, Some(1_000));
            let passed = statistics::Partition { app_offset: 100, ..figures(40, 100) };
            assert_eq!(lag(&passed, assigned, false, 0).unwrap().offsets, 60, "messages are in flight");
            assigned.progress.finish(ticket, None);
            assert_eq!(lag(&passed, assigned, false, 0).unwrap().offsets, 10, "messages are gathered");
            assert_eq!(lag(&passed, assigned, true, 0), Some(Lag::default()));
        });
    }

    #[test]
    fn a_partition_that_does_not_move_is_told_once_and_when_it_moves_again() {
        with_assigned(|assigned| {
            let behind = Lag { offsets: 10, age: Duration::ZERO };
            assert_eq!(movement(behind, assigned, true), Movement::Usual);
            assigned.moved_at = Instant::now().checked_sub(STALLED_AFTER).unwrap();
            assert!(matches!(movement(behind, assigned, true), Movement::Stalled(_)));
            assert_eq!(movement(behind, assigned, true), Movement::Usual);
            assigned.moved_at = Instant::now();
            assert_eq!(movement(behind, assigned, true), Movement::Moving);
            assert_eq!(movement(Lag::default(), assigned, false), Movement::Usual);
            assert_eq!(movement(Lag::default(), assigned, true), Movement::AtEnd);
        });
    }
}
