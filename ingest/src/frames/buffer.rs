//! A window that slides over a byte stream and knows at which line and offset it stands.

use std::io::{self, Empty, Read};
use std::sync::Arc;

/// How much is read at once: large enough that system calls do not show, small enough for a cache.
pub(super) const BUFFER_BYTES: usize = 256 * 1024;

/// The bytes of a source that have been read and not yet consumed.
pub(super) struct Buffer<R> {
    pub(super) source: R,
    /// Grown by doubling and never above `bytes_max`; the live part is `start..end`.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    bytes_max: usize,
    /// True when the source has nothing more to give.
    pub(super) at_end: bool,
    /// Why the source ended early; taken by whoever reports it.
    pub(super) failure: Option<Arc<io::Error>>,
    /// The line, from 1, on which the byte at `counted` lies; lines are counted when asked for.
    line: u64,
    counted: usize,
    /// The offset of the first live byte in the stream.
    pub(super) offset: u64,
    /// Bytes read from the source so far.
    pub(super) read_bytes: u64,
    /// Where the search for the end of the line stopped, as an offset in the stream.
    line_end: u64,
    /// True when `line_end` is the end of a line, false when the line goes on.
    has_line_end: bool,
    /// True when `bytes` are all there is, and there is no source to ask for more.
    is_whole: bool,
}

impl Default for Buffer<Empty> {
    /// Holds nothing.
    fn default() -> Self {
        Self::whole(Vec::new(), io::empty())
    }
}

impl Buffer<Empty> {
    /// The first `length` of `bytes`, which begin at `offset` of a stream; `failure` says why
    /// it ends there. Lines are counted from 1.
    pub(super) fn of(bytes: Vec<u8>, length: usize, offset: u64, failure: Option<Arc<io::Error>>) -> Self {
        let end = length.min(bytes.len());
        let buffer = Self::new(io::empty(), bytes.len());
        Self { bytes, end, offset, line_end: offset, failure, is_whole: true, ..buffer }
    }

    /// Gives the bytes back.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl<R: Read> Buffer<R> {
    /// All bytes of a stream. `source` is kept beside them and never read.
    pub(super) fn whole(bytes: Vec<u8>, source: R) -> Self {
        let end = bytes.len();
        let buffer = Self::new(source, end);
        Self { bytes, end, read_bytes: end as u64, is_whole: true, ..buffer }
    }

    /// The bytes that are held, consumed or not: those of the whole stream if that is held whole.
    pub(super) fn held(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes that are held, and the source.
    pub(super) fn into_parts(self) -> (Vec<u8>, R) {
        (self.bytes, self.source)
    }

    /// Holds items of up to `event_bytes_max`.
    pub(super) fn streaming(source: R, event_bytes_max: usize) -> Self {
        Self::new(source, event_bytes_max.saturating_add(BUFFER_BYTES))
    }

    fn new(source: R, bytes_max: usize) -> Self {
        Self {
            source,
            bytes: Vec::new(),
            start: 0,
            end: 0,
            bytes_max,
            at_end: false,
            failure: None,
            line: 1,
            counted: 0,
            offset: 0,
            read_bytes: 0,
            line_end: 0,
            has_line_end: false,
            is_whole: false,
        }
    }

    /// Begins at a line and an offset of the stream that are not its first.
    pub(super) fn starting_at(self, line: u64, offset: u64) -> Self {
        Self { line, offset, line_end: offset, ..self }
    }

    /// The bytes that have been read and not consumed.
    pub(super) fn live(&self) -> &[u8] {
        // Invariant: `start <= end <= bytes.len()`.
        &self.bytes[self.start..self.end]
    }

    /// How much memory is held.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Reads once; false when there is no more.
    pub(super) fn fill(&mut self) -> bool {
        if self.at_end {
            return false;
        }
        if self.is_whole {
            self.at_end = true;
            return false;
        }
        if self.end == self.bytes.len() {
            self.make_room();
        }
        // Invariant: `make_room` leaves at least one byte after `end`.
        match read_once(&mut self.source, &mut self.bytes[self.end..]) {
            Ok(0) => self.at_end = true,
            Ok(count) => {
                self.end += count;
                self.read_bytes += count as u64;
            }
            Err(error) => {
                self.at_end = true;
                self.failure = Some(Arc::new(error));
            }
        }
        !self.at_end
    }

    /// Moves the live bytes to the front, and doubles the room when they fill half of it,
    /// so that each byte is moved a bounded number of times.
    fn make_room(&mut self) {
        self.line();
        let live = self.end - self.start;
        let doubled = (self.bytes.len() * 2).clamp(BUFFER_BYTES, self.bytes_max);
        let size = doubled.max(live + 1);
        if live >= self.bytes.len() / 2 && size > self.bytes.len() {
            // Fresh zeros are free; those appended to a vector would be written.
            let mut bytes = vec![0; size];
            bytes[..live].copy_from_slice(&self.bytes[self.start..self.end]);
            self.bytes = bytes;
        } else {
            self.bytes.copy_within(self.start..self.end, 0);
        }
        self.start = 0;
        self.counted = 0;
        self.end = live;
    }

    /// Reads until the live bytes are at least twice `tried_bytes` or `bytes_max`, or until the
    /// first line end among them appears: what was too short then is worth another look now.
    pub(super) fn fill_beyond(&mut self, tried_bytes: usize, bytes_max: usize) {
        let wanted_bytes = tried_bytes.saturating_mul(2).min(bytes_max);
        let had_newline = memchr::memchr(b'\n', self.live()).is_some();
        let mut seen = self.live().len();
        while self.live().len() < wanted_bytes && self.fill() {
            if !had_newline && memchr::memchr(b'\n', &self.live()[seen..]).is_some() {
                return;
            }
            seen = self.live().len();
        }
    }

    /// The live byte at `index`, reading as far as needed; nothing past the end.
    pub(super) fn peek(&mut self, index: usize) -> Option<u8> {
        while self.live().len() <= index {
            if !self.fill() {
                return None;
            }
        }
        self.live().get(index).copied()
    }

    /// How many bytes, `bytes_max` at most, are left of the line; all of them live. A line is
    /// searched once, however many items are taken from it.
    pub(super) fn line_bytes(&mut self, bytes_max: usize) -> usize {
        if self.line_end < self.offset {
            self.line_end = self.offset;
            self.has_line_end = false;
        }
        loop {
            // Invariant: what was searched was live, and what is live does not leave the buffer
            // before `offset` passes it.
            let searched = usize::try_from(self.line_end - self.offset).unwrap_or(usize::MAX);
            if self.has_line_end || searched >= bytes_max {
                return searched.min(bytes_max);
            }
            let unseen = &self.live()[searched..];
            let newline = memchr::memchr(b'\n', unseen);
            let passed_bytes = newline.unwrap_or(unseen.len());
            self.has_line_end = newline.is_some();
            self.line_end += passed_bytes as u64;
            if newline.is_none() && !self.fill() {
                return (searched + passed_bytes).min(bytes_max);
            }
        }
    }

    /// Leaves `count` live bytes behind.
    pub(super) fn consume(&mut self, count: usize) {
        let count = count.min(self.end - self.start);
        self.offset += count as u64;
        self.start += count;
        if self.start == self.end && !self.is_whole {
            self.line();
            self.start = 0;
            self.counted = 0;
            self.end = 0;
        }
    }

    /// The line of the first live byte, from 1.
    pub(super) fn line(&mut self) -> u64 {
        // Invariant: `counted <= start <= bytes.len()`.
        let passed = &self.bytes[self.counted..self.start];
        self.line += memchr::memchr_iter(b'\n', passed).count() as u64;
        self.counted = self.start;
        self.line
    }

    /// Leaves every live byte behind.
    pub(super) fn consume_all(&mut self) {
        self.consume(self.end - self.start);
    }
}

fn read_once(source: &mut impl Read, room: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(room) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
