//! Reads chunks of a stream on their own, and finds out whether that was right.
//!
//! A chunk is read as if a stream between two items went on with it. That holds if the chunk
//! before it was itself read rightly and ended between two items; what decides an item must
//! not have been looked for beyond the end of its chunk. [`Standing::behind`] judges this
//! in the order of the stream. Where it does not hold, [`OngoingFrames`] read on from the last
//! place that is known, through as many chunks as it takes.
//!
//! **Invariant:** chunks that were read rightly give the frames of the whole stream.

use std::io::{self, Empty, Read};
use std::sync::Arc;

use super::buffer::Buffer;
use super::scanning::vain_bytes_max;
use super::values::Before;
use super::{Frame, Frames, State};
use crate::chunks::Chunk;
use crate::counts::Counts;

/// A place between two items of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    line: u64,
    offset: u64,
    /// Bytes that were scanned in vain before.
    vain_bytes: u64,
    event_bytes_max: usize,
}

impl Standing {
    /// The beginning of a stream with items up to `event_bytes_max`.
    pub fn at_start(event_bytes_max: usize) -> Self {
        Self { line: 1, offset: 0, vain_bytes: 0, event_bytes_max }
    }

    /// The line, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The place behind a chunk that begins here and was read on its own; nothing if it
    /// was read wrongly, or if nobody can tell.
    pub fn behind(self, end: &ChunkEnd) -> Option<Self> {
        let vain_bytes = self.vain_bytes + end.vain_bytes;
        let is_alike = vain_bytes <= vain_bytes_max(self.event_bytes_max, self.offset);
        let behind =
            Self { line: self.line + end.line_count, offset: self.offset + end.bytes, vain_bytes, ..self };
        (end.is_between_items && is_alike).then_some(behind)
    }
}

/// How a chunk ended that was read on its own.
#[derive(Clone, Copy, Debug)]
pub struct ChunkEnd {
    is_between_items: bool,
    line_count: u64,
    bytes: u64,
    vain_bytes: u64,
}

impl ChunkEnd {
    /// The end of a chunk that nobody has read.
    pub const UNKNOWN: Self = Self { is_between_items: false, line_count: 0, bytes: 0, vain_bytes: 0 };
}

/// The frames of a chunk that is read on its own. Lines are counted from its beginning.
pub struct ChunkFrames {
    frames: Frames<Empty>,
    /// Without its bytes, which the frames have.
    chunk: Chunk,
}

impl ChunkFrames {
    /// Reads a chunk, items up to `event_bytes_max`.
    pub fn new(mut chunk: Chunk, event_bytes_max: usize) -> Self {
        let (length, offset) = (chunk.bytes().len(), chunk.offset());
        let failure = chunk.failure().cloned();
        let buffer = Buffer::of(chunk.take_room(), length, offset, failure);
        Self { frames: Frames::reading(buffer, event_bytes_max), chunk }
    }

    /// The next event or malformed item; nothing at the end of the chunk.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Frame<'_>> {
        let is_done = self.frames.buffer.at_end || self.frames.is_between_items();
        if is_done && !self.chunk.is_last() { None } else { self.frames.next() }
    }

    /// The line of the chunk, from 1, on which the event begins that was handed out last.
    pub fn line(&mut self) -> u64 {
        self.frames.line()
    }

    /// What has been found so far.
    pub fn counts(&self) -> Counts {
        let decoded_bytes = self.chunk.bytes_count();
        Counts { decoded_bytes, stored_bytes: self.chunk.stored_bytes(), ..self.frames.counts() }
    }

    /// Gives the chunk back, and says how it ended.
    pub fn finish(mut self) -> (Chunk, ChunkEnd) {
        let is_between_items = self.chunk.is_last() || self.frames.is_between_items();
        self.frames.buffer.consume_all();
        let end = ChunkEnd {
            is_between_items,
            line_count: self.frames.buffer.line() - 1,
            bytes: self.chunk.bytes_count(),
            vain_bytes: self.frames.vain_bytes,
        };
        self.chunk.put_back(self.frames.buffer.into_bytes());
        (self.chunk, end)
    }
}

/// The frames from a known place on, through as many chunks as it takes until one ends
/// between two items. `N` gives the next chunk of the stream for one that is done with.
pub struct OngoingFrames<N: FnMut(Chunk) -> Option<Chunk>> {
    frames: Frames<Following<N>>,
}

impl<N: FnMut(Chunk) -> Option<Chunk>> OngoingFrames<N> {
    /// Reads on at `standing`, where `chunk` begins.
    pub fn new(standing: Standing, chunk: Chunk, next: N) -> Self {
        let Standing { line, offset, vain_bytes, event_bytes_max } = standing;
        let source = Following { chunk, given_bytes: 0, next };
        let buffer = Buffer::streaming(source, event_bytes_max).starting_at(line, offset);
        Self { frames: Frames { vain_bytes, ..Frames::reading(buffer, event_bytes_max) } }
    }

    /// The next event or malformed item; nothing at the end of a chunk that is one between
    /// items, and at the end of the stream.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Frame<'_>> {
        let is_done = self.frames.source().is_at_cut() && self.frames.is_between_items();
        if is_done { None } else { self.frames.next() }
    }

    /// The line of the stream, from 1, on which the event begins that was handed out last.
    pub fn line(&mut self) -> u64 {
        self.frames.line()
    }

    /// What has been found so far.
    pub fn counts(&self) -> Counts {
        Counts { stored_bytes: self.frames.source().chunk.stored_bytes(), ..self.frames.counts() }
    }

    /// Gives the last chunk back, and says where the stream stands behind it.
    pub fn finish(mut self) -> (Chunk, Standing) {
        let Frames { buffer, vain_bytes, event_bytes_max, .. } = &mut self.frames;
        buffer.consume_all();
        let (line, offset) = (buffer.line(), buffer.offset);
        let standing = Standing { line, offset, vain_bytes: *vain_bytes, event_bytes_max: *event_bytes_max };
        (self.frames.into_source().chunk, standing)
    }
}

/// The bytes of one chunk after the other.
struct Following<N> {
    chunk: Chunk,
    given_bytes: usize,
    next: N,
}

impl<N> Following<N> {
    /// True when a chunk has been given to its end, and the stream goes on.
    fn is_at_cut(&self) -> bool {
        self.given_bytes == self.chunk.bytes().len() && !self.chunk.is_last()
    }
}

impl<N: FnMut(Chunk) -> Option<Chunk>> Read for Following<N> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        while self.is_at_cut() {
            let next = (self.next)(std::mem::take(&mut self.chunk));
            self.chunk = next.ok_or(io::ErrorKind::UnexpectedEof)?;
            self.given_bytes = 0;
        }
        // Invariant: `given_bytes` counts bytes of the chunk.
        let count = (&self.chunk.bytes()[self.given_bytes..]).read(room)?;
        self.given_bytes += count;
        match self.chunk.failure().filter(|_| count == 0) {
            Some(failure) => Err(io::Error::other(Arc::clone(failure))),
            None => Ok(count),
        }
    }
}

impl<R: Read> Frames<R> {
    pub(super) fn reading(buffer: Buffer<R>, event_bytes_max: usize) -> Self {
        let state = if buffer.offset == 0 { State::Start } else { State::Value(Before::Anything) };
        Self::with_state(buffer, state, event_bytes_max)
    }

    /// True when all that was read has been handed out, the last item is complete, and this
    /// is known without having asked for more.
    fn is_between_items(&mut self) -> bool {
        self.pass_handed_out();
        matches!(self.state, State::Value(Before::Anything))
            && self.containers.is_empty()
            && self.lost_brackets == 0
            && !self.buffer.at_end
            && self.buffer.live().iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
    }
}
