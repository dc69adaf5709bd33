//! Threads that look at logs ahead of the one that takes what they found, in order.
//!
//! A thread takes the next piece itself, so that it finds the bytes in its cache.
//!
//! **Invariant:** steps come in the order of the logs and of what is in them; memory is bounded
//! by the chunks there are, and by [`AHEAD_BYTES_MAX`] for logs that are read as a whole.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use ingest::{Chunk, Input, InputError};

use crate::examiner::{Detection, Examined, Examiner, Part};
use crate::feed::{Feed, Piece};

/// How many chunks there are for each thread: one to read, and some that wait for their turn.
const CHUNKS_PER_THREAD: usize = 3;
/// How much of what was found may wait for its turn, in logs that threads read as a whole.
const AHEAD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How often somebody who waits looks whether to go on waiting.
const WAIT: Duration = Duration::from_millis(100);

/// What is taken in order.
pub(crate) enum Step {
    /// A chunk of a log.
    Chunk(Input, Box<Examined>),
    /// A part of a log that was read as a whole.
    Part(Input, Box<Part>),
    /// A log that cannot be read.
    Unreadable(InputError),
}

impl Step {
    /// True unless more steps of the same piece follow.
    fn is_last(&self) -> bool {
        match self {
            Self::Part(_, part) => part.is_last,
            Self::Chunk(..) | Self::Unreadable(_) => true,
        }
    }

    fn held_bytes(&self) -> usize {
        match self {
            Self::Part(_, part) => part.held_bytes,
            Self::Chunk(..) | Self::Unreadable(_) => 0,
        }
    }
}

/// What threads share.
struct Shared {
    detection: &'static Detection,
    feed: Mutex<Feed>,
    /// False while what chunks hold cannot be known without reading those before them.
    is_read_ahead: AtomicBool,
    turn: Turn,
}

impl Shared {
    /// Reads the next piece and gives what it holds to `give`, which says whether to go on;
    /// false when there is none.
    fn read(&self, examiner: &mut Examiner, mut give: impl FnMut(u64, Step) -> bool) -> bool {
        // A thread that failed has said so; what it left behind is of no use.
        let next = self.feed.lock().ok().and_then(|mut feed| feed.next());
        let Some((number, piece)) = next else { return false };
        match piece {
            Piece::Chunk(input, chunk) if self.is_read_ahead.load(Ordering::Relaxed) => {
                give(number, Step::Chunk(input, Box::new(examiner.examine(chunk))))
            }
            Piece::Chunk(input, chunk) => give(number, Step::Chunk(input, Box::new(Examined::unread(chunk)))),
            Piece::Log(input, log) => {
                examiner.read(*log, |part| give(number, Step::Part(input.clone(), Box::new(part))))
            }
            Piece::Unreadable(error) => give(number, Step::Unreadable(error)),
        }
    }
}

/// Whose turn it is, and how far the others are ahead.
struct Turn {
    state: Mutex<TurnState>,
    changed: Condvar,
    ahead_bytes_max: usize,
}

#[derive(Default)]
struct TurnState {
    /// The number of the piece that is taken.
    number: u64,
    /// By piece: what waits.
    held_bytes: BTreeMap<u64, usize>,
    /// What waits of all pieces.
    held_bytes_total: usize,
}

impl TurnState {
    /// Whether a piece holds too much, or all do together and it is not the one that is taken.
    /// Of that one something is taken next whenever it holds anything.
    fn is_ahead(&self, number: u64, piece_bytes_max: usize) -> bool {
        let held_bytes = self.held_bytes.get(&number).copied().unwrap_or(0);
        held_bytes > piece_bytes_max || self.number != number && self.held_bytes_total > AHEAD_BYTES_MAX
    }
}

impl Turn {
    fn new(thread_count: usize) -> Self {
        let ahead_bytes_max = AHEAD_BYTES_MAX / thread_count.max(1);
        Self { state: Mutex::default(), changed: Condvar::new(), ahead_bytes_max }
    }

    /// Waits until more of a piece may be held; false if somebody failed.
    fn hold(&self, number: u64, bytes: usize) -> bool {
        let Ok(state) = self.state.lock() else { return false };
        let is_ahead = |state: &mut TurnState| state.is_ahead(number, self.ahead_bytes_max);
        let Ok(mut state) = self.changed.wait_while(state, is_ahead) else { return false };
        *state.held_bytes.entry(number).or_default() += bytes;
        state.held_bytes_total += bytes;
        true
    }

    /// Notes that a step of a piece has been taken, and whether it was the last.
    fn pass(&self, number: u64, bytes: usize, is_last: bool) {
        let Ok(mut state) = self.state.lock() else { return };
        state.held_bytes_total = state.held_bytes_total.saturating_sub(bytes);
        if is_last {
            state.held_bytes.remove(&number);
            state.number = number + 1;
        } else if let Some(held_bytes) = state.held_bytes.get_mut(&number) {
            *held_bytes = held_bytes.saturating_sub(bytes);
        }
        self.changed.notify_all();
    }
}

/// Where steps come from, in order.
pub(crate) struct Steps {
    shared: Arc<Shared>,
    rooms: Sender<Chunk>,
    interrupted: Arc<AtomicBool>,
    workers: Workers,
}

enum Workers {
    /// Whoever takes the steps makes them.
    Here(Box<Examiner>),
    Threads {
        made: Receiver<Made>,
        /// Steps that came before their turn, by the number of their piece.
        early: BTreeMap<u64, VecDeque<Step>>,
        next_number: u64,
    },
}

/// A step and the number of its piece; nothing if its thread failed.
type Made = Option<(u64, Step)>;

impl Steps {
    /// Reads `inputs` on `thread_count` threads beside the caller's, or on the caller's alone
    /// if it is to be one.
    pub(crate) fn new(
        inputs: Vec<Input>,
        detection: &'static Detection,
        thread_count: usize,
        interrupted: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let (rooms, rooms_back) = channel();
        let chunk_count = if thread_count > 1 { thread_count * CHUNKS_PER_THREAD } else { 1 };
        for _ in 0..chunk_count {
            let _ = rooms.send(Chunk::default());
        }
        let feed = Feed::new(inputs, rooms_back);
        let shared = Arc::new(Shared {
            detection,
            feed: Mutex::new(if thread_count > 1 { feed.with_whole_logs() } else { feed }),
            is_read_ahead: AtomicBool::new(true),
            turn: Turn::new(thread_count),
        });
        let workers = if thread_count > 1 {
            Workers::Threads { made: start(&shared, thread_count)?, early: BTreeMap::new(), next_number: 0 }
        } else {
            Workers::Here(Box::new(Examiner::new(detection)))
        };
        Ok(Self { shared, rooms, interrupted, workers })
    }

    /// The next step; nothing at the end, or once somebody pressed Ctrl-C.
    pub(crate) fn next(&mut self) -> io::Result<Option<Step>> {
        match &mut self.workers {
            Workers::Here(examiner) => {
                let mut next = None;
                self.shared.read(examiner, |_, step| next.replace(step).is_none());
                Ok(next)
            }
            Workers::Threads { made, early, next_number } => {
                while early.get(next_number).is_none_or(VecDeque::is_empty) {
                    if self.interrupted.load(Ordering::Relaxed) {
                        return Ok(None);
                    }
                    match made.recv_timeout(WAIT) {
                        Ok(Some((number, step))) => early.entry(number).or_default().push_back(step),
                        Ok(None) => return Err(io::Error::other("a thread failed")),
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => return Ok(None),
                    }
                }
                let step = early.get_mut(next_number).and_then(VecDeque::pop_front);
                let is_last = step.as_ref().is_some_and(Step::is_last);
                self.shared.turn.pass(*next_number, step.as_ref().map_or(0, Step::held_bytes), is_last);
                if is_last {
                    early.remove(next_number);
                    *next_number += 1;
                }
                Ok(step)
            }
        }
    }

    /// Takes back a chunk that is done with.
    pub(crate) fn give_back(&self, chunk: Chunk) {
        // Nobody is there to take it once everything has been read.
        let _ = self.rooms.send(chunk);
    }

    /// Whether chunks are looked at before those before them have been taken.
    pub(crate) fn read_ahead(&self, is_read_ahead: bool) {
        self.shared.is_read_ahead.store(is_read_ahead, Ordering::Relaxed);
    }
}

fn start(shared: &Arc<Shared>, thread_count: usize) -> io::Result<Receiver<Made>> {
    let (made, taken) = channel();
    for _ in 0..thread_count {
        let worker = Worker { shared: Arc::clone(shared), made: made.clone() };
        thread::Builder::new().name("examiner".to_owned()).spawn(move || worker.work())?;
    }
    Ok(taken)
}

/// One thread. It ends with the process: one that waits for input cannot be woken.
struct Worker {
    shared: Arc<Shared>,
    made: Sender<Made>,
}

impl Worker {
    fn work(self) {
        let mut examiner = Examiner::new(self.shared.detection);
        let give = |number, step: Step| {
            self.shared.turn.hold(number, step.held_bytes()) && self.made.send(Some((number, step))).is_ok()
        };
        while self.shared.read(&mut examiner, give) {}
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.made.send(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AHEAD_BYTES_MAX, Turn};

    #[test]
    fn what_waits_is_bounded_however_many_logs_it_is_of() {
        let turn = Turn::new(8);
        let is_ahead = |number| turn.state.lock().unwrap().is_ahead(number, turn.ahead_bytes_max);
        let piece_bytes = AHEAD_BYTES_MAX / 16;
        (1..=16).for_each(|number| assert!(turn.hold(number, piece_bytes)));
        assert!(!is_ahead(17));
        assert!(turn.hold(17, 1));
        assert!(is_ahead(18), "no piece holds much, but all do");
        assert!(!is_ahead(0), "whose turn it is need not wait for others");
        turn.pass(0, 0, true);
        assert!(!is_ahead(1));
        turn.pass(1, piece_bytes, true);
        assert!(!is_ahead(18));
    }

    #[test]
    fn whoever_is_slow_to_take_what_was_found_is_waited_for() {
        let turn = Turn::new(2);
        assert!(turn.hold(0, AHEAD_BYTES_MAX));
        let is_ahead = || turn.state.lock().unwrap().is_ahead(0, turn.ahead_bytes_max);
        assert!(is_ahead());
        turn.pass(0, AHEAD_BYTES_MAX, false);
        assert!(!is_ahead());
    }
}
