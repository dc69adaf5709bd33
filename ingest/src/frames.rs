//! Finds the audit events in a stream of bytes, whatever form the stream has.
//!
//! JSON Lines, JSON one after another, pretty-printed, arrays, `EventList`s with their keys in
//! any order, and JSON text sequences are told apart by what comes next, so they may be mixed.
//! Lists are walked element by element. What is broken costs only itself: reading goes on behind
//! the broken item of a list, else at the next line that begins with `{` or `[`, or at an event
//! behind the break in the same line.
//!
//! Here is the loop over what can come next. `values` reads what should come, `unwrapping` what
//! shippers and clouds have wrapped, `recovery` steps over what should not, `scanning` looks at one item within limits, `shedding` makes
//! one that is too long short, and `buffer` holds the bytes.
//!
//! **Invariant:** the frames depend on the bytes alone, not on how a reader delivers them;
//! memory stays below twice the event limit (three times with shedding, and what an envelope takes), and no byte is scanned more than a few times.

// The large variant is the event, which is the common one; a box would be an allocation per event.
#![allow(clippy::large_enum_variant)]

mod buffer;
pub mod chunked;
mod recovery;
mod scanning;
mod search;
mod shedding;
mod unwrapping;
mod values;
mod walk;

use std::io::{self, Read};

use detect::ScanErrorKind;
use detect::event::{Event, Spans};

use crate::counts::Counts;
use crate::envelope::{Opened, Opener};
use crate::malformed::{Malformed, MalformedKind};
use buffer::Buffer;
use search::Search;
use shedding::Shedding;
use values::{Before, Container};
use walk::Walk;

/// The longest single item that is read. An API server takes bodies of 3 MiB, but logs hold responses
/// of 100 MB; beyond this it is no event, and the memory is better kept.
pub const EVENT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How deep lists may nest in lists. One level is real, two come from tools that collect lists.
pub const LISTS_MAX: usize = 8;

/// How much memory is kept for the next stream, in bytes: more than nearly all messages take.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// What a stream holds, one thing at a time.
pub enum Frame<'a> {
    /// An audit event.
    Event {
        /// The event, borrowed from the reader's buffer.
        event: Event<'a>,
        /// Where it, or what it is wrapped in, begins: bytes from the start of the stream.
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
    /// How many closing brackets may still come of containers that were given up.
    lost_brackets: usize,
    /// The length of the event handed out last, which still lies in the buffer.
    handed_out_bytes: usize,
    event_bytes_max: usize,
    /// Bytes that were scanned and led to nothing.
    vain_bytes: u64,
    search: Search,
    counts: Counts,
    /// Whether events that are too long are made short.
    sheds: bool,
    /// The event that is being made short.
    shedding: Option<Shedding>,
    /// The event that was made short and handed out last.
    shed: Option<Shed>,
    /// Holds what the envelope at the front holds.
    opener: Opener,
    /// What is still to be told of that envelope.
    opened: Option<Opened>,
}

/// An event without what made it too long, and where it began.
struct Shed {
    bytes: Vec<u8>,
    line: u64,
    offset: u64,
}

/// What comes next.
enum State {
    /// The first bytes of the stream.
    Start,
    /// A value, or the end of the container.
    Value(Before),
    /// Inside an array, what stands behind a value.
    Separator,
    /// Inside a list, what stands behind its items.
    ListTail,
    /// The next event of an envelope of this length.
    Unwrapping(usize),
    /// The rest of an item that is too long.
    TooLong(Walk, Broken),
    /// The rest of something broken, up to where to read on.
    Rest(Broken),
    /// The rest of a stream that is no JSON text as a whole.
    Drain(Broken),
    /// Nothing.
    End,
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
    /// An event at the front of the buffer, and its length.
    Event(Spans, usize),
    /// The event that was shed.
    Shed(Spans),
    /// The event that was taken out of an envelope.
    Unwrapped,
    Malformed(Malformed),
}

impl Frames<io::Empty> {
    /// Begins anew with other bytes, which are the whole stream, in the memory that is there. Items are read up
    /// to the same length, and nothing is shed.
    pub fn begin_again(&mut self, bytes: &[u8]) {
        let mut memory = std::mem::take(&mut self.buffer).into_bytes();
        memory.clear();
        memory.shrink_to(KEPT_BYTES_MAX);
        memory.extend_from_slice(bytes);
        let opener = std::mem::take(&mut self.opener);
        *self = Self { opener, ..Self::of_bytes(memory, io::empty(), self.event_bytes_max) };
    }
}

impl<R: Read> Frames<R> {
    /// Reads the frames of `source`, items up to [`EVENT_BYTES_MAX`].
    pub fn new(source: R) -> Self {
        Self::with_event_bytes_max(source, EVENT_BYTES_MAX)
    }

    /// Reads the frames of `source`, items up to `event_bytes_max`.
    pub fn with_event_bytes_max(source: R, event_bytes_max: usize) -> Self {
        Self::reading(Buffer::streaming(source, event_bytes_max), event_bytes_max)
    }

    /// Reads the frames of `bytes`, which are the whole stream, items up to `event_bytes_max`. `source` is
    /// kept as long as they are, and never read.
    pub fn of_bytes(bytes: Vec<u8>, source: R, event_bytes_max: usize) -> Self {
        Self::reading(Buffer::whole(bytes, source), event_bytes_max)
    }

    fn with_state(buffer: Buffer<R>, state: State, event_bytes_max: usize) -> Self {
        Self {
            buffer,
            state,
            containers: Vec::new(),
            lost_brackets: 0,
            handed_out_bytes: 0,
            event_bytes_max,
            vain_bytes: 0,
            search: Search::new(),
            counts: Counts::default(),
            sheds: false,
            shedding: None,
            shed: None,
            opener: Opener::default(),
            opened: None,
        }
    }

    /// The same, but an event that is too long is read without its request and response objects
    /// and with the annotation `audit.k8s.io/truncated`, if it is short enough then.
    #[must_use]
    pub fn shedding(self) -> Self {
        Self { sheds: true, ..self }
    }

    /// The next event or malformed item; nothing at the end of the stream.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Frame<'_>> {
        match self.locate()? {
            Located::Event(spans, length) => {
                self.counts.events += 1;
                self.handed_out_bytes = length;
                let offset = self.buffer.offset;
                // Invariant: the event was found at the beginning of the live bytes.
                let event = Event::with_spans(&self.buffer.live()[..length], spans);
                Some(Frame::Event { event, offset })
            }
            Located::Shed(spans) => {
                self.counts.events += 1;
                let Shed { bytes, offset, .. } = self.shed.as_ref()?;
                Some(Frame::Event { event: Event::with_spans(bytes, spans), offset: *offset })
            }
            Located::Unwrapped => {
                self.counts.events += 1;
                self.counts.unwrapped += 1;
                Some(Frame::Event { event: self.opener.event()?, offset: self.buffer.offset })
            }
            Located::Malformed(malformed) => {
                *self.counts.malformed.entry(malformed.kind.name()).or_default() += 1;
                Some(Frame::Malformed(malformed))
            }
        }
    }

    /// The line, from 1, on which the event begins that was handed out last.
    pub fn line(&mut self) -> u64 {
        match &self.shed {
            Some(shed) => shed.line,
            None => self.buffer.line(),
        }
    }

    /// What the wrapper of the event handed out last says about its cluster. Whoever can write to
    /// the stream can say anything here.
    pub fn cluster_hint(&self) -> Option<&str> {
        matches!(self.state, State::Unwrapping(_)).then(|| self.opener.cluster_hint())?
    }

    /// What has been read so far. `stored_bytes` is left to whoever knows the file.
    pub fn counts(&self) -> Counts {
        Counts { decoded_bytes: self.buffer.read_bytes, ..self.counts.clone() }
    }

    /// What has been read since this was last asked.
    pub fn take_counts(&mut self) -> Counts {
        let decoded_bytes = std::mem::take(&mut self.buffer.read_bytes);
        Counts { decoded_bytes, ..std::mem::take(&mut self.counts) }
    }

    /// The bytes that are held: of frames made by [`Frames::of_bytes`], all of them.
    pub fn bytes(&self) -> &[u8] {
        self.buffer.held()
    }

    /// The source of the bytes.
    pub fn source(&self) -> &R {
        &self.buffer.source
    }

    /// The bytes that are held and the source, see [`Frames::of_bytes`].
    pub fn into_parts(self) -> (Vec<u8>, R) {
        self.buffer.into_parts()
    }

    fn into_source(self) -> R {
        self.buffer.source
    }

    /// How much memory the buffer holds, in bytes.
    pub fn buffer_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    fn locate(&mut self) -> Option<Located> {
        self.pass_handed_out();
        loop {
            let located = match self.state {
                State::Start => self.start(),
                State::Value(before) => self.value(before),
                State::Separator => self.separator(),
                State::ListTail => self.list_tail(),
                State::Unwrapping(length) => self.unwrap_next(length),
                State::TooLong(..) => self.walk_on(),
                State::Rest(_) => self.recover(),
                State::Drain(_) => self.drain(),
                State::End => return self.failure(),
            };
            if located.is_some() {
                return located;
            }
        }
    }

    fn pass_handed_out(&mut self) {
        self.shed = None;
        if self.handed_out_bytes > 0 {
            self.buffer.consume(std::mem::take(&mut self.handed_out_bytes));
            self.after_value();
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
            _ => return self.expect_value(),
        };
        self.state = State::Drain(self.broken(kind));
        None
    }

    fn drain(&mut self) -> Option<Located> {
        self.buffer.consume_all();
        while self.buffer.fill() {
            self.buffer.consume_all();
        }
        self.report_state()
    }

    /// Says once why the stream ended early, if it did.
    fn failure(&mut self) -> Option<Located> {
        let failure = self.buffer.failure.take()?;
        let broken = self.broken(MalformedKind::Unreadable(failure));
        Some(self.report(broken))
    }

    fn expect_value(&mut self) -> Option<Located> {
        self.state = State::Value(Before::Anything);
        None
    }

    /// Something broken that begins here.
    fn broken(&mut self, kind: MalformedKind) -> Broken {
        Broken { kind, line: self.buffer.line(), offset: self.buffer.offset }
    }

    /// Something else than `what` that begins here.
    fn unexpected(&mut self, what: &'static str) -> Broken {
        let offset = self.buffer.offset;
        self.broken(MalformedKind::Syntax { kind: ScanErrorKind::Expected(what), offset })
    }

    /// Reports what was broken up to here.
    fn report(&self, broken: Broken) -> Located {
        let Broken { kind, line, offset } = broken;
        Located::Malformed(Malformed { line, offset, bytes: self.buffer.offset - offset, kind })
    }

    /// Reports what the state says is broken, and reads on behind it.
    fn report_state(&mut self) -> Option<Located> {
        match std::mem::replace(&mut self.state, State::Value(Before::Anything)) {
            State::TooLong(_, broken) | State::Rest(broken) | State::Drain(broken) => {
                Some(self.report(broken))
            }
            _ => None,
        }
    }
}
