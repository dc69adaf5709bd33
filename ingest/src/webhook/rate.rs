//! Whether a body comes fast enough: not on the whole, which a good beginning would make up for,
//! but at any time.

use std::time::Duration;

use super::Limits;

/// How fast a body has come of late.
pub(super) struct Rate {
    window: Duration,
    bytes_per_second_min: u64,
    /// How long the client may still be waited for, whatever it sends.
    grace: Duration,
    /// How long the client was waited for in this window.
    waited: Duration,
    /// What has come in this window.
    received_bytes: u64,
}

impl Rate {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            window: limits.body_rate_window,
            bytes_per_second_min: limits.body_bytes_per_second_min,
            grace: limits.body_grace,
            waited: Duration::ZERO,
            received_bytes: 0,
        }
    }

    /// True if too little has come, now that a piece was waited for.
    pub(super) fn is_slow(&mut self, waited: Duration, piece_bytes: usize) -> bool {
        let counted = waited.saturating_sub(self.grace);
        self.grace = self.grace.saturating_sub(waited);
        self.waited += counted;
        self.received_bytes = self.received_bytes.saturating_add(piece_bytes as u64);
        if self.waited < self.window {
            return false;
        }
        // A window is as long as it was waited for: a pause may be longer than it was to be.
        let expected_bytes = self.waited.as_millis().saturating_mul(self.bytes_per_second_min.into()) / 1000;
        let is_slow = u128::from(self.received_bytes) < expected_bytes;
        (self.waited, self.received_bytes) = (Duration::ZERO, 0);
        is_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rate() -> Rate {
        Rate::new(&Limits {
            body_grace: 10 * SECOND,
            body_rate_window: 5 * SECOND,
            body_bytes_per_second_min: 1000,
            ..Limits::default()
        })
    }

    #[test]
    fn a_good_beginning_does_not_pay_for_a_trickle() {
        let mut rate = rate();
        assert!(!rate.is_slow(SECOND, 4 << 20));
        let slow_after = (0..60).position(|_| rate.is_slow(SECOND, 100));
        // The rest of the grace, what is left of the window of the beginning, and one more.
        assert!(slow_after.is_some_and(|seconds| seconds < 20), "{slow_after:?}");
    }

    #[test]
    fn who_keeps_up_the_rate_is_never_slow() {
        let mut rate = rate();
        assert!((0..1000).all(|_| !rate.is_slow(SECOND, 1000)));
        // What a judge makes wait is not waited for by its client.
        assert!((0..1000).all(|_| !rate.is_slow(Duration::ZERO, 1)));
    }

    #[test]
    fn a_pause_counts_in_full() {
        let mut rate = rate();
        assert!(!rate.is_slow(10 * SECOND, 0));
        assert!(rate.is_slow(9 * SECOND, 5000));
        assert!(!rate.is_slow(9 * SECOND, 9000));
    }
}
