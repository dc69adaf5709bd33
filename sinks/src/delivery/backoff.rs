//! How long to wait before the next try: longer each time, and never at the same time as others.

use std::time::Duration;

/// Exponential backoff with full jitter.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    first: Duration,
    max: Duration,
    failures_count: u32,
}

impl Backoff {
    pub(super) fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, failures_count: 0 }
    }

    /// Notes a failure; returns how long to wait: anything up to the bound, so that many that
    /// failed together do not come back together.
    pub(super) fn next(&mut self) -> Duration {
        let bound = self.bound();
        self.failures_count = self.failures_count.saturating_add(1);
        bound.mul_f64(fastrand::f64())
    }

    /// All is well again.
    pub(super) fn reset(&mut self) {
        self.failures_count = 0;
    }

    fn bound(&self) -> Duration {
        let factor = 1_u32.checked_shl(self.failures_count).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_greatest_and_begins_anew() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(300));
        let mut bounds = Vec::new();
        for _ in 0..100 {
            bounds.push(backoff.bound().as_secs());
            assert!(backoff.next() <= Duration::from_secs(300));
        }
        assert_eq!(bounds[..10], [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert!(bounds[10..].iter().all(|bound| *bound == 300));
        backoff.reset();
        assert_eq!(backoff.bound(), Duration::from_secs(1));
    }
}
