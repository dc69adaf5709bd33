//! What is to be read: the logs one after the other, in chunks or as a whole.
//!
//! There are only so many chunks, used over and over; who wants one waits until one is done with.

use std::io::Read;
use std::sync::mpsc::Receiver;

use ingest::decode::Compression;
use ingest::{Chunk, Chunks, EVENT_BYTES_MAX, Input, InputError, Log};

/// A log that is cut.
type Cut = (Input, Chunks<Box<dyn Read + Send>>);

/// The logs, in order.
pub(crate) struct Feed {
    inputs: std::vec::IntoIter<Input>,
    /// The log that is being cut.
    log: Option<Cut>,
    /// Chunks that are done with.
    rooms: Receiver<Chunk>,
    /// Whether a compressed log is read by one thread: decoding takes longest, and is done in order.
    has_whole_logs: bool,
    next_number: u64,
}

/// What one thread reads.
pub(crate) enum Piece {
    Chunk(Input, Chunk),
    Log(Input, Box<Log>),
    Unreadable(InputError),
}

impl Feed {
    /// All of `inputs` in chunks, which come from `rooms`.
    pub(crate) fn new(inputs: Vec<Input>, rooms: Receiver<Chunk>) -> Self {
        Self { inputs: inputs.into_iter(), log: None, rooms, has_whole_logs: false, next_number: 0 }
    }

    /// The same, with compressed logs as a whole if there are several logs.
    pub(crate) fn with_whole_logs(self) -> Self {
        Self { has_whole_logs: self.inputs.len() > 1, ..self }
    }

    /// The next piece and its number; waits for a chunk that is done with.
    pub(crate) fn next(&mut self) -> Option<(u64, Piece)> {
        let piece = self.piece()?;
        self.next_number += 1;
        Some((self.next_number - 1, piece))
    }

    fn piece(&mut self) -> Option<Piece> {
        let next = self.log.take().map(Ok);
        match next.or_else(|| self.open())? {
            Ok(log) => self.cut(log),
            Err(piece) => Some(piece),
        }
    }

    /// The next log, unless it is not read in chunks.
    fn open(&mut self) -> Option<Result<Cut, Piece>> {
        let input = self.inputs.next()?;
        let decoded = match input.open_decoded() {
            Ok(decoded) => decoded,
            Err(error) => return Some(Err(Piece::Unreadable(error))),
        };
        // What is no file may come slowly, and is told as it comes.
        let is_whole = decoded.compression() != Compression::None && input.stored_bytes().is_some();
        if self.has_whole_logs && is_whole {
            let log = Log::with_decoded(&input, decoded, EVENT_BYTES_MAX);
            return Some(Err(Piece::Log(input, Box::new(log))));
        }
        let chunks = Chunks::of(&input, decoded);
        Some(Ok((input, chunks)))
    }

    fn cut(&mut self, (input, mut chunks): Cut) -> Option<Piece> {
        let chunk = chunks.next(self.rooms.recv().ok()?)?;
        if !chunk.is_last() {
            self.log = Some((input.clone(), chunks));
        }
        Some(Piece::Chunk(input, chunk))
    }
}
