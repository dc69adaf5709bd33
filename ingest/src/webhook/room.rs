//! How much is in hand, so that no more is taken than can be held, and nobody takes what the
//! others need.
//!
//! Of everything there is only so much, and nobody may hold more of it than is left for the
//! others. So one party alone has half of it at the most, and whoever comes next always finds
//! something.
//!
//! **Invariant:** room is taken or refused, never waited for: what waits would have to be held.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::buffers::Buffers;
use super::{Limits, Party, Refusal, Scarce};

/// What memory is counted in.
const UNIT_BYTES: usize = 1024;

/// The part of the memory for bodies that is touched before any comes.
const WARM_SHARE: usize = 8;

/// The room that all requests share.
pub(super) struct Room {
    memory: Arc<Stock>,
    buffers: Arc<Buffers>,
    requests: Arc<Stock>,
    streams: Arc<Stock>,
}

impl Room {
    pub(super) fn new(limits: &Limits) -> Self {
        // One body that is collected may always be held, as far as there is room at all.
        let body_units = limits.collected_bytes_max.div_ceil(UNIT_BYTES);
        let memory_units = limits.memory_bytes_max / UNIT_BYTES;
        Self {
            memory: Stock::new(Scarce::Memory, memory_units, body_units),
            buffers: Arc::new(Buffers::prepared(limits.memory_bytes_max / WARM_SHARE)),
            requests: Stock::new(Scarce::Requests, limits.requests_max, 1),
            streams: Stock::new(Scarce::Streams, limits.streams_max, 1),
        }
    }

    /// Refuses what could not be taken if it came at once.
    pub(super) fn expect(&self, party: &Party, bytes: usize) -> Result<(), Refusal> {
        self.memory.lock().check(&self.memory, party, bytes.div_ceil(UNIT_BYTES))?;
        self.requests.lock().check(&self.requests, party, 1)
    }

    /// No memory yet.
    pub(super) fn memory(&self, party: &Party) -> Memory {
        Memory { share: self.memory.nothing(party), buffers: Arc::clone(&self.buffers) }
    }

    /// Room for judging one body.
    pub(super) fn request(&self, party: &Party) -> Result<Share, Refusal> {
        self.requests.one(party)
    }

    /// Room for one body that is judged as it arrives.
    pub(super) fn stream(&self, party: &Party) -> Result<Share, Refusal> {
        self.streams.one(party)
    }
}

/// Something of which there is only so much.
struct Stock {
    what: Scarce,
    /// Up to here a party may hold whatever is free.
    floor: usize,
    state: Mutex<State>,
}

/// Who holds how much; parties that hold nothing are not remembered.
struct State {
    free: usize,
    held: HashMap<Party, usize>,
}

impl Stock {
    fn new(what: Scarce, count: usize, floor: usize) -> Arc<Self> {
        Arc::new(Self { what, floor, state: Mutex::new(State { free: count, held: HashMap::new() }) })
    }

    fn nothing(self: &Arc<Self>, party: &Party) -> Share {
        Share { stock: Arc::clone(self), party: party.clone(), count: 0 }
    }

    fn one(self: &Arc<Self>, party: &Party) -> Result<Share, Refusal> {
        let mut share = self.nothing(party);
        share.grow_to(1)?;
        Ok(share)
    }

    fn free(&self) -> usize {
        self.lock().free
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Refuses what is not there, and what would leave less for the others than the party holds.
    fn check(&self, stock: &Stock, party: &Party, count: usize) -> Result<(), Refusal> {
        let left = self.free.checked_sub(count).ok_or(Refusal::Full(stock.what))?;
        let held = self.held.get(party).copied().unwrap_or(0).saturating_add(count);
        if held <= left.max(stock.floor) { Ok(()) } else { Err(Refusal::Share(stock.what)) }
    }
}

/// What a party holds of something; given back when dropped.
pub(super) struct Share {
    stock: Arc<Stock>,
    party: Party,
    count: usize,
}

impl Share {
    /// Takes what is missing to `count`.
    fn grow_to(&mut self, count: usize) -> Result<(), Refusal> {
        let missing = count.saturating_sub(self.count);
        if missing == 0 {
            return Ok(());
        }
        let mut state = self.stock.lock();
        state.check(&self.stock, &self.party, missing)?;
        state.free -= missing;
        *state.held.entry(self.party.clone()).or_default() += missing;
        self.count += missing;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.stock.lock();
        state.free += self.count;
        if let Some(held) = state.held.get_mut(&self.party) {
            *held = held.saturating_sub(self.count);
            if *held == 0 {
                state.held.remove(&self.party);
            }
        }
    }
}

/// Memory that a body has taken; given back when dropped.
pub(super) struct Memory {
    share: Share,
    /// What is kept here is free to be taken by anybody, and given up for whoever finds nothing in it.
    buffers: Arc<Buffers>,
}

impl Memory {
    /// None yet, for the same party.
    pub(super) fn another(&self) -> Self {
        Self { share: self.share.stock.nothing(&self.share.party), buffers: Arc::clone(&self.buffers) }
    }

    /// Gives a buffer room for `capacity` bytes or some more.
    pub(super) fn grow(&mut self, buffer: &mut Vec<u8>, capacity: usize) -> Result<(), Refusal> {
        self.grow_to(capacity)?;
        let mut larger = self.larger(capacity);
        larger.extend_from_slice(buffer);
        self.buffers.keep(std::mem::replace(buffer, larger), || self.share.stock.free() * UNIT_BYTES);
        Ok(())
    }

    /// An empty buffer for `capacity` bytes, which have been taken.
    fn larger(&mut self, capacity: usize) -> Vec<u8> {
        let kept = self.buffers.take(capacity);
        if let Some(kept) = kept.filter(|kept| self.grow_to(kept.capacity()).is_ok()) {
            return kept;
        }
        let rounded = Some(Buffers::rounded(capacity)).filter(|rounded| self.grow_to(*rounded).is_ok());
        self.buffers.shrink_to(|| self.share.stock.free() * UNIT_BYTES);
        Vec::with_capacity(rounded.unwrap_or(capacity))
    }

    /// Keeps a buffer for others, whose memory this is and which is about to be given back.
    pub(super) fn keep(&self, buffer: Vec<u8>) {
        self.buffers.keep(buffer, || (self.share.stock.free() + self.share.count) * UNIT_BYTES);
    }

    /// Takes what is missing to `bytes`.
    fn grow_to(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.share.grow_to(bytes.div_ceil(UNIT_BYTES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(name: &str) -> Party {
        Party::Cluster(name.into())
    }

    #[test]
    fn memory_is_taken_refused_and_given_back() {
        let room = Room::new(&Limits { memory_bytes_max: 4096, ..Limits::default() });
        let alone = party("alone");
        let mut memory = room.memory(&alone);
        assert_eq!(memory.grow_to(1), Ok(()));
        assert_eq!(memory.grow_to(4096), Ok(()));
        assert_eq!(room.memory(&alone).grow_to(1), Err(Refusal::Full(Scarce::Memory)));
        assert_eq!(room.expect(&alone, 1), Err(Refusal::Full(Scarce::Memory)));
        assert_eq!(memory.grow_to(4097), Err(Refusal::Full(Scarce::Memory)));
        drop(memory);
        assert_eq!(room.expect(&alone, 4096), Ok(()));
        assert!(room.memory.lock().held.is_empty());
    }

    #[test]
    fn a_buffer_that_is_kept_is_the_next_ones() {
        let room = Room::new(&Limits { memory_bytes_max: 8 << 20, ..Limits::default() });
        let mut memory = room.memory(&party("one"));
        let mut buffer = vec![1, 2, 3];
        assert_eq!(memory.grow(&mut buffer, 1_000_000), Ok(()));
        assert_eq!((&*buffer, buffer.capacity()), (&[1, 2, 3][..], 1 << 20));
        assert_eq!(memory.share.count * UNIT_BYTES, 1 << 20);
        let place = buffer.as_ptr().addr();
        memory.keep(buffer);
        drop(memory);
        let (mut memory, mut buffer) = (room.memory(&party("other")), vec![4]);
        assert_eq!(memory.grow(&mut buffer, 600_000), Ok(()));
        assert_eq!((&*buffer, buffer.as_ptr().addr()), (&[4][..], place));
        assert_eq!(memory.share.count * UNIT_BYTES, 1 << 20);
    }

    #[test]
    fn what_is_kept_is_given_up_for_what_is_asked_for() {
        let limits = Limits { memory_bytes_max: 1 << 20, collected_bytes_max: 1 << 20, ..Limits::default() };
        let room = Room::new(&limits);
        let mut memory = room.memory(&party("one"));
        let mut buffer = Vec::new();
        assert_eq!(memory.grow(&mut buffer, 700 << 10), Ok(()));
        memory.keep(buffer);
        drop(memory);
        // That buffer is too small, and in the way.
        let (mut memory, mut buffer) = (room.memory(&party("one")), Vec::new());
        assert_eq!(memory.grow(&mut buffer, 1000 << 10), Ok(()));
        assert!(room.buffers.take(700 << 10).is_none());
        assert_eq!(memory.grow(&mut buffer, (1 << 20) + 1), Err(Refusal::Full(Scarce::Memory)));
    }

    #[test]
    fn requests_are_refused_beyond_the_limit() {
        let room = Room::new(&Limits { requests_max: 1, ..Limits::default() });
        let request = room.request(&party("one"));
        assert!(request.is_ok());
        assert_eq!(room.expect(&party("two"), 0), Err(Refusal::Full(Scarce::Requests)));
        assert!(room.request(&party("two")).is_err());
    }

    #[test]
    fn nobody_holds_more_than_is_left_for_others() {
        let room = Room::new(&Limits { requests_max: 16, ..Limits::default() });
        let (mut held, mut counts) = (Vec::new(), Vec::new());
        for name in ["greedy", "as greedy", "late", "later", "the last"] {
            let before = held.len();
            held.extend(std::iter::from_fn(|| room.request(&party(name)).ok()));
            counts.push(held.len() - before);
        }
        assert_eq!(counts, [8, 4, 2, 1, 1]);
        drop(held);
        let taken = room.request(&party("greedy")).is_ok();
        assert!(taken && room.requests.lock().held.is_empty());
    }

    #[test]
    fn one_party_leaves_half_of_the_memory() {
        let limits = Limits { memory_bytes_max: 64 << 10, collected_bytes_max: 4 << 10, ..Limits::default() };
        let room = Room::new(&limits);
        let mut greedy = room.memory(&party("greedy"));
        assert_eq!(greedy.grow_to(32 << 10), Ok(()));
        assert_eq!(greedy.grow_to(33 << 10), Err(Refusal::Share(Scarce::Memory)));
        assert_eq!(room.expect(&party("greedy"), 1), Err(Refusal::Share(Scarce::Memory)));
        assert_eq!(room.expect(&party("other"), 16 << 10), Ok(()));
    }
}
