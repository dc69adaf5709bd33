//! Hands out the events inside an object that is none itself, or behind the header of a line.
//!
//! The wrapper stays at the front of the buffer until all it holds has been handed out: there
//! everything in it has its place.

use std::io::Read;

use detect::event::{Complaint, Spans};

use super::scanning::{Object, scan_object};
use super::values::Before;
use super::{Frames, Located, State};
use crate::envelope::prefix::{PREFIX_BYTES_MAX, is_header};
use crate::malformed::MalformedKind;

impl<R: Read> Frames<R> {
    /// Opens the object at the front, which is no event.
    pub(super) fn unwrap(&mut self, complaint: Complaint, length: usize) -> Option<Located> {
        if self.open_envelope(0, length) {
            self.state = State::Unwrapping(length);
            return None;
        }
        Some(self.bad_value(MalformedKind::NotAnEvent(complaint), length))
    }

    /// Opens the object at the front, which may be an event itself.
    pub(super) fn unwrap_doubtful(&mut self, spans: &Spans, length: usize) -> Option<Located> {
        let is_event =
            !self.open_envelope(0, length) || self.opened.as_ref().is_some_and(|opened| opened.is_bare);
        if is_event {
            return Some(Located::Event(*spans, length));
        }
        self.state = State::Unwrapping(length);
        None
    }

    /// Gives the next event of the envelope at the front, or what is wrong with the rest of it.
    pub(super) fn unwrap_next(&mut self, length: usize) -> Option<Located> {
        if self.opener.advance() {
            return Some(Located::Unwrapped);
        }
        let opened = self.opened.take();
        self.counts.skipped += opened.as_ref().map_or(0, |opened| opened.skipped_count);
        if let Some(refused) = opened.and_then(|opened| opened.refused) {
            return Some(self.bad_value(MalformedKind::Wrapped(refused), length));
        }
        self.buffer.consume(length);
        self.after_value();
        None
    }

    /// Reads a line of text: a header before an event or an envelope, or no event.
    pub(super) fn line_of_text(&mut self) -> Option<Located> {
        if let Some(start) = self.header_bytes() {
            let behind = |bytes: &[u8]| scan_object(bytes.get(start..).unwrap_or_default());
            match self.scan(behind) {
                Ok(Object::Event(spans, length)) => {
                    self.buffer.consume(start);
                    self.counts.unwrapped += 1;
                    self.state = State::Value(Before::Anything);
                    return Some(Located::Event(spans, length));
                }
                Ok(Object::Doubtful(spans, length)) => {
                    self.buffer.consume(start);
                    self.state = State::Value(Before::Anything);
                    let located = self.unwrap_doubtful(&spans, length);
                    self.counts.unwrapped += u64::from(located.is_some());
                    return located;
                }
                Ok(Object::Complaint(_, length)) if self.open_envelope(start, length) => {
                    self.buffer.consume(start);
                    self.state = State::Unwrapping(length);
                    return None;
                }
                _ => {}
            }
        }
        self.fail(MalformedKind::NotAnObject)
    }

    /// How long the header is that stands before an object in the line.
    fn header_bytes(&mut self) -> Option<usize> {
        let length =
            (0..=PREFIX_BYTES_MAX).find(|at| matches!(self.buffer.peek(*at), Some(b'{' | b'\n') | None))?;
        let header = self.buffer.live().get(..length)?;
        (self.buffer.live().get(length) == Some(&b'{') && is_header(header)).then_some(length)
    }

    fn open_envelope(&mut self, start: usize, length: usize) -> bool {
        let envelope = self.buffer.live().get(start..start + length).unwrap_or_default();
        self.opened = self.opener.open(envelope).ok();
        self.opened.is_some()
    }
}
