//! Finds the audit events in a stream of bytes, whatever form the stream has.
//!
//! JSON Lines, JSON one after another, pretty-printed, arrays, `EventList`s with their keys in
//! any order, and JSON text sequences are told apart by what comes next, so they may be mixed.
//! Lists are walked element by element. What is broken costs only itself: reading goes on at
//! the next line that begins with `{` or `[`, or at an event behind the break in the same line.
//!
//! **Invariant:** the frames depend on the bytes alone, not on how a reader delivers them;
//! memory stays below twice the event limit, and no byte is scanned more than a few times.

// The large variant is the event, which is the common one; a box would be an allocation per event.
#![allow(clippy::large_enum_variant)]

mod buffer;
mod recovery;

use std::io::Read;
use std::sync::Arc;

use detect::event::{Complaint, Event, Key, ListTail, Scanned, Spans, scan_list_tail};
use detect::json::Kind;
use detect::{ScanError, ScanErrorKind, scan};

use crate::counts::Counts;
use crate::malformed::{Malformed, MalformedKind};
use buffer::{BUFFER_BYTES, Buffer};
use recovery::{Found, Recovery, SEARCH_BYTES, Skip, Skipped};

/// The longest single item that is read. An API server takes bodies of 3 MiB, but logs hold responses
/// of 100 MB; beyond this it is no event, and the memory is better kept.
pub const EVENT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How deep lists may nest in lists. One level is real, two come from tools that collect lists.
pub const LISTS_MAX: usize = 8;

/// How much scanning may be in vain beyond what has been read, before broken items are no
/// longer given the chance to span lines. Keeps hostile input from costing more than a few times its size.
const VAIN_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What a stream holds, one thing at a time.
pub enum Frame<'a> {
    /// An audit event.
    Event {
        /// The event, borrowed from the reader's buffer.
        event: Event<'a>,
        /// The line on which it begins, from 1.
        line: u64,
        /// Where it begins: bytes from the start of the stream.
        offset: u64,
    },
    /// Bytes that are no event.
    Malformed(Malformed),
}

/// Reads the frames of a stream.
pub struct Frames<R> {
    buffer: Buffer<R>,
    state: State,
    /// The arrays and lists around the next value, outermost first.
    containers: Vec<Container>,
    /// True once something inside a container was broken: its commas and brackets may still follow.
    is_inside_lost: bool,
    /// The length of the event handed out last, which still lies in the buffer.
    handed_out_bytes: usize,
    event_bytes_max: usize,
    /// Bytes that were scanned and led to nothing.
    vain_bytes: u64,
    recovery: Recovery,
    counts: Counts,
}

#[derive(Clone, Copy)]
enum Container {
    Array,
    List,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Anything,
    Comma,
}

enum State {
    /// Nothing has been read.
    Start,
    /// A value, or the end of the container, comes next.
    Value(Before),
    /// Inside an array, behind a value.
    Separator,
    /// Inside a list, behind its items.
    ListTail,
    /// Inside an item that is too long.
    Skip(Skip, Broken),
    /// Behind something broken, in search of where to read on.
    Recover(Broken),
    /// Behind the brackets of a container that was lost: as `Recover`, with nothing to report.
    RecoverSilently,
    /// In a stream that is no JSON text as a whole.
    Drain(Broken),
}

/// Something broken and where it begins.
#[derive(Clone)]
struct Broken {
    kind: MalformedKind,
    line: u64,
    offset: u64,
}

/// What was located in the buffer, without a borrow of it.
enum Located {
    Event(Spans, usize),
    Malformed(Malformed),
}

/// What one object turned out to be, and its length.
enum Object {
    Event(Spans, usize),
    Complaint(Complaint, usize),
    EmptyList(usize),
    List(usize),
}

/// Why no value could be scanned.
#[derive(Clone, Copy)]
enum Unscanned {
    Broken(ScanError),
    TooLong,
}

impl<R: Read> Frames<R> {
    /// Reads the frames of `source`, items up to [`EVENT_BYTES_MAX`].
    pub fn new(source: R) -> Self {
        Self::with_event_bytes_max(source, EVENT_BYTES_MAX)
    }

    /// Reads the frames of `source`, items up to `event_bytes_max`.
    pub fn with_event_bytes_max(source: R, event_bytes_max: usize) -> Self {
        Self {
            buffer: Buffer::new(source, event_bytes_max.saturating_add(BUFFER_BYTES)),
            state: State::Start,
            containers: Vec::new(),
            is_inside_lost: false,
            handed_out_bytes: 0,
            event_bytes_max,
            vain_bytes: 0,
            recovery: Recovery::new(),
            counts: Counts::default(),
        }
    }

    /// The next event or malformed item; nothing at the end of the stream.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Frame<'_>> {
        match self.locate()? {
            Located::Event(spans, length) => {
                self.counts.events += 1;
                self.handed_out_bytes = length;
                let (line, offset) = (self.buffer.line, self.buffer.offset);
                // Invariant: the event was found at the beginning of the live bytes.
                let event = Event::with_spans(&self.buffer.live()[..length], spans);
                Some(Frame::Event { event, line, offset })
            }
            Located::Malformed(malformed) => {
                *self.counts.malformed.entry(malformed.kind.name()).or_default() += 1;
                Some(Frame::Malformed(malformed))
            }
        }
    }

    /// What has been read so far. `stored_bytes` is left to whoever knows the file.
    pub fn counts(&self) -> Counts {
        Counts { decoded_bytes: self.buffer.read_bytes, ..self.counts.clone() }
    }

    /// The source of the bytes.
    pub fn source(&self) -> &R {
        &self.buffer.source
    }

    /// How much memory the buffer holds, in bytes.
    pub fn buffer_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    fn locate(&mut self) -> Option<Located> {
        if self.handed_out_bytes > 0 {
            self.buffer.consume(std::mem::take(&mut self.handed_out_bytes));
            self.after_value();
        }
        loop {
            let located = match &self.state {
                State::Start => self.start(),
                State::Value(before) => match self.value(*before) {
                    Step::End => return self.failure().map(Located::Malformed),
                    Step::Next => None,
                    Step::Located(located) => Some(located),
                },
                State::Separator => self.separator(),
                State::ListTail => self.list_tail(),
                State::Skip(..) => self.skip(),
                State::Recover(broken) => {
                    let broken = broken.clone();
                    self.recover();
                    Some(self.report_cut(broken))
                }
                State::RecoverSilently => {
                    self.recover();
                    None
                }
                State::Drain(broken) => {
                    let broken = broken.clone();
                    self.drain();
                    Some(self.report(broken))
                }
            };
            if located.is_some() {
                return located;
            }
        }
    }

    /// Recognises streams that hold no UTF-8 text at all.
    fn start(&mut self) -> Option<Located> {
        self.buffer.peek(3);
        let kind = match *self.buffer.live() {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => MalformedKind::Utf16,
            [b'{' | b'[', 0, letter, 0, ..] | [0, b'{' | b'[', 0, letter, ..] if letter != 0 => {
                MalformedKind::Utf16
            }
            [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => MalformedKind::Compressed,
            _ => {
                self.state = State::Value(Before::Anything);
                return None;
            }
        };
        self.state = State::Drain(self.broken(kind));
        None
    }

    fn drain(&mut self) {
        self.buffer.consume_all();
        while self.buffer.fill() {
            self.buffer.consume_all();
        }
        self.state = State::Value(Before::Anything);
    }

    /// Reads the value at the front, or what stands in its place.
    fn value(&mut self, before: Before) -> Step {
        let Some(first) = self.first_significant() else { return self.end_of_stream() };
        match (first, self.containers.last()) {
            (b'{', _) => self.object(),
            (b'[', _) => self.open_array(),
            (0, _) => Step::Located(self.nul_run()),
            (b']', Some(_)) => self.close_array(before),
            (_, Some(_)) => self.lone_value(),
            (b',', None) if self.is_inside_lost => self.pass(1),
            (b']' | b'}', None) if self.is_inside_lost => {
                self.is_inside_lost = false;
                self.state = State::RecoverSilently;
                Step::Next
            }
            (_, None) => self.fail(MalformedKind::NotAnObject),
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

    fn end_of_stream(&mut self) -> Step {
        if self.containers.is_empty() {
            return Step::End;
        }
        self.containers.clear();
        let broken = self.broken(MalformedKind::Truncated);
        Step::Located(self.report(broken))
    }

    fn failure(&mut self) -> Option<Malformed> {
        let failure = self.buffer.failure.take()?;
        let Broken { kind, line, offset } = self.broken(MalformedKind::Unreadable(Arc::new(failure)));
        Some(Malformed { line, offset, bytes: 0, kind })
    }

    fn object(&mut self) -> Step {
        match self.scan(scan_object) {
            Ok(Object::Event(spans, length)) => Step::Located(Located::Event(spans, length)),
            Ok(Object::Complaint(complaint, length)) => {
                Step::Located(self.bad_value(MalformedKind::NotAnEvent(complaint), length))
            }
            Ok(Object::EmptyList(length)) => {
                self.buffer.consume(length);
                self.after_value();
                Step::Next
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

    fn open_array(&mut self) -> Step {
        if self.containers.len() >= LISTS_MAX {
            return self.fail(MalformedKind::ListsTooDeep);
        }
        self.containers.push(Container::Array);
        self.pass(1)
    }

    /// Steps over `count` bytes behind which a value comes.
    fn pass(&mut self, count: usize) -> Step {
        self.buffer.consume(count);
        self.state = State::Value(Before::Anything);
        Step::Next
    }

    /// Ends the innermost array, whose `]` comes next.
    fn close_array(&mut self, before: Before) -> Step {
        let broken = self.expected("a value");
        self.buffer.consume(1);
        match self.containers.pop() {
            Some(Container::List) => self.state = State::ListTail,
            Some(Container::Array) | None => self.after_value(),
        }
        match before {
            Before::Comma => Step::Located(self.report(broken)),
            Before::Anything => Step::Next,
        }
    }

    /// Reads a value inside an array that can be no event.
    fn lone_value(&mut self) -> Step {
        match self.scan(scan_lone_value) {
            Ok(length) => Step::Located(self.bad_value(MalformedKind::NotAnObject, length)),
            Err(unscanned) => self.fail_to_scan(unscanned),
        }
    }

    fn bad_value(&mut self, kind: MalformedKind, length: usize) -> Located {
        let broken = self.broken(kind);
        self.buffer.consume(length);
        self.after_value();
        self.report(broken)
    }

    fn after_value(&mut self) {
        self.state =
            if self.containers.is_empty() { State::Value(Before::Anything) } else { State::Separator };
    }

    /// Reads what stands between the values of an array.
    fn separator(&mut self) -> Option<Located> {
        match self.first_significant() {
            Some(b',') => {
                self.buffer.consume(1);
                self.state = State::Value(Before::Comma);
                None
            }
            Some(b'{' | b'[') => {
                let broken = self.expected("`,` or `]`");
                self.lose_containers();
                self.state = State::Value(Before::Anything);
                Some(self.report(broken))
            }
            Some(b']') => {
                self.close_array(Before::Anything);
                None
            }
            Some(0) | None => {
                self.state = State::Value(Before::Anything);
                None
            }
            Some(_) => {
                let broken = self.expected("`,` or `]`");
                self.break_off(broken);
                None
            }
        }
    }

    /// Reads one entry behind the items of a list, or the end of the list.
    fn list_tail(&mut self) -> Option<Located> {
        self.first_significant();
        match self.scan(scan_list_tail) {
            Ok(ListTail::End(length)) => {
                self.buffer.consume(length);
                self.after_value();
            }
            Ok(ListTail::Entry(length)) => self.buffer.consume(length),
            Ok(ListTail::Items(array)) => {
                self.containers.push(Container::List);
                self.pass(array + 1);
            }
            Err(Unscanned::Broken(error)) => {
                let kind = self.syntax(error);
                self.fail(kind);
            }
            Err(Unscanned::TooLong) => {
                self.fail(self.too_long());
            }
        }
        None
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

    /// Steps over an item that is too long.
    fn skip(&mut self) -> Option<Located> {
        let is_top_level = self.containers.is_empty();
        let State::Skip(skip, broken) = &mut self.state else { return None };
        let broken = broken.clone();
        match skip.step(self.buffer.live(), is_top_level) {
            Skipped::All => {
                self.buffer.consume_all();
                if self.buffer.fill() {
                    return None;
                }
                self.state = State::Value(Before::Anything);
                Some(self.report(broken))
            }
            Skipped::Item(length) => {
                self.buffer.consume(length);
                self.after_value();
                Some(self.report(broken))
            }
            Skipped::Broken(length) => {
                self.buffer.consume(length);
                self.lose_containers();
                self.state = State::Recover(broken);
                None
            }
        }
    }

    /// Consumes what is broken up to where an event can begin.
    fn recover(&mut self) {
        self.state = State::Value(Before::Anything);
        loop {
            let live = self.buffer.live();
            let window = &live[..live.len().min(SEARCH_BYTES)];
            let is_all = window.len() == live.len();
            let is_last = is_all && self.buffer.at_end;
            match self.recovery.search(window, is_last) {
                Found::Resume(position) => return self.buffer.consume(position),
                Found::Marker(position) => {
                    self.buffer.consume(position);
                    if self.is_salvageable() {
                        return;
                    }
                    self.buffer.consume(1);
                }
                Found::Nothing(_) if is_last => return self.buffer.consume_all(),
                Found::Nothing(position) => {
                    self.buffer.consume(position);
                    if is_all {
                        self.buffer.fill();
                    }
                }
            }
        }
    }

    /// True when an event begins here and ends where its line ends.
    fn is_salvageable(&mut self) -> bool {
        if self.is_vain_spent() {
            return false;
        }
        let Ok(Object::Event(_, length)) = self.scan(scan_object) else { return false };
        let mut next = length;
        while matches!(self.buffer.peek(next), Some(b' ' | b'\t' | b'\r')) {
            next += 1;
        }
        let is_whole = matches!(self.buffer.peek(next), Some(b'\n') | None);
        if !is_whole {
            self.vain_bytes += next as u64;
        }
        is_whole
    }

    /// Scans at the front of the buffer, reading on until there is a verdict.
    fn scan<T>(&mut self, scan: impl Fn(&[u8]) -> Result<T, ScanError>) -> Result<T, Unscanned> {
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
                return Err(Unscanned::TooLong);
            }
            self.buffer.fill_beyond(tried_bytes);
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
    fn is_vain_spent(&self) -> bool {
        self.vain_bytes > VAIN_BYTES_MAX + 2 * self.buffer.offset
    }

    fn fail_to_scan(&mut self, unscanned: Unscanned) -> Step {
        match unscanned {
            Unscanned::Broken(error) => {
                let kind = self.syntax(error);
                self.fail(kind)
            }
            Unscanned::TooLong => {
                let broken = self.broken(self.too_long());
                self.state = State::Skip(Skip::default(), broken);
                Step::Next
            }
        }
    }

    /// Says what a failed scan means: a line that ends too early is cut off, not garbled.
    fn syntax(&self, error: ScanError) -> MalformedKind {
        let live = self.buffer.live();
        let is_line_start = error.offset > 0 && live.get(error.offset - 1) == Some(&b'\n');
        let is_cut = match live.get(error.offset) {
            Some(b'\n' | b'\r' | 0) | None => true,
            Some(b'{' | b'[') => is_line_start,
            Some(_) => false,
        };
        if is_cut || error.kind == ScanErrorKind::Incomplete {
            return MalformedKind::Truncated;
        }
        MalformedKind::Syntax { kind: error.kind, offset: self.buffer.offset + error.offset as u64 }
    }

    fn too_long(&self) -> MalformedKind {
        MalformedKind::TooLong { max_bytes: self.event_bytes_max }
    }

    fn fail(&mut self, kind: MalformedKind) -> Step {
        let broken = self.broken(kind);
        self.break_off(broken);
        Step::Next
    }

    /// Gives up what is at the front, and the containers around it.
    fn break_off(&mut self, broken: Broken) {
        self.buffer.consume(1);
        self.lose_containers();
        self.state = State::Recover(broken);
    }

    fn lose_containers(&mut self) {
        self.is_inside_lost |= !self.containers.is_empty();
        self.containers.clear();
    }

    fn expected(&self, what: &'static str) -> Broken {
        let offset = self.buffer.offset;
        self.broken(MalformedKind::Syntax { kind: ScanErrorKind::Expected(what), offset })
    }

    fn broken(&self, kind: MalformedKind) -> Broken {
        Broken { kind, line: self.buffer.line, offset: self.buffer.offset }
    }

    /// Reports what was broken up to here; text that only broke behind here was cut here.
    fn report_cut(&self, mut broken: Broken) -> Located {
        if matches!(broken.kind, MalformedKind::Syntax { offset, .. } if offset > self.buffer.offset) {
            broken.kind = MalformedKind::Truncated;
        }
        self.report(broken)
    }

    fn report(&self, broken: Broken) -> Located {
        let Broken { kind, line, offset } = broken;
        Located::Malformed(Malformed { line, offset, bytes: self.buffer.offset - offset, kind })
    }
}

/// What reading a value led to.
enum Step {
    Located(Located),
    Next,
    End,
}

fn scan_object(bytes: &[u8]) -> Result<Object, ScanError> {
    let (event, length) = match Event::scan_prefix(bytes)? {
        Scanned::List(array) => return Ok(Object::List(array)),
        Scanned::Event(event, length) => (event, length),
    };
    Ok(match event.complaint() {
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

/// A value that is not known to end before more bytes are seen: `12` may go on.
fn scan_lone_value(bytes: &[u8]) -> Result<usize, ScanError> {
    match scan::value_end(bytes, 0)? {
        end if end == bytes.len() => Err(ScanError { offset: end, kind: ScanErrorKind::Incomplete }),
        end => Ok(end),
    }
}
