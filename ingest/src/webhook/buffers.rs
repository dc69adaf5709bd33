//! Buffers that bodies have lain in, kept for the next ones: memory that a process touches for the first
//! time has to be cleared by the system, which costs about as much as all that is done with a body.
//!
//! **Invariant:** what is kept is never more than [`KEPT_BYTES_MAX`], nor than whoever asks has room for.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// How much is kept: more bodies than processors can be busy with at once.
const KEPT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Smaller buffers are left to the allocator, which has them at hand.
const BUFFER_BYTES_MIN: usize = 64 * 1024;

/// Sizes are multiples of this, so that a buffer fits bodies of about the same length.
const STEP_BYTES: usize = 256 * 1024;

/// What a server begins with that expects bodies: what batches of the usual size are collected in on each of a
/// few connections, one after the other.
const FIRST_SIZES: [usize; 3] = [BUFFER_BYTES_MIN, STEP_BYTES, 5 * STEP_BYTES];
const FIRST_COUNT: usize = 4;

/// How many times as large as it has to be a buffer may be: what nobody uses is counted all the same.
const SPARE: usize = 2;

/// Buffers that nobody uses.
#[derive(Default)]
pub(super) struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// Some buffers, already touched, as far as there is `room` for them.
    pub(super) fn prepared(room: usize) -> Self {
        let buffers = Self::default();
        for size in FIRST_SIZES.into_iter().flat_map(|size| [size; FIRST_COUNT]) {
            // Zeros would be had without being touched.
            buffers.keep(vec![1; size], || room);
        }
        buffers
    }

    /// A size that a buffer for so many bytes had better have.
    pub(super) fn rounded(bytes: usize) -> usize {
        if bytes < STEP_BYTES { bytes } else { bytes.next_multiple_of(STEP_BYTES) }
    }

    /// An empty buffer for so many bytes that is not much larger, if there is one.
    pub(super) fn take(&self, bytes: usize) -> Option<Vec<u8>> {
        let mut kept = self.lock();
        let sizes = bytes..=bytes.saturating_mul(SPARE);
        let fitting = kept.iter().enumerate().filter(|(_, buffer)| sizes.contains(&buffer.capacity()));
        let (index, _) = fitting.min_by_key(|(_, buffer)| buffer.capacity())?;
        Some(kept.swap_remove(index))
    }

    /// Keeps a buffer, as far as there is `room`, in bytes, for everything that is kept.
    pub(super) fn keep(&self, mut buffer: Vec<u8>, room: impl FnOnce() -> usize) {
        if buffer.capacity() < BUFFER_BYTES_MIN {
            return;
        }
        buffer.clear();
        let mut kept = self.lock();
        if bytes_of(&kept) + buffer.capacity() <= room().min(KEPT_BYTES_MAX) {
            kept.push(buffer);
        }
    }

    /// Gives up what there is no `room` for any more.
    pub(super) fn shrink_to(&self, room: impl FnOnce() -> usize) {
        let mut kept = self.lock();
        let mut excess = bytes_of(&kept).saturating_sub(room());
        while excess > 0
            && let Some(buffer) = kept.pop()
        {
            excess = excess.saturating_sub(buffer.capacity());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bytes_of(buffers: &[Vec<u8>]) -> usize {
    buffers.iter().map(Vec::capacity).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Buffers that were used, of these sizes, where there is room for `room` bytes.
    fn kept(sizes: &[usize], room: usize) -> Buffers {
        let buffers = Buffers::default();
        for size in sizes {
            let mut used = Vec::with_capacity(*size);
            used.push(7);
            buffers.keep(used, || room);
        }
        buffers
    }

    #[test]
    fn the_smallest_that_fits_is_taken_and_none_that_is_much_too_large() {
        let buffers = kept(&[400_000, 100_000, 200_000], usize::MAX);
        let taken = |bytes| buffers.take(bytes).map(|buffer| (buffer.len(), buffer.capacity()));
        assert_eq!(taken(90_000), Some((0, 100_000)));
        assert_eq!(taken(90_000), None);
        assert_eq!(taken(400_001), None);
        assert_eq!(taken(200_000), Some((0, 200_000)));
        assert_eq!(taken(200_000), Some((0, 400_000)));
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let buffers = kept(&[100_000; 5], 350_000);
        assert_eq!(bytes_of(&buffers.lock()), 300_000);
        buffers.shrink_to(|| 299_999);
        assert_eq!(bytes_of(&buffers.lock()), 200_000);
        buffers.shrink_to(|| 0);
        assert!(buffers.lock().is_empty());
        let buffers = kept(&[STEP_BYTES; 1000], usize::MAX);
        assert_eq!(bytes_of(&buffers.lock()), KEPT_BYTES_MAX);
    }

    #[test]
    fn what_a_server_begins_with_takes_a_part_of_the_room() {
        let wanted: usize = FIRST_SIZES.into_iter().map(|size| size * FIRST_COUNT).sum();
        assert_eq!(bytes_of(&Buffers::prepared(usize::MAX).lock()), wanted);
        assert_eq!(bytes_of(&Buffers::prepared(200_000).lock()), 3 * BUFFER_BYTES_MIN);
    }

    #[test]
    fn small_buffers_are_not_kept() {
        assert!(kept(&[BUFFER_BYTES_MIN - 1], usize::MAX).lock().is_empty());
    }
}
