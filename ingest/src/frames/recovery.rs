//! Steps over what is broken, to where reading can go on.

use std::io::Read;

use super::scanning::{Object, Unscanned, scan_object};
use super::search::{Behind, Found, SEARCH_BYTES_MAX, SEARCH_BYTES_MIN};
use super::shedding::Shedding;
use super::values::Container;
use super::walk::{Walk, Walked};
use super::{Broken, Frames, Located, Shed, State};
use crate::malformed::MalformedKind;

/// How many blanks behind an event are looked at to see whether its line ends there.
const BLANKS_MAX: usize = 4096;

impl<R: Read> Frames<R> {
    pub(super) fn fail_to_scan(&mut self, unscanned: Unscanned) -> Option<Located> {
        let kind = self.kind_of(unscanned);
        match unscanned {
            Unscanned::Broken(_) => self.fail(kind),
            Unscanned::TooLong => {
                let is_object = self.buffer.peek(0) == Some(b'{');
                self.shedding = (self.sheds && is_object).then(|| Shedding::new(self.event_bytes_max));
                self.state = State::TooLong(Walk::default(), self.broken(kind));
                None
            }
        }
    }

    /// Gives up what is at the front, and the containers around it if its end is not known.
    pub(super) fn fail(&mut self, kind: MalformedKind) -> Option<Located> {
        if self.containers.is_empty() {
            return self.break_off(kind);
        }
        // No bracket is open for this one to close, so it is an item of its own.
        if self.buffer.peek(0) == Some(b'}') {
            return Some(self.bad_value(kind, 1));
        }
        self.give_up(kind, Walk::default())
    }

    /// Gives up the rest of the list behind its items.
    pub(super) fn fail_tail(&mut self, unscanned: Unscanned) -> Option<Located> {
        let kind = self.kind_of(unscanned);
        self.give_up(kind, Walk::inside_object())
    }

    fn give_up(&mut self, kind: MalformedKind, walk: Walk) -> Option<Located> {
        match self.walk_ahead(walk) {
            Some(length) => Some(self.bad_value(kind, length)),
            None => self.break_off(kind),
        }
    }

    /// Gives up what is at the front, and the containers around it.
    fn break_off(&mut self, kind: MalformedKind) -> Option<Located> {
        let broken = self.broken(kind);
        self.buffer.consume(1);
        self.lose_containers();
        self.state = State::Rest(broken);
        None
    }

    pub(super) fn lose_containers(&mut self) {
        let brackets = self.containers.drain(..).map(Container::closing_brackets);
        self.lost_brackets = self.lost_brackets.max(brackets.sum());
    }

    /// Where the item that is broken at the front ends, if its brackets tell.
    fn walk_ahead(&mut self, mut walk: Walk) -> Option<usize> {
        if self.is_vain_spent() {
            return None;
        }
        let mut walked_bytes = 0;
        loop {
            let live = self.buffer.live();
            let end = live.len().min(self.event_bytes_max);
            // Invariant: `walked_bytes` never exceeds `end`, which only grows.
            match walk.step(&live[walked_bytes..end]) {
                Walked::Item(length) => return Some(walked_bytes + length),
                Walked::All if end < self.event_bytes_max && self.buffer.fill() => walked_bytes = end,
                Walked::All => {
                    self.vain_bytes += end as u64;
                    return None;
                }
                Walked::Line(length) | Walked::Broken(length) => {
                    self.vain_bytes += (walked_bytes + length) as u64;
                    return None;
                }
            }
        }
    }

    /// Steps over an item that is too long.
    pub(super) fn walk_on(&mut self) -> Option<Located> {
        let State::TooLong(walk, broken) = &mut self.state else { return None };
        let live = self.buffer.live();
        let walked = walk.step(live);
        if let Some(shedding) = &mut self.shedding {
            // Invariant: a walk ends within what it was given.
            shedding.step(&live[..walked.length().unwrap_or(live.len())]);
        }
        match walked {
            Walked::All => {
                self.buffer.consume_all();
                if self.buffer.fill() { None } else { self.report_state() }
            }
            Walked::Item(length) => {
                self.buffer.consume(length);
                let located = self.shed_event();
                let report = self.report_state();
                self.after_value();
                located.or(report)
            }
            Walked::Line(length) => {
                self.buffer.consume(length);
                self.lose_containers();
                self.report_state()
            }
            Walked::Broken(length) => {
                let broken = broken.clone();
                self.buffer.consume(length);
                self.lose_containers();
                self.state = State::Rest(broken);
                None
            }
        }
    }

    /// The item that was too long as an event, if it is one and short enough now.
    fn shed_event(&mut self) -> Option<Located> {
        let State::TooLong(_, Broken { line, offset, .. }) = self.state else { return None };
        let bytes = self.shedding.take()?.finish()?;
        let Ok(Object::Event(spans, _)) = scan_object(&bytes) else { return None };
        self.shed = Some(Shed { bytes, line, offset });
        Some(Located::Shed(spans))
    }

    /// Consumes what is broken up to where an event can begin, and reports it.
    pub(super) fn recover(&mut self) -> Option<Located> {
        let State::Rest(broken) = &mut self.state else { return None };
        let behind = match broken.kind {
            MalformedKind::NotAnObject => Behind::Garbage,
            _ => Behind::Item,
        };
        self.find_next(behind);
        // Text that only broke behind here was cut here.
        if let State::Rest(broken) = &mut self.state
            && matches!(broken.kind, MalformedKind::Syntax { offset, .. } if offset > self.buffer.offset)
        {
            broken.kind = MalformedKind::Truncated;
        }
        self.report_state()
    }

    /// Consumes everything before the next place where an event can begin.
    fn find_next(&mut self, behind: Behind) {
        let mut window_bytes = SEARCH_BYTES_MIN;
        loop {
            let live = self.buffer.live();
            let window = &live[..live.len().min(window_bytes)];
            let is_all = window.len() == live.len();
            let is_last = is_all && self.buffer.at_end;
            match self.search.find(window, behind, is_last) {
                Found::Resume(position) => return self.buffer.consume(position),
                Found::Marker(position) => {
                    self.buffer.consume(position);
                    if self.is_salvageable() {
                        return;
                    }
                    self.buffer.consume(1);
                    window_bytes = SEARCH_BYTES_MIN;
                }
                Found::Nothing(_) if is_last => return self.buffer.consume_all(),
                Found::Nothing(position) => {
                    self.buffer.consume(position);
                    if is_all {
                        self.buffer.fill();
                    }
                    window_bytes = SEARCH_BYTES_MAX.min(window_bytes * 2);
                }
            }
        }
    }

    /// True when an event begins here that is no part of what is broken: it ends where its
    /// line ends, or where another object begins.
    fn is_salvageable(&mut self) -> bool {
        if self.is_vain_spent() {
            return false;
        }
        let Ok(Object::Event(_, length) | Object::Doubtful(_, length)) = self.scan(scan_object) else {
            return false;
        };
        let mut next = length;
        while next - length < BLANKS_MAX && matches!(self.buffer.peek(next), Some(b' ' | b'\t' | b'\r')) {
            next += 1;
        }
        let is_whole = match self.buffer.peek(next) {
            Some(b'\n' | b'{' | b' ' | b'\t' | b'\r') | None => true,
            Some(_) => false,
        };
        if !is_whole {
            self.vain_bytes += next as u64;
        }
        is_whole
    }
}
