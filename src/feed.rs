//! The chunks of all logs, one log after the other, and the threads that look at them.
//!
//! A thread takes the next chunk itself, so that it finds the bytes in its cache. There are only
//! so many chunks, so threads that are far ahead wait for those that are behind.
//!
//! **Invariant:** steps come in the order of the logs and of the chunks in them.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ingest::{Chunk, Chunks, Input, InputError};

use crate::examiner::{Detection, Examined, Examiner};

/// How many chunks each thread may be ahead of what is taken.
const AHEAD_MAX: usize = 2;
/// How often somebody who waits looks whether to go on waiting.
const WAIT: Duration = Duration::from_millis(100);

/// What is taken in order.
pub(crate) enum Step {
    /// A chunk of a log.
    Chunk(Input, Box<Examined>),
    /// A log that cannot be read.
    Unreadable(InputError),
}

/// The chunks of logs, in order.
struct Feed {
    inputs: std::vec::IntoIter<Input>,
    log: Option<(Input, Chunks<Box<dyn Read + Send>>)>,
    /// Chunks that are done with.
    rooms: Receiver<Chunk>,
    next_number: u64,
}

enum Piece {
    Chunk(Input, Chunk),
    Unreadable(InputError),
}

impl Feed {
    /// The next piece and its number; waits for a chunk that is done with.
    fn next(&mut self) -> Option<(u64, Piece)> {
        let piece = self.piece()?;
        self.next_number += 1;
        Some((self.next_number - 1, piece))
    }

    fn piece(&mut self) -> Option<Piece> {
        let (input, mut chunks) = if let Some(log) = self.log.take() {
            log
        } else {
            let input = self.inputs.next()?;
            match Chunks::open(&input) {
                Ok(chunks) => (input, chunks),
                Err(error) => return Some(Piece::Unreadable(error)),
            }
        };
        let chunk = chunks.next(self.rooms.recv().ok()?)?;
        if !chunk.is_last() {
            self.log = Some((input.clone(), chunks));
        }
        Some(Piece::Chunk(input, chunk))
    }
}

/// What threads share.
struct Shared {
    detection: Arc<Detection>,
    feed: Mutex<Feed>,
    /// False while what chunks hold cannot be known without reading those before them.
    is_read_ahead: AtomicBool,
}

impl Shared {
    /// Looks at the next chunk.
    fn step(&self, examiner: &mut Examiner) -> Option<(u64, Step)> {
        // A thread that failed has said so; what it left behind is of no use.
        let (number, piece) = self.feed.lock().ok()?.next()?;
        let step = match piece {
            Piece::Chunk(input, chunk) if self.is_read_ahead.load(Ordering::Relaxed) => {
                Step::Chunk(input, Box::new(examiner.examine(chunk)))
            }
            Piece::Chunk(input, chunk) => Step::Chunk(input, Box::new(Examined::unread(chunk))),
            Piece::Unreadable(error) => Step::Unreadable(error),
        };
        Some((number, step))
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
        steps: Receiver<Made>,
        /// Steps that came before their turn.
        early: BTreeMap<u64, Step>,
        next_number: u64,
    },
}

/// A step and its number; nothing if its thread failed.
type Made = Option<(u64, Step)>;

impl Steps {
    /// Reads `inputs` on `thread_count` threads, of which one is the caller's if it is the only one.
    pub(crate) fn new(
        inputs: Vec<Input>,
        detection: &Arc<Detection>,
        thread_count: usize,
        interrupted: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let (rooms, rooms_back) = channel();
        for _ in 0..(thread_count * (1 + AHEAD_MAX)) {
            let _ = rooms.send(Chunk::default());
        }
        let feed = Feed { inputs: inputs.into_iter(), log: None, rooms: rooms_back, next_number: 0 };
        let shared = Arc::new(Shared {
            detection: Arc::clone(detection),
            feed: Mutex::new(feed),
            is_read_ahead: AtomicBool::new(true),
        });
        let workers = if thread_count > 1 {
            let (made, steps) = channel();
            for _ in 0..thread_count {
                Worker { shared: Arc::clone(&shared), made: made.clone() }.spawn()?;
            }
            Workers::Threads { steps, early: BTreeMap::new(), next_number: 0 }
        } else {
            Workers::Here(Box::new(Examiner::new(Arc::clone(detection))))
        };
        Ok(Self { shared, rooms, interrupted, workers })
    }

    /// The next step; nothing at the end, or once somebody pressed Ctrl-C.
    pub(crate) fn next(&mut self) -> io::Result<Option<Step>> {
        match &mut self.workers {
            Workers::Here(examiner) => Ok(self.shared.step(examiner).map(|(_, step)| step)),
            Workers::Threads { steps, early, next_number } => loop {
                if let Some(step) = early.remove(next_number) {
                    *next_number += 1;
                    return Ok(Some(step));
                }
                if self.interrupted.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                match steps.recv_timeout(WAIT) {
                    Ok(Some((number, step))) => drop(early.insert(number, step)),
                    Ok(None) => return Err(io::Error::other("a thread failed")),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return Ok(None),
                }
            },
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

/// One thread. It ends with the process: one that waits for input cannot be woken.
struct Worker {
    shared: Arc<Shared>,
    made: Sender<Made>,
}

impl Worker {
    fn spawn(self) -> io::Result<()> {
        thread::Builder::new().name("examiner".to_owned()).spawn(move || self.work()).map(drop)
    }

    fn work(self) {
        let mut examiner = Examiner::new(Arc::clone(&self.shared.detection));
        while let Some(step) = self.shared.step(&mut examiner) {
            if self.made.send(Some(step)).is_err() {
                return;
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.made.send(None);
        }
    }
}
