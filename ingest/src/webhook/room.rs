//! How much is in hand, so that no more is taken than can be held.
//!
//! **Invariant:** room is taken or refused, never waited for: what waits would have to be held.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Limits, Refusal};

/// What memory is counted in.
const UNIT_BYTES: usize = 1024;

/// The room that all requests share.
pub(super) struct Room {
    memory: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

impl Room {
    pub(super) fn new(limits: &Limits) -> Self {
        let semaphore = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        Self {
            memory: semaphore(limits.memory_bytes_max / UNIT_BYTES),
            requests: semaphore(limits.requests_max),
            streams: semaphore(limits.streams_max),
        }
    }

    /// Refuses what could not be taken if it came at once.
    pub(super) fn expect(&self, bytes: usize) -> Result<(), Refusal> {
        let has_memory = self.memory.available_permits() >= bytes.div_ceil(UNIT_BYTES);
        if has_memory && self.requests.available_permits() > 0 { Ok(()) } else { Err(Refusal::Busy) }
    }

    /// No memory yet.
    pub(super) fn memory(&self) -> Memory {
        Memory { all: Arc::clone(&self.memory), taken: None }
    }

    /// Room for judging one body.
    pub(super) fn request(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        take(&self.requests, 1)
    }

    /// Room for one body that is judged as it arrives.
    pub(super) fn stream(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        take(&self.streams, 1)
    }
}

fn take(semaphore: &Arc<Semaphore>, count: u32) -> Result<OwnedSemaphorePermit, Refusal> {
    Arc::clone(semaphore).try_acquire_many_owned(count).map_err(|_| Refusal::Busy)
}

/// Memory that a body has taken; given back when dropped.
pub(super) struct Memory {
    all: Arc<Semaphore>,
    taken: Option<OwnedSemaphorePermit>,
}

impl Memory {
    /// Takes what is missing to `bytes`.
    pub(super) fn grow_to(&mut self, bytes: usize) -> Result<(), Refusal> {
        let taken = self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = bytes.div_ceil(UNIT_BYTES).saturating_sub(taken);
        let more = take(&self.all, u32::try_from(missing).unwrap_or(u32::MAX))?;
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            None => self.taken = Some(more),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_taken_refused_and_given_back() {
        let room = Room::new(&Limits { memory_bytes_max: 4096, ..Limits::default() });
        let mut memory = room.memory();
        assert_eq!(memory.grow_to(1), Ok(()));
        assert_eq!(memory.grow_to(4096), Ok(()));
        assert_eq!(room.memory().grow_to(1), Err(Refusal::Busy));
        assert_eq!(room.expect(1), Err(Refusal::Busy));
        assert_eq!(memory.grow_to(4097), Err(Refusal::Busy));
        drop(memory);
        assert_eq!(room.expect(4096), Ok(()));
    }

    #[test]
    fn requests_are_refused_beyond_the_limit() {
        let room = Room::new(&Limits { requests_max: 1, ..Limits::default() });
        let request = room.request();
        assert!(request.is_ok());
        assert_eq!(room.expect(0), Err(Refusal::Busy));
        assert!(room.request().is_err());
    }
}
