//! Cuts a decoded stream into chunks that can be read on threads of their own.
//!
//! A chunk ends where an item probably does: before a line that begins with `{`. Whether it
//! did is not known before it has been read, see [`Standing`](crate::Standing), so any cut is
//! right and only some are fast.
//!
//! **Invariant:** the chunks of a stream put together are the stream, whatever it holds.

use std::io::{self, Read};
use std::sync::Arc;

use crate::decode::Decoded;
use crate::inputs::Input;

/// How large a chunk is, if an item ends near it: it and what comes of it fit in a processor's cache.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// How large a chunk becomes in search of a line that ends; a longer one is cut anywhere.
pub const CHUNK_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How many times the usual room a chunk may keep that had to become larger.
const KEPT_CHUNKS_MAX: usize = 4;

/// Some bytes of a stream.
#[derive(Debug, Default)]
pub struct Chunk {
    /// Room for bytes, of which the first `length` are the chunk's.
    bytes: Vec<u8>,
    length: usize,
    /// Where it begins: bytes from the start of the decoded stream.
    offset: u64,
    /// Bytes of the file that had been read when it was complete.
    stored_bytes: u64,
    is_last: bool,
    /// Why the stream ends here, if not because it is at its end.
    failure: Option<Arc<io::Error>>,
}

/// The chunks of a stream, in order.
pub struct Chunks<R: Read> {
    decoded: Decoded<R>,
    /// What was read behind the last cut.
    rest: Vec<u8>,
    offset: u64,
    /// True when bytes may come so slowly that nobody wants to wait for a full chunk.
    is_live: bool,
    has_ended: bool,
    chunk_bytes: usize,
    chunk_bytes_max: usize,
}

impl Chunks<Box<dyn Read + Send>> {
    /// The chunks of an input that has been opened.
    pub fn of(input: &Input, decoded: Decoded<Box<dyn Read + Send>>) -> Self {
        Self { is_live: input.stored_bytes().is_none(), ..Self::new(decoded) }
    }
}

impl<R: Read> Chunks<R> {
    /// The chunks of a stream.
    pub fn new(decoded: Decoded<R>) -> Self {
        Self {
            decoded,
            rest: Vec::new(),
            offset: 0,
            is_live: false,
            has_ended: false,
            chunk_bytes: CHUNK_BYTES,
            chunk_bytes_max: CHUNK_BYTES_MAX,
        }
    }

    /// The same, passing on what has been read rather than waiting for more.
    #[must_use]
    pub fn live(self) -> Self {
        Self { is_live: true, ..self }
    }

    /// The same with chunks of about `chunk_bytes`, and at most `chunk_bytes_max`.
    #[must_use]
    pub fn with_chunk_bytes(self, chunk_bytes: usize, chunk_bytes_max: usize) -> Self {
        let chunk_bytes = chunk_bytes.max(1);
        Self { chunk_bytes, chunk_bytes_max: chunk_bytes_max.max(chunk_bytes), ..self }
    }

    /// The next chunk, in the room of one that is done with; nothing behind the last one.
    pub fn next(&mut self, room: Chunk) -> Option<Chunk> {
        if self.has_ended {
            return None;
        }
        let mut chunk = room.emptied(self.offset, self.chunk_bytes);
        chunk.append(&self.rest);
        let end = self.fill(&mut chunk);
        self.rest.clear();
        self.rest.extend_from_slice(&chunk.bytes[end..chunk.length]);
        self.has_ended = chunk.is_last;
        self.offset += end as u64;
        chunk.length = end;
        chunk.stored_bytes = self.decoded.stored_bytes();
        Some(chunk)
    }

    /// Reads until the chunk can be cut, and says where.
    fn fill(&mut self, chunk: &mut Chunk) -> usize {
        let mut searched = 0;
        loop {
            let is_full = chunk.length >= self.chunk_bytes;
            if is_full && let Some(end) = last_line_of_item(chunk.bytes(), searched) {
                return end;
            }
            if chunk.length >= self.chunk_bytes_max {
                return memchr::memrchr(b'\n', chunk.bytes()).map_or(chunk.length, |newline| newline + 1);
            }
            searched = if is_full { chunk.length } else { 0 };
            match self.decoded.read(chunk.room(self.chunk_bytes, self.chunk_bytes_max)) {
                Ok(0) => chunk.is_last = true,
                Ok(count) => chunk.length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    chunk.is_last = true;
                    chunk.failure = Some(Arc::new(error));
                }
            }
            if chunk.is_last {
                return chunk.length;
            }
            if self.is_live
                && !self.decoded.is_ready()
                && let Some(end) = live_end(chunk.bytes())
            {
                return end;
            }
        }
    }
}

/// Behind the last line that another item follows, if it ends at `searched` or later.
fn last_line_of_item(bytes: &[u8], searched: usize) -> Option<usize> {
    let unseen = &bytes[searched.saturating_sub(1)..];
    let mut newlines = memchr::memrchr_iter(b'\n', unseen);
    let newline = newlines.find(|newline| unseen.get(newline + 1) == Some(&b'{'))?;
    Some(bytes.len() - unseen.len() + newline + 1)
}

/// Where the items end that have come so far, if any has: nobody says that more will come.
fn live_end(bytes: &[u8]) -> Option<usize> {
    match bytes.last() {
        Some(b'}' | b']' | b'\n') => Some(bytes.len()),
        _ => memchr::memrchr(b'\n', bytes).map(|newline| newline + 1),
    }
}

impl Chunk {
    /// The bytes themselves.
    pub fn bytes(&self) -> &[u8] {
        // Invariant: `length <= bytes.len()`.
        &self.bytes[..self.length]
    }

    /// Where it begins: bytes from the start of the decoded stream.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes of the file that had been read when it was complete.
    pub fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// True when the stream ends with it.
    pub fn is_last(&self) -> bool {
        self.is_last
    }

    /// Why the stream ends with it, if not because it is at its end.
    pub fn failure(&self) -> Option<&Arc<io::Error>> {
        self.failure.as_ref()
    }

    pub(crate) fn bytes_count(&self) -> u64 {
        self.length as u64
    }

    /// Lends the room, and with it the bytes, which [`Chunk::put_back`] returns.
    pub(crate) fn take_room(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    pub(crate) fn put_back(&mut self, room: Vec<u8>) {
        self.bytes = room;
    }

    /// An empty chunk with room for `chunk_bytes`; what an exceptional one took is given back.
    fn emptied(self, offset: u64, chunk_bytes: usize) -> Self {
        let is_usual = (chunk_bytes..=chunk_bytes * KEPT_CHUNKS_MAX).contains(&self.bytes.len());
        let bytes = if is_usual { self.bytes } else { vec![0; chunk_bytes] };
        Self { bytes, offset, ..Self::default() }
    }

    fn append(&mut self, bytes: &[u8]) {
        let length = self.length + bytes.len();
        if self.bytes.len() < length {
            self.bytes.resize(length, 0);
        }
        self.bytes[self.length..length].copy_from_slice(bytes);
        self.length = length;
    }

    /// The room behind the bytes up to `bytes_min`, or if that is full to twice as much, but not
    /// beyond `bytes_max`.
    fn room(&mut self, bytes_min: usize, bytes_max: usize) -> &mut [u8] {
        let doubled = if self.length < bytes_min { bytes_min } else { self.length.saturating_mul(2) };
        let end = doubled.min(bytes_max).max(self.length + 1);
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        &mut self.bytes[self.length..end]
    }
}
