//! Brings the bytes of a body from a connection to whoever judges them.
//!
//! Up to a limit a body is collected first, so that a slow client costs memory and no thread;
//! a larger one goes piece by piece to a reader on another thread.
//!
//! **Invariant:** what the reader takes for the end is the end: whatever else ends a body is an
//! error of the reader, also if nobody is left to say so.

use std::io::{self, Read};
use std::time::Duration;

use axum::body::{BodyDataStream, HttpBody};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::rate::Rate;
use super::room::Memory;
use super::{Limits, Refusal};
use crate::Frames;
use crate::decode::Compression;

/// How many pieces of a body may wait for the reader; a piece is at most what is read from a
/// connection at once, 32 KiB.
const PIECES_MAX: usize = 16;

/// The room that a body of unknown size begins with.
const FIRST_BYTES: usize = 16 * 1024;

/// How many times its size the room becomes when it is full: each time what has come is copied, and until
/// the rest comes the room is held for nothing. Twice as much where that is all of the body.
const GROWTH: usize = 4;

/// How much is read of a body that nobody wants, and for how long: what HTTP/2 lets a client send unasked.
const DISCARDED_BYTES_MAX: usize = 1024 * 1024;
const DISCARDING_MAX: Duration = Duration::from_secs(1);

/// Reads a body that nobody wants, if it is short and comes at once; true at its end.
pub(super) async fn discard(body: axum::body::Body) -> bool {
    let mut stream = body.into_data_stream();
    let mut room_bytes = DISCARDED_BYTES_MAX;
    let read = async {
        loop {
            match stream.next().await {
                None => return true,
                Some(Ok(piece)) if piece.len() <= room_bytes => room_bytes -= piece.len(),
                Some(_) => return false,
            }
        }
    };
    timeout(DISCARDING_MAX, read).await.unwrap_or(false)
}

/// Why a body could not be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The client went away.
    #[error("the connection ended in the middle of the body")]
    Disconnected,
    /// The client paused too long, or was too slow.
    #[error("the body came too slowly")]
    Slow,
    /// It is larger than the limit.
    #[error("a body of more than {bytes_max} bytes")]
    TooLong {
        /// The limit.
        bytes_max: u64,
    },
    /// It unfolds to more than the limit.
    #[error("a body that unfolds to more than {bytes_max} bytes")]
    Unfolds {
        /// The limit, or what the ratio allows.
        bytes_max: u64,
    },
}

impl BodyError {
    /// The reason inside the error of a [`Body`](super::Body)'s reader, if it has one.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }

    /// True if the rest may come when the body is sent again, so that nothing of it must be
    /// taken for what it lacks; false if sending it again changes nothing.
    pub fn is_incomplete(self) -> bool {
        matches!(self, Self::Disconnected | Self::Slow)
    }
}

impl From<BodyError> for io::Error {
    fn from(error: BodyError) -> Self {
        Self::other(error)
    }
}

/// A body that is arriving, within its limits.
pub(super) struct Arrival {
    stream: BodyDataStream,
    pause_max: Duration,
    rate: Rate,
    bytes_max: u64,
    received_bytes: u64,
    /// How much there must be, if that was said.
    length: Option<u64>,
}

impl Arrival {
    pub(super) fn new(body: axum::body::Body, limits: &Limits) -> Self {
        Self {
            length: body.size_hint().exact(),
            stream: body.into_data_stream(),
            pause_max: limits.body_pause_max,
            rate: Rate::new(limits),
            bytes_max: limits.body_bytes_max,
            received_bytes: 0,
        }
    }

    /// The next piece; nothing at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        let start = Instant::now();
        let piece = timeout(self.pause_max, self.stream.next()).await.map_err(|_| BodyError::Slow)?;
        let waited = start.elapsed();
        let Some(piece) = piece else {
            // A stream of HTTP/2 that is reset without an error ends like one that is complete.
            let is_all = self.length.is_none_or(|length| length <= self.received_bytes);
            return if is_all { Ok(None) } else { Err(BodyError::Disconnected) };
        };
        let piece = piece.map_err(|_| BodyError::Disconnected)?;
        self.received_bytes += piece.len() as u64;
        if self.received_bytes > self.bytes_max {
            return Err(BodyError::TooLong { bytes_max: self.bytes_max });
        }
        if self.rate.is_slow(waited, piece.len()) { Err(BodyError::Slow) } else { Ok(Some(piece)) }
    }

    /// Passes on what is still to come, until it has (true) or nobody wants more (false).
    pub(super) async fn pass_on(mut self, pieces: mpsc::Sender<Piece>) -> Result<bool, BodyError> {
        loop {
            let next = tokio::select! {
                biased;
                next = self.next() => next,
                () = pieces.closed() => return Ok(false),
            };
            let (piece, end) = match next {
                Ok(Some(bytes)) => (Piece::Bytes(bytes), None),
                Ok(None) => (Piece::End, Some(Ok(true))),
                Err(error) => (Piece::Failure(error), Some(Err(error))),
            };
            let is_wanted = pieces.send(piece).await.is_ok();
            if let Some(end) = end {
                return end;
            }
            if !is_wanted {
                return Ok(false);
            }
        }
    }
}

/// What has been received of a body.
pub(super) enum Received {
    /// All of it.
    Whole(Stored),
    /// As much as is collected, and the rest that is arriving.
    Part(Stored, mpsc::Sender<Piece>, Arrival),
}

/// Collects a body up to `collected_bytes_max`.
pub(super) async fn collect(
    mut arrival: Arrival,
    mut memory: Memory,
    length: Option<u64>,
    limits: &Limits,
) -> Result<Received, Refusal> {
    let collected_bytes_max = limits.collected_bytes_max;
    let length = length.map_or(FIRST_BYTES, |length| usize::try_from(length).unwrap_or(usize::MAX));
    let mut bytes = Vec::new();
    loop {
        if length > collected_bytes_max || bytes.len() > collected_bytes_max {
            let (pieces, rest) = mpsc::channel(PIECES_MAX);
            return Ok(Received::Part(Stored::new(bytes, Some(rest), memory), pieces, arrival));
        }
        match arrival.next().await {
            Ok(Some(piece)) => {
                make_room(&mut bytes, piece.len(), length, &mut memory)?;
                bytes.extend_from_slice(&piece);
            }
            Ok(None) => return Ok(Received::Whole(Stored::new(bytes, None, memory))),
            Err(error) if error.is_incomplete() => return Err(Refusal::Incomplete),
            Err(error) => return Ok(Received::Whole(Stored::failing(bytes, error, memory))),
        }
    }
}

/// Grows `bytes` for `more`, to several times its size, but not past `length` before that much has come. Where
/// that leaves less than half of `length`, all of it: otherwise most would be copied once more for a small rest.
fn make_room(bytes: &mut Vec<u8>, more: usize, length: usize, memory: &mut Memory) -> Result<(), Refusal> {
    let needed = bytes.len() + more;
    if needed <= bytes.capacity() {
        return Ok(());
    }
    let grown = (bytes.capacity() * GROWTH).max(FIRST_BYTES);
    let is_nearly_all = needed <= length && length <= grown.saturating_mul(2);
    let capacity = if is_nearly_all { length } else { grown.max(needed) };
    memory.grow(bytes, capacity)
}

/// What goes to the reader of a body that is arriving.
pub(super) enum Piece {
    Bytes(Bytes),
    End,
    Failure(BodyError),
}

/// The bytes of a body as they were sent. Reading may wait for more, so it is for a thread that
/// may block.
pub(super) struct Stored {
    /// What was collected, and how far it has been read.
    collected: Vec<u8>,
    read_bytes: usize,
    /// The piece behind it that is being read.
    piece: Bytes,
    rest: Option<mpsc::Receiver<Piece>>,
    failure: Option<BodyError>,
    /// What was collected lies in it.
    memory: Memory,
}

impl Stored {
    pub(super) fn new(bytes: Vec<u8>, rest: Option<mpsc::Receiver<Piece>>, memory: Memory) -> Self {
        Self { collected: bytes, read_bytes: 0, piece: Bytes::new(), rest, failure: None, memory }
    }

    fn failing(bytes: Vec<u8>, failure: BodyError, memory: Memory) -> Self {
        let mut stored = Self::new(bytes, None, memory);
        stored.failure = Some(failure);
        stored
    }

    /// True if the client was not let send the rest.
    pub(super) fn is_cut(&self) -> bool {
        self.failure.is_some()
    }

    /// True if it is all there and in plain text: nothing is to be waited for or undone.
    pub(super) fn is_whole(&self) -> bool {
        self.is_all() && !self.is_compressed()
    }

    /// True if it is all there and compressed: nothing is to be waited for.
    pub(super) fn is_packed(&self) -> bool {
        self.is_all() && self.is_compressed()
    }

    /// What was collected of it.
    pub(super) fn collected(&self) -> &[u8] {
        &self.collected
    }

    /// The memory that it has taken.
    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    fn is_all(&self) -> bool {
        self.rest.is_none() && !self.is_cut()
    }

    fn is_compressed(&self) -> bool {
        Compression::of(&self.collected) != Compression::None
    }

    /// Waits for the next piece; false at the end.
    fn advance(&mut self) -> Result<bool, BodyError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let Some(rest) = &mut self.rest else { return Ok(false) };
        match rest.blocking_recv() {
            Some(Piece::Bytes(bytes)) => self.piece = bytes,
            Some(Piece::End) => self.rest = None,
            Some(Piece::Failure(error)) => self.failure = Some(error),
            None => self.failure = Some(BodyError::Disconnected),
        }
        Ok(true)
    }
}

/// A body of plain text, or what one holds that was compressed, in memory.
pub struct Whole(Stored);

impl Whole {
    /// The body, which [`Stored::is_whole`].
    pub(super) fn new(stored: Stored) -> Self {
        Self(stored)
    }

    /// The frames of the body, items up to `event_bytes_max`; the room that it takes is given back with
    /// them.
    pub fn into_frames(mut self, event_bytes_max: usize) -> Frames<Self> {
        let bytes = std::mem::take(&mut self.0.collected);
        Frames::of_bytes(bytes, self, event_bytes_max)
    }

    /// Gives back the room that a body takes, whose frames have been read, and keeps its buffer for another.
    pub fn finish(frames: Frames<Self>) {
        let (bytes, mut whole) = frames.into_parts();
        whole.0.collected = bytes;
    }
}

impl Read for Whole {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.0.read(room)
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.memory.keep(std::mem::take(&mut self.collected));
    }
}

impl Read for Stored {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let mut collected = self.collected.get(self.read_bytes..).unwrap_or_default();
        if !collected.is_empty() {
            let count = collected.read(room)?;
            self.read_bytes += count;
            return Ok(count);
        }
        while self.piece.is_empty() {
            if !self.advance()? {
                return Ok(0);
            }
        }
        let taken = self.piece.split_to(self.piece.len().min(room.len()));
        // Invariant: `taken` is no longer than `room`.
        room[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::Party;
    use crate::webhook::room::Room;

    /// What hyper gives at once.
    const PIECE_BYTES: usize = 32 * 1024;

    #[test]
    fn a_body_is_copied_less_than_once_more_and_holds_little_for_nothing() {
        let limits = Limits::default();
        for length in [1, 100_000, 500_000, 1_050_000, 1_500_000, 2_500_000, limits.collected_bytes_max] {
            let mut memory = Room::new(&limits).memory(&Party::Cluster("lab".into()));
            let (mut bytes, mut copied_bytes) = (Vec::new(), 0);
            while bytes.len() < length {
                let (came, piece) = (bytes.len(), PIECE_BYTES.min(length - bytes.len()));
                let capacity = bytes.capacity();
                make_room(&mut bytes, piece, length, &mut memory).unwrap();
                if bytes.capacity() != capacity {
                    copied_bytes += came;
                    // A buffer that was kept may be twice as large.
                    let held_max = 2 * 2 * GROWTH * (came + piece);
                    assert!(bytes.capacity() <= held_max, "{} of {length}", bytes.capacity());
                }
                bytes.resize(came + piece, 7);
            }
            assert!(copied_bytes <= length * 2 / 3, "{copied_bytes} of {length}");
        }
    }
}
