//! Scans the item at the front of the buffer, reading on until there is a verdict.
//!
//! **Invariant:** the verdict depends on the bytes alone, no more than the event limit is
//! looked at, and what is scanned in vain is at most a few times what has been read.

use std::io::Read;

use detect::event::{Complaint, Event, Key, ListTail, Scanned, Spans, scan_list_tail};
use detect::json::Kind;
use detect::{ScanError, ScanErrorKind, scan};

use super::Frames;
use super::search::NUL_RUN;
use crate::envelope::may_wrap;
use crate::malformed::MalformedKind;

/// The part of the event limit (16 MiB of 256 MiB) that may be scanned in vain beyond twice what
/// has been read, before broken items are no longer given the chance to span lines. Keeps
/// hostile input from costing more than a few times its size.
const VAIN_SHARE: u64 = 16;

/// What one object turned out to be, and its length.
pub(super) enum Object {
    Event(Spans, usize),
    /// It counts as an event, and may be a wrapper.
    Doubtful(Spans, usize),
    Complaint(Complaint, usize),
    EmptyList(usize),
    /// An object with `items`, and the position of their `[`.
    List(usize),
}

/// Why no value could be scanned.
#[derive(Clone, Copy)]
pub(super) enum Unscanned {
    Broken(ScanError),
    TooLong,
}

impl<R: Read> Frames<R> {
    /// Scans at the front of the buffer.
    pub(super) fn scan<T>(&mut self, scan: impl Fn(&[u8]) -> Result<T, ScanError>) -> Result<T, Unscanned> {
        if self.is_vain_spent() {
            return self.scan_line(scan);
        }
        loop {
            let live = self.buffer.live();
            let window = &live[..live.len().min(self.event_bytes_max)];
            let tried_bytes = window.len();
            let error = match scan(window) {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            if error.kind != ScanErrorKind::Incomplete || (self.buffer.at_end && tried_bytes == live.len()) {
                self.vain_bytes += error.offset as u64;
                return Err(Unscanned::Broken(error));
            }
            if tried_bytes == self.event_bytes_max {
                // The item may turn out to be cut at the next line, which is then scanned again.
                self.vain_bytes += tried_bytes as u64;
                return Err(Unscanned::TooLong);
            }
            self.buffer.fill_beyond(tried_bytes, self.event_bytes_max);
        }
    }

    /// Scans no further than the line goes.
    fn scan_line<T>(&mut self, scan: impl Fn(&[u8]) -> Result<T, ScanError>) -> Result<T, Unscanned> {
        let length = self.buffer.line_bytes(self.event_bytes_max);
        // Invariant: `line_bytes` counts live bytes.
        match scan(&self.buffer.live()[..length]) {
            Ok(found) => Ok(found),
            Err(error) if error.kind == ScanErrorKind::Incomplete && length == self.event_bytes_max => {
                Err(Unscanned::TooLong)
            }
            Err(error) => Err(Unscanned::Broken(error)),
        }
    }

    /// True when more was scanned in vain than a damaged log accounts for.
    pub(super) fn is_vain_spent(&self) -> bool {
        self.vain_bytes > vain_bytes_max(self.event_bytes_max, self.buffer.offset)
    }

    /// Says what a failed scan means.
    pub(super) fn kind_of(&mut self, unscanned: Unscanned) -> MalformedKind {
        match unscanned {
            Unscanned::TooLong => MalformedKind::TooLong { max_bytes: self.event_bytes_max },
            Unscanned::Broken(error) if self.is_cut(error) => MalformedKind::Truncated,
            Unscanned::Broken(error) => {
                MalformedKind::Syntax { kind: error.kind, offset: self.buffer.offset + error.offset as u64 }
            }
        }
    }

    /// True when the item ends too early, and is not garbled: at the end of its line, at a
    /// hole, or where the next line begins an item of its own.
    fn is_cut(&mut self, error: ScanError) -> bool {
        let live = self.buffer.live();
        let is_line_start = error.offset > 0 && live.get(error.offset - 1) == Some(&b'\n');
        match live.get(error.offset) {
            _ if error.kind == ScanErrorKind::Incomplete => true,
            Some(b'\n' | b'\r') | None => true,
            Some(0) => (error.offset..error.offset + NUL_RUN.len()).all(|at| self.buffer.peek(at) == Some(0)),
            Some(b'{' | b'[') => is_line_start,
            Some(_) => false,
        }
    }
}

/// How much may have been scanned in vain at an offset of the stream.
pub(super) fn vain_bytes_max(event_bytes_max: usize, offset: u64) -> u64 {
    event_bytes_max as u64 / VAIN_SHARE + 2 * offset
}

/// Scans the object at the beginning of `bytes`, a list no further than to its items.
pub(super) fn scan_object(bytes: &[u8]) -> Result<Object, ScanError> {
    let (event, length) = match Event::scan_prefix(bytes)? {
        Scanned::List(array) => return Ok(Object::List(array)),
        Scanned::Event(event, length) => (event, length),
    };
    Ok(match event.complaint() {
        None if may_wrap(&event) => Object::Doubtful(event.spans(), length),
        None => Object::Event(event.spans(), length),
        Some(_) if is_empty_list(&event) => Object::EmptyList(length),
        Some(complaint) => Object::Complaint(complaint, length),
    })
}

/// Go writes a list without items as `"items":null`.
fn is_empty_list(event: &Event<'_>) -> bool {
    event.str(Key::Kind).as_deref() == Some("EventList")
        && event.json().get("items").is_none_or(|items| items.kind() == Kind::Null)
}

/// Scans a value inside an array.
pub(super) fn scan_lone_value(bytes: &[u8]) -> Result<usize, ScanError> {
    scan::value_end(bytes, 0).and_then(|end| seen_to_end(bytes, end))
}

/// Scans what follows a value in a list: its end, or one more entry.
pub(super) fn scan_tail(bytes: &[u8]) -> Result<ListTail, ScanError> {
    match scan_list_tail(bytes)? {
        ListTail::Entry(end) => seen_to_end(bytes, end).map(ListTail::Entry),
        tail => Ok(tail),
    }
}

/// A value is not known to end before more bytes are seen: `12` may go on.
fn seen_to_end(bytes: &[u8], end: usize) -> Result<usize, ScanError> {
    if end == bytes.len() {
        return Err(ScanError { offset: end, kind: ScanErrorKind::Incomplete });
    }
    Ok(end)
}
