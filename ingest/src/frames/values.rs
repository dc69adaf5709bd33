//! Reads what should come next: values, what stands between them, and what ends them.

use std::io::Read;

use detect::event::ListTail;

use super::scanning::{Object, scan_lone_value, scan_object, scan_tail};
use super::{Frames, LISTS_MAX, Located, State};
use crate::malformed::MalformedKind;

/// What holds values.
#[derive(Clone, Copy)]
pub(super) enum Container {
    /// A JSON array.
    Array,
    /// The `items` of an object.
    List,
}

impl Container {
    /// How many brackets close it.
    pub(super) fn closing_brackets(self) -> usize {
        match self {
            Self::Array => 1,
            Self::List => 2,
        }
    }
}

/// What stands before the next value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    Anything,
    Comma,
}

impl<R: Read> Frames<R> {
    /// Reads the value at the front, or what stands in its place.
    pub(super) fn value(&mut self, before: Before) -> Option<Located> {
        let Some(first) = self.first_significant() else { return self.end_of_stream() };
        match (first, self.containers.last()) {
            (b'{', _) => self.object(),
            (b'[', _) => self.open_array(),
            (0, _) => Some(self.nul_run()),
            (b']', Some(_)) => self.close_array(before),
            (b',' | b']' | b'}', None) if self.lost_brackets > 0 => self.pass_lost(first),
            (b',', _) => Some(self.stray_commas()),
            (_, Some(_)) => self.lone_value(),
            (_, None) => self.line_of_text(),
        }
    }

    /// Steps over what separates items and returns the first byte that does not.
    fn first_significant(&mut self) -> Option<u8> {
        loop {
            let live = self.buffer.live();
            let blank = live.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x1e));
            let count = blank.count();
            self.buffer.consume(count);
            match self.buffer.peek(0)? {
                b' ' | b'\t' | b'\r' | b'\n' | 0x1e => {}
                0xef if self.buffer.peek(1) == Some(0xbb) && self.buffer.peek(2) == Some(0xbf) => {
                    self.buffer.consume(3);
                }
                byte => return Some(byte),
            }
        }
    }

    fn end_of_stream(&mut self) -> Option<Located> {
        self.state = State::End;
        if self.containers.is_empty() {
            return None;
        }
        self.containers.clear();
        let broken = self.broken(MalformedKind::Truncated);
        Some(self.report(broken))
    }

    fn object(&mut self) -> Option<Located> {
        match self.scan(scan_object) {
            Ok(Object::Event(spans, length)) => Some(Located::Event(spans, length)),
            Ok(Object::Doubtful(spans, length)) => self.unwrap_doubtful(&spans, length),
            Ok(Object::Complaint(complaint, length)) => self.unwrap(complaint, length),
            Ok(Object::EmptyList(length)) => {
                self.buffer.consume(length);
                self.after_value();
                None
            }
            Ok(Object::List(_)) if self.containers.len() >= LISTS_MAX => {
                self.fail(MalformedKind::ListsTooDeep)
            }
            Ok(Object::List(array)) => {
                self.containers.push(Container::List);
                self.pass(array + 1)
            }
            Err(unscanned) => self.fail_to_scan(unscanned),
        }
    }

    fn open_array(&mut self) -> Option<Located> {
        if self.containers.len() >= LISTS_MAX {
            return self.fail(MalformedKind::ListsTooDeep);
        }
        self.containers.push(Container::Array);
        self.pass(1)
    }

    /// Steps over `count` bytes behind which a value comes.
    fn pass(&mut self, count: usize) -> Option<Located> {
        self.buffer.consume(count);
        self.expect_value()
    }

    /// Ends the innermost array, whose `]` comes next.
    fn close_array(&mut self, before: Before) -> Option<Located> {
        // Only then: what is broken has a line, and lines have to be counted.
        let broken = (before == Before::Comma).then(|| self.unexpected("a value"));
        self.buffer.consume(1);
        match self.containers.pop() {
            Some(Container::List) => self.state = State::ListTail,
            Some(Container::Array) | None => self.after_value(),
        }
        broken.map(|broken| self.report(broken))
    }

    /// Steps over a bracket, a comma or a list's entry of containers that were given up.
    fn pass_lost(&mut self, first: u8) -> Option<Located> {
        if first != b',' {
            self.lost_brackets -= 1;
        } else if let Ok(ListTail::Entry(length)) = self.scan(scan_tail) {
            return self.pass(length);
        }
        self.pass(1)
    }

    /// Reads commas before which there is no value.
    fn stray_commas(&mut self) -> Located {
        let broken = self.unexpected("a value");
        while self.buffer.peek(0) == Some(b',') {
            let count = self.buffer.live().iter().take_while(|byte| **byte == b',').count();
            self.buffer.consume(count);
        }
        self.state = State::Value(Before::Anything);
        self.report(broken)
    }

    /// Reads a value inside an array that can be no event.
    fn lone_value(&mut self) -> Option<Located> {
        match self.scan(scan_lone_value) {
            Ok(length) => Some(self.bad_value(MalformedKind::NotAnObject, length)),
            Err(unscanned) => self.fail_to_scan(unscanned),
        }
    }

    /// Reports a value of which the end is known.
    pub(super) fn bad_value(&mut self, kind: MalformedKind, length: usize) -> Located {
        let broken = self.broken(kind);
        self.buffer.consume(length);
        self.after_value();
        self.report(broken)
    }

    pub(super) fn after_value(&mut self) {
        self.state =
            if self.containers.is_empty() { State::Value(Before::Anything) } else { State::Separator };
    }

    /// Reads what stands between the values of an array.
    pub(super) fn separator(&mut self) -> Option<Located> {
        match self.first_significant() {
            Some(b',') => {
                self.buffer.consume(1);
                self.state = State::Value(Before::Comma);
                None
            }
            // Lines behind an array that never ended; one complaint is enough for all of them.
            Some(b'{' | b'[') => {
                let broken = self.unexpected("`,` or `]`");
                self.lose_containers();
                self.state = State::Value(Before::Anything);
                Some(self.report(broken))
            }
            Some(b']') => self.close_array(Before::Anything),
            Some(0) | None => self.expect_value(),
            Some(_) => {
                let broken = self.unexpected("`,` or `]`");
                self.fail(broken.kind)
            }
        }
    }

    /// Reads one entry behind the items of a list, or the end of the list.
    pub(super) fn list_tail(&mut self) -> Option<Located> {
        self.first_significant();
        match self.scan(scan_tail) {
            Ok(ListTail::End(length)) => {
                self.buffer.consume(length);
                self.after_value();
                None
            }
            Ok(ListTail::Entry(length)) => {
                self.buffer.consume(length);
                None
            }
            Ok(ListTail::Items(array)) => {
                self.containers.push(Container::List);
                self.pass(array + 1)
            }
            Err(unscanned) => self.fail_tail(unscanned),
        }
    }

    /// Steps over a run of NUL bytes of any length.
    fn nul_run(&mut self) -> Located {
        let mut broken = self.broken(MalformedKind::NulBytes(0));
        while self.buffer.peek(0) == Some(0) {
            let count = self.buffer.live().iter().take_while(|byte| **byte == 0).count();
            self.buffer.consume(count);
        }
        broken.kind = MalformedKind::NulBytes(self.buffer.offset - broken.offset);
        self.lose_containers();
        self.report(broken)
    }
}
