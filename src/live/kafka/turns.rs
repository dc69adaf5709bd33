//! Who evaluates just now: as many at once as there are turns, while others wait for the disk.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Turns to evaluate.
pub(super) struct Turns {
    free_count: Mutex<usize>,
    freed: Condvar,
}

/// A turn; whoever lets go of it lets somebody else have it.
pub(super) struct Turn<'t>(&'t Turns);

impl Turns {
    /// So many, and one at the least.
    pub(super) fn new(count: usize) -> Self {
        Self { free_count: Mutex::new(count.max(1)), freed: Condvar::new() }
    }

    /// Waits for a turn.
    pub(super) fn take(&self) -> Turn<'_> {
        let waited = self.freed.wait_while(self.free_count(), |free_count| *free_count == 0);
        *waited.unwrap_or_else(PoisonError::into_inner) -= 1;
        Turn(self)
    }

    fn free_count(&self) -> MutexGuard<'_, usize> {
        self.free_count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.free_count() += 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn no_more_have_a_turn_than_there_are_and_everybody_has_one() {
        let (turns, busy_count, most) = (Turns::new(2), AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let turn = turns.take();
                        most.fetch_max(busy_count.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        thread::yield_now();
                        busy_count.fetch_sub(1, Ordering::SeqCst);
                        drop(turn);
                    }
                });
            }
        });
        assert!((1..=2).contains(&most.into_inner()));
        assert_eq!(*turns.free_count(), 2);
    }
}
