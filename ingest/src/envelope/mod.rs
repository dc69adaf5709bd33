//! Finds the audit events inside what shippers and clouds wrap around them.
//!
//! A wrapper is a JSON object that is no event itself and holds one as text or as an object
//! under a name that shippers use (`parts`), holds a list of such objects, or is a log entry
//! of Google Cloud that says the same in other words (`log_entry`). Text may have a prefix
//! (`prefix`). An event stays the bytes that the API server wrote, so its alerts have the ids
//! that those of the bare event have.
//!
//! An object that names a verb and lacks what an API server writes into every event is doubtful:
//! it may be an event of which a shipper kept a part, or a wrapper that somebody made look like
//! one. It is opened; if it holds events it is a wrapper, and an event as well if it says who did
//! something or to what. Neither hides the other.
//!
//! **Invariant:** an object that is certainly an event is never opened, whatever somebody put into
//! it; no byte is read more than a few times for each of at most [`WRAPPERS_MAX`] wrappers, and memory stays
//! below a few times the outermost one.

mod hint;
mod log_entry;
mod parts;
pub(crate) mod prefix;
mod refusal;
mod request;
#[cfg(test)]
mod tests;

use detect::event::{Complaint, Event, Key, Scanned, Spans};
use detect::json::{Json, Kind};
use detect::scan;

use hint::Hints;
use parts::Parts;
pub use refusal::{NotAnEnvelope, Reason, Refused};

/// How many wrappers may lie in one another. A record of Azure takes three (the batch, the record, its
/// properties); a shipper that sends it on as text makes it four.
pub const WRAPPERS_MAX: usize = 4;

/// How much room is kept for the next envelope; what an exceptional one took is given back.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// Opens envelopes, one after the other, in the same room.
#[derive(Debug, Default)]
pub struct Opener {
    /// By depth: decoded text.
    texts: [Vec<u8>; WRAPPERS_MAX],
    contents: Contents,
    /// The event handed out last: where it lies in the contents, and its values in it.
    current: Option<(Content, Spans)>,
    /// How many of the contents have been handed out.
    next: usize,
}

/// What an envelope held.
#[derive(Clone, Debug)]
pub struct Opened {
    /// How many audit events [`Opener::advance`] gives.
    pub event_count: usize,
    /// How many records say themselves that they are no audit events.
    pub skipped_count: u64,
    /// What else was in it.
    pub refused: Option<Refused>,
    /// True if the object is an event itself and nothing else.
    pub is_bare: bool,
}

/// Where an event lies in the bytes of the contents.
#[derive(Clone, Copy, Debug)]
struct Content {
    start: usize,
    end: usize,
    /// What the envelope says about its cluster.
    hint: Option<u32>,
}

/// What wrappers say of all they hold.
#[derive(Clone, Copy, Default)]
struct Cover {
    hint: Option<u32>,
    /// True when it is another log than the audit log.
    is_other: bool,
}

/// What has been found in an envelope.
#[derive(Debug, Default)]
struct Contents {
    bytes: Vec<u8>,
    events: Vec<Content>,
    hints: Hints,
    /// How many of the events say certainly that they are some.
    certain_count: usize,
    skipped_count: u64,
    refused: Option<Refused>,
}

impl Opener {
    /// Opens `bytes`, one JSON object. An object that is an event itself holds that.
    ///
    /// # Errors
    /// Fails if it is no object that anybody wraps events in.
    pub fn open(&mut self, bytes: &[u8]) -> Result<Opened, NotAnEnvelope> {
        self.clear();
        let object = Event::parse(bytes).map_err(|_| NotAnEnvelope)?;
        let Self { texts, contents, .. } = self;
        if let Err(reason) = contents.object(&object, Cover::default(), texts) {
            if matches!(reason, Reason::NotAnEvent(_)) {
                return Err(NotAnEnvelope);
            }
            contents.refuse(reason);
        }
        let is_whole =
            |content: &Content| contents.bytes.get(content.start..content.end) == Some(object.raw());
        Ok(Opened {
            event_count: contents.events.len(),
            skipped_count: contents.skipped_count,
            refused: contents.refused.clone(),
            is_bare: contents.refused.is_none() && contents.events.first().is_some_and(is_whole),
        })
    }

    /// Goes on to the next event; false behind the last one.
    pub fn advance(&mut self) -> bool {
        while let Some(&content) = self.contents.events.get(self.next) {
            self.next += 1;
            let bytes = self.contents.bytes.get(content.start..content.end).unwrap_or_default();
            if let Ok(event) = Event::parse(bytes) {
                self.current = Some((content, event.spans()));
                return true;
            }
        }
        self.current = None;
        false
    }

    /// The event that was gone on to last.
    pub fn event(&self) -> Option<Event<'_>> {
        let (content, spans) = self.current?;
        let bytes = self.contents.bytes.get(content.start..content.end)?;
        Some(Event::with_spans(bytes, spans))
    }

    /// What the envelope says about the cluster of that event. Whoever can write to the source can
    /// say anything here.
    pub fn cluster_hint(&self) -> Option<&str> {
        let (content, _) = self.current?;
        self.contents.hints.get(content.hint?)
    }

    fn clear(&mut self) {
        self.texts.iter_mut().for_each(shrink);
        let Contents { bytes, events, hints, certain_count, skipped_count, refused } = &mut self.contents;
        shrink(bytes);
        shrink(events);
        hints.clear();
        (*certain_count, *skipped_count, *refused) = (0, 0, None);
        (self.current, self.next) = (None, 0);
    }
}

/// Empties it, and gives back what is more room than is kept.
fn shrink<T>(room: &mut Vec<T>) {
    room.clear();
    room.shrink_to(KEPT_BYTES_MAX / size_of::<T>());
}

impl Contents {
    /// Takes an object: the event that it is, or what it holds.
    fn object(&mut self, object: &Event<'_>, cover: Cover, texts: &mut [Vec<u8>]) -> Result<(), Reason> {
        if let Some(complaint) = object.complaint() {
            return self.wrapper(object, complaint, cover, texts);
        }
        self.certain_count += usize::from(object.is_certain());
        let is_event = !may_wrap(object) || self.doubtful(object, cover, texts);
        if is_event {
            self.add(object.raw(), cover);
        }
        Ok(())
    }

    /// Takes what an object holds that may be an event itself; whether it is one.
    fn doubtful(&mut self, object: &Event<'_>, cover: Cover, texts: &mut [Vec<u8>]) -> bool {
        let (start, count) = (self.bytes.len(), self.events.len());
        let (skipped_count, outer) = (self.skipped_count, self.refused.take());
        let taken = self.wrapper(object, Complaint::NoVerb, cover, texts);
        let inner = std::mem::replace(&mut self.refused, outer);
        if self.events.len() > count {
            if let Some(inner) = inner {
                self.refuse_all(inner);
            }
            return object.has(Key::User) || object.has(Key::ObjectRef);
        }
        self.bytes.truncate(start);
        self.skipped_count = skipped_count;
        let reason = taken.err().or(inner.map(|inner| inner.reason));
        if let Some(reason) = reason.filter(Reason::may_hide_an_event) {
            self.refuse(reason);
        }
        true
    }

    /// Takes what an object holds.
    fn wrapper(
        &mut self,
        object: &Event<'_>,
        complaint: Complaint,
        cover: Cover,
        texts: &mut [Vec<u8>],
    ) -> Result<(), Reason> {
        let (text, deeper) = texts.split_first_mut().ok_or(Reason::TooDeep)?;
        let parts = Parts::of(object.json());
        let cover = Cover {
            hint: self.hints.of(&parts).or(cover.hint),
            is_other: cover.is_other || parts.is_of_other_log(),
        };
        let opened = self.open(&parts, cover, text, deeper);
        match opened.unwrap_or(Err(Reason::NotAnEvent(complaint))) {
            Err(_) if is_list_without_items(object) => Ok(()),
            Err(_) if cover.is_other => {
                self.skipped_count += 1;
                Ok(())
            }
            taken => taken,
        }
    }

    /// Opens a wrapper; nothing if it has nothing to open.
    fn open(
        &mut self,
        parts: &Parts<'_>,
        cover: Cover,
        text: &mut Vec<u8>,
        deeper: &mut [Vec<u8>],
    ) -> Option<Result<(), Reason>> {
        if let Some(entry) = parts.log_entry() {
            return Some(self.log_entry(entry, parts, cover));
        }
        if let Some(list) = parts.list() {
            let mut is_empty = true;
            list.for_each(|record| {
                is_empty = false;
                let taken = self.value(record, cover, text, deeper);
                self.note(taken, cover);
            });
            if !is_empty || parts.values().next().is_none() {
                return Some(Ok(()));
            }
        }
        let certain_count = self.certain_count;
        let (mut failure, mut is_taken) = (None, false);
        for value in parts.values() {
            match self.value(value, cover, text, deeper) {
                // What only looks like an event does not keep one in another place from being found.
                Ok(()) if self.certain_count == certain_count => is_taken = true,
                Ok(()) => return Some(Ok(())),
                Err(reason) => failure = Some(reason.or(failure)),
            }
        }
        if !is_taken {
            return failure.map(Err);
        }
        if let Some(reason) = failure.filter(Reason::may_hide_an_event) {
            self.refuse(reason);
        }
        Some(Ok(()))
    }

    /// Takes what stands where an event should.
    fn value(
        &mut self,
        value: Json<'_>,
        cover: Cover,
        text: &mut Vec<u8>,
        deeper: &mut [Vec<u8>],
    ) -> Result<(), Reason> {
        match value.kind() {
            Kind::String => {
                text.clear();
                value.decode_into(text);
                self.text(text, cover, deeper)
            }
            Kind::Object => self.object(&Event::parse(value.bytes())?, cover, deeper),
            // A line of Loki: when, and what.
            Kind::Array => match value.elements().nth(1) {
                Some(line) if line.kind() == Kind::String => self.value(line, cover, text, deeper),
                _ => Err(Reason::NoText),
            },
            Kind::Null | Kind::Bool | Kind::Number => Err(Reason::NoText),
        }
    }

    /// Takes the objects of a text, which may have a prefix.
    fn text(&mut self, text: &[u8], cover: Cover, texts: &mut [Vec<u8>]) -> Result<(), Reason> {
        let start = prefix::object_start(text).ok_or(Reason::NoObject)?;
        let mut rest = text.get(start..).unwrap_or_default();
        let mut is_first = true;
        while !rest.is_empty() {
            let (event, length) = match first_object(rest) {
                Ok(first) => first,
                Err(reason) if is_first => return Err(reason),
                Err(reason) => {
                    self.note(Err(reason), cover);
                    return Ok(());
                }
            };
            let taken = self.object(&event, cover, texts).map_err(Reason::of_text);
            rest = rest.get(length..).unwrap_or_default().trim_ascii_start();
            if is_first && rest.is_empty() {
                return taken;
            }
            self.note(taken, cover);
            is_first = false;
        }
        Ok(())
    }

    fn log_entry(&mut self, entry: Json<'_>, parts: &Parts<'_>, cover: Cover) -> Result<(), Reason> {
        let start = self.bytes.len();
        let written = log_entry::write(entry, parts, &mut self.bytes);
        let composed = self.bytes.get(start..).unwrap_or_default();
        let taken = written.and_then(|()| Ok(Event::parse(composed)?.complaint()));
        match taken {
            Ok(None) => {
                self.events.push(Content { start, end: self.bytes.len(), hint: cover.hint });
                self.certain_count += 1;
                Ok(())
            }
            Ok(Some(complaint)) => {
                self.bytes.truncate(start);
                Err(Reason::NotAnEvent(complaint))
            }
            Err(reason) => {
                self.bytes.truncate(start);
                Err(reason)
            }
        }
    }

    fn add(&mut self, event: &[u8], cover: Cover) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(event);
        self.events.push(Content { start, end: self.bytes.len(), hint: cover.hint });
    }

    /// Counts a record that is no event.
    fn note(&mut self, taken: Result<(), Reason>, cover: Cover) {
        match taken {
            Ok(()) => {}
            Err(_) if cover.is_other => self.skipped_count += 1,
            Err(reason) => self.refuse(reason),
        }
    }

    fn refuse(&mut self, reason: Reason) {
        self.refuse_all(Refused { count: 1, reason });
    }

    fn refuse_all(&mut self, Refused { count, reason }: Refused) {
        let earlier = self.refused.take();
        let count = count + earlier.as_ref().map_or(0, |earlier| earlier.count);
        self.refused = Some(Refused { count, reason: reason.or(earlier.map(|earlier| earlier.reason)) });
    }
}

/// True for an object that counts as an event and may be a wrapper that somebody made look like
/// one: it has a place where an event may stand, and nothing that only an API server writes.
pub fn may_wrap(event: &Event<'_>) -> bool {
    !event.is_certain() && Parts::of(event.json()).has_doors()
}

/// The object at the beginning of some bytes, and its length.
fn first_object(bytes: &[u8]) -> Result<(Event<'_>, usize), Reason> {
    match Event::scan_prefix(bytes)? {
        Scanned::Event(event, length) => Ok((event, length)),
        Scanned::List(_) => {
            let length = scan::value_end(bytes, 0)?;
            Ok((Event::parse(bytes.get(..length).unwrap_or_default())?, length))
        }
    }
}

/// Go writes a list without items as `"items":null`.
fn is_list_without_items(object: &Event<'_>) -> bool {
    object.str(Key::Kind).as_deref() == Some("EventList")
        && object.json().get("items").is_none_or(|items| items.kind() == Kind::Null)
}
