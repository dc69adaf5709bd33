//! Alerts that nobody waits for and that are not durable yet: those of episodes, and notices.
//!
//! While nothing can be stored they wait here. Nobody would tell an episode again, so whoever
//! brings matches is refused before there are too many; a notice that finds no room is given up
//! and counted.

use sinks::outbox::NewAlert;

/// How many bytes may wait before sources are refused.
const BYTES_MAX: usize = 16 << 20;
/// The same as a count: one episode takes some KiB.
const COUNT_MAX: usize = 4_096;
/// How many notices may wait: each tells of something that an operator sees elsewhere too.
const NOTICES_MAX: usize = 256;
/// How many bytes are made durable at once.
const PART_BYTES_MAX: usize = 4 << 20;

/// Alerts that are not durable yet.
#[derive(Default)]
pub(crate) struct Untold {
    alerts: Vec<Waiting>,
    bytes: usize,
    notice_count: usize,
    given_up: u64,
}

struct Waiting {
    alert: NewAlert,
    is_notice: bool,
}

impl Untold {
    /// Adds alerts of episodes.
    pub(crate) fn extend(&mut self, alerts: Vec<NewAlert>) {
        self.wait(alerts, false);
    }

    /// Adds notices, as far as there is room.
    pub(crate) fn note(&mut self, mut notices: Vec<NewAlert>) {
        let room = NOTICES_MAX.saturating_sub(self.notice_count);
        let given_up = notices.len().saturating_sub(room);
        if given_up > 0 {
            self.given_up += given_up as u64;
            tracing::error!(given_up, "notices are given up, as too many wait for the store");
        }
        notices.truncate(room);
        self.notice_count += notices.len();
        self.wait(notices, true);
    }

    fn wait(&mut self, alerts: Vec<NewAlert>, is_notice: bool) {
        self.bytes += alerts.iter().map(|alert| alert.json.len()).sum::<usize>();
        self.alerts.extend(alerts.into_iter().map(|alert| Waiting { alert, is_notice }));
    }

    /// True if nothing should come that may give more.
    pub(crate) fn is_full(&self) -> bool {
        self.alerts.len() >= COUNT_MAX || self.bytes >= BYTES_MAX
    }

    /// True if everything is durable.
    pub(crate) fn is_empty(&self) -> bool {
        self.alerts.is_empty()
    }

    /// Those that are to be durable next.
    pub(crate) fn part(&self) -> Vec<NewAlert> {
        let mut bytes = 0;
        let part = self.alerts.iter().take_while(|waiting| {
            let is_wanted = bytes < PART_BYTES_MAX;
            bytes += waiting.alert.json.len();
            is_wanted
        });
        part.map(|waiting| waiting.alert.clone()).collect()
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<NewAlert> {
        self.alerts.iter().map(|waiting| waiting.alert.clone()).collect()
    }

    /// Notes that the first of them are durable.
    pub(crate) fn settle(&mut self, count: usize) {
        for settled in self.alerts.drain(..count.min(self.alerts.len())) {
            self.bytes -= settled.alert.json.len();
            self.notice_count -= usize::from(settled.is_notice);
        }
    }

    /// How many notices were given up so far.
    pub(crate) fn given_up(&self) -> u64 {
        self.given_up
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.alerts.len()
    }
}

#[cfg(test)]
mod tests {
    use sinks::outbox::Route;

    use super::*;

    fn alerts(count: usize, bytes: usize) -> Vec<NewAlert> {
        let alert = |id| NewAlert { id, route: Route::default(), json: "x".repeat(bytes) };
        (0..count as u128).map(alert).collect()
    }

    #[test]
    fn notices_are_given_up_beyond_what_may_wait_and_counted() {
        let mut untold = Untold::default();
        for _ in 0..3 {
            untold.note(alerts(100, 10));
        }
        assert_eq!((untold.len(), untold.given_up()), (NOTICES_MAX, 300 - NOTICES_MAX as u64));
        // Episodes are taken all the same.
        untold.extend(alerts(100, 10));
        assert_eq!(untold.len(), NOTICES_MAX + 100);
        assert!(!untold.is_full());
        // However many episodes wait, a notice finds room when notices have gone.
        untold.settle(200);
        untold.note(alerts(10, 10));
        assert_eq!((untold.len(), untold.given_up()), (NOTICES_MAX - 90, 300 - NOTICES_MAX as u64));
    }

    #[test]
    fn sources_are_refused_before_episodes_fill_memory() {
        for (count, bytes) in [(COUNT_MAX, 1), (1, BYTES_MAX)] {
            let mut untold = Untold::default();
            untold.extend(alerts(count, bytes));
            assert!(untold.is_full());
            untold.settle(count);
            assert!(!untold.is_full() && untold.is_empty() && untold.bytes == 0);
        }
    }

    #[test]
    fn a_part_is_durable_at_a_time() {
        let mut untold = Untold::default();
        untold.extend(alerts(10, 1 << 20));
        let mut parts = Vec::new();
        while !untold.is_empty() {
            let part = untold.part();
            untold.settle(part.len());
            parts.push(part.len());
        }
        assert_eq!(parts, [4, 4, 2]);
    }
}
