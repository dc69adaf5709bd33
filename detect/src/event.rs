//! An audit event as the bytes it arrived as, and where its top-level values lie in them.

use std::borrow::Cow;

use crate::context::{Shown, Watch};
use crate::json::{Json, Key as JsonKey, Kind};
use crate::scan::{self, Level, ScanError, ScanErrorKind};

macro_rules! keys {
    ($($variant:ident = $name:literal),* $(,)?) => {
        /// The top-level keys of `audit.k8s.io/v1` events that the scan remembers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum Key { $($variant),* }

        #[allow(non_upper_case_globals)]
        impl Key {
            /// Every key, in the order of the enum.
            pub const ALL: &'static [Key] = &[$(Key::$variant),*];

            /// The key as it is written in an event.
            pub fn name(self) -> &'static str {
                match self { $(Key::$variant => $name),* }
            }

            /// The key of this name, if the scan remembers it.
            pub fn from_name(name: &str) -> Option<Key> {
                Key::from_bytes(name.as_bytes())
            }

            /// The key of this name.
            fn from_bytes(name: &[u8]) -> Option<Key> {
                $(const $variant: &[u8] = $name.as_bytes();)*
                match name { $($variant => Some(Key::$variant),)* _ => None }
            }

            /// The key as it is written in an event, with its quotes and the colon.
            fn written(self) -> &'static [u8] {
                match self { $(Key::$variant => concat!('"', $name, "\":").as_bytes()),* }
            }
        }
    };
}

keys! {
    Kind = "kind",
    ApiVersion = "apiVersion",
    Level = "level",
    AuditId = "auditID",
    Stage = "stage",
    RequestUri = "requestURI",
    Verb = "verb",
    User = "user",
    ImpersonatedUser = "impersonatedUser",
    AuthenticationMetadata = "authenticationMetadata",
    SourceIps = "sourceIPs",
    UserAgent = "userAgent",
    ObjectRef = "objectRef",
    ResponseStatus = "responseStatus",
    RequestObject = "requestObject",
    ResponseObject = "responseObject",
    RequestReceivedTimestamp = "requestReceivedTimestamp",
    StageTimestamp = "stageTimestamp",
    Annotations = "annotations",
}

// Every key has a bit.
const _: () = assert!(Key::ALL.len() <= u32::BITS as usize);

/// Where a value lies; `0..0` when the key is absent.
type Span = (usize, usize);

/// One audit event: its raw bytes and the spans of its top-level keys, in any order.
///
/// Nothing below the top level has been looked at beyond checking that it is JSON. Of
/// duplicate keys the last one counts, as in Go and `serde_json`.
#[derive(Clone, Copy)]
pub struct Event<'a> {
    raw: &'a [u8],
    spans: [Span; Key::ALL.len()],
    /// Told of what is read and not shown.
    watch: Option<&'a Watch>,
}

/// Where the top-level values of an event lie: an [`Event`] without the borrow of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spans([Span; Key::ALL.len()]);

/// What [`Event::scan_prefix`] found at the beginning of some bytes.
// Nearly everything that is scanned is an event, and a box would cost an allocation each.
#[allow(clippy::large_enum_variant)]
pub enum Scanned<'a> {
    /// An object, and the position after its last byte.
    Event(Event<'a>, usize),
    /// An object with an `items` array that has not called itself an event (an `EventList`): the position of the array's `[`.
    List(usize),
}

/// What follows the `items` array of a list, from [`scan_list_tail`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListTail {
    /// The list's `}`, and the position after it.
    End(usize),
    /// A key with its value, and the position after them.
    Entry(usize),
    /// One more `items` array: the position of its `[`.
    Items(usize),
}

/// Scans what follows a value in an object: its end, or a comma and one more entry.
pub fn scan_list_tail(bytes: &[u8]) -> Result<ListTail, ScanError> {
    let at = scan::skip_whitespace(bytes, 0);
    let fail = |kind| Err(ScanError { offset: at, kind });
    match bytes.get(at) {
        Some(b'}') => return Ok(ListTail::End(at + 1)),
        Some(b',') => {}
        Some(_) => return fail(ScanErrorKind::Expected("`,` or `}`")),
        None => return fail(ScanErrorKind::Incomplete),
    }
    let key = scan::skip_whitespace(bytes, at + 1);
    let value = scan::key_end(bytes, key)?;
    if bytes.get(value) == Some(&b'[') && JsonKey::written(bytes, key).is("items") {
        return Ok(ListTail::Items(value));
    }
    scan::value_end(bytes, value).map(ListTail::Entry)
}

impl<'a> Event<'a> {
    /// Scans bytes that hold one object and nothing else but white space.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ScanError> {
        Self::parse_at(Level::best(), bytes)
    }

    /// [`Event::parse`] with the given instructions: all give the same, for tests and measurements.
    pub fn parse_at(level: Level, bytes: &'a [u8]) -> Result<Self, ScanError> {
        let start = scan::skip_whitespace(bytes, 0);
        let (event, end) = Self::object(level, bytes, start)?;
        match scan::skip_whitespace(bytes, end) {
            rest if rest == bytes.len() => Ok(event),
            offset => Err(ScanError { offset, kind: ScanErrorKind::Expected("the end of the event") }),
        }
    }

    /// Scans the object at the very beginning of `bytes`; more may follow it.
    pub fn scan_prefix(bytes: &'a [u8]) -> Result<Scanned<'a>, ScanError> {
        Self::scan_prefix_at(Level::best(), bytes)
    }

    /// [`Event::scan_prefix`] with the given instructions.
    pub fn scan_prefix_at(level: Level, bytes: &'a [u8]) -> Result<Scanned<'a>, ScanError> {
        let mut spans = [(0, 0); Key::ALL.len()];
        let mut list = None;
        let end = scan_object(level, bytes, 0, &mut spans, |value, spans| {
            // What says that it is an event is one, whatever else somebody put into it.
            let (start, end) = spans[Key::Kind as usize];
            if bytes.get(start..end).and_then(|kind| Json::new(kind).as_str()).as_deref() == Some("Event") {
                return std::ops::ControlFlow::Continue(());
            }
            list = Some(value);
            std::ops::ControlFlow::Break(())
        })?;
        match list {
            Some(array) => Ok(Scanned::List(array)),
            None => Ok(Scanned::Event(Self { raw: &bytes[..end], spans, watch: None }, end)),
        }
    }

    fn object(level: Level, bytes: &'a [u8], start: usize) -> Result<(Self, usize), ScanError> {
        let mut spans = [(0, 0); Key::ALL.len()];
        let end = scan_object(level, bytes, start, &mut spans, |_, _| std::ops::ControlFlow::Continue(()))?;
        for span in spans.iter_mut().filter(|span| span.1 > 0) {
            *span = (span.0 - start, span.1 - start);
        }
        Ok((Self { raw: &bytes[start..end], spans, watch: None }, end))
    }

    /// Puts an event together again from its own bytes and the spans found in them.
    pub fn with_spans(raw: &'a [u8], spans: Spans) -> Self {
        Self { raw, spans: spans.0, watch: None }
    }

    /// Where the top-level values lie in [`Event::raw`].
    pub fn spans(&self) -> Spans {
        Spans(self.spans)
    }

    /// The event's own bytes.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The same event, of which `watch` is told when more is read than it shows; that is then
    /// not shown.
    pub(crate) fn watched<'w>(&self, watch: &'w Watch) -> Event<'w>
    where
        'a: 'w,
    {
        Event { watch: Some(watch), ..*self }
    }

    /// The whole event as a JSON object.
    pub fn json(&self) -> Json<'a> {
        match self.watch {
            None => Json::new(self.raw),
            Some(watch) => watch.refuse().unwrap_or(Json::EMPTY_OBJECT),
        }
    }

    /// Whether a remembered top-level key is there; `null` counts as absent.
    pub fn has(&self, key: Key) -> bool {
        self.value(key).is_some_and(|value| !value.is_null())
    }

    /// The value of a remembered top-level key; `null` counts as absent.
    pub fn get(&self, key: Key) -> Option<Json<'a>> {
        self.top_level(key).filter(|value| !value.is_null())
    }

    /// The decoded string of a remembered top-level key.
    pub fn str(&self, key: Key) -> Option<Cow<'a, str>> {
        self.get(key)?.as_str()
    }

    /// The value of a remembered top-level key, `null` included.
    pub fn top_level(&self, key: Key) -> Option<Json<'a>> {
        self.shown(key, |shown, _| shown.is_whole(key))
    }

    /// The same, of which only what a dotted path below it spells is read.
    pub(crate) fn top_level_for(&self, key: Key, path: &str) -> Option<Json<'a>> {
        self.shown(key, |shown, value| shown.shows(key, value, path))
    }

    /// The value behind one key of a remembered top-level key, `null` included.
    pub(crate) fn entry(&self, key: Key, name: &str) -> Option<Json<'a>> {
        self.top_level_for(key, name)?.get(name)
    }

    /// The values behind some keys of a remembered top-level key, found in one pass; `null`
    /// counts as absent.
    pub(crate) fn entries<const COUNT: usize>(
        &self,
        key: Key,
        names: [&str; COUNT],
    ) -> [Option<Json<'a>>; COUNT] {
        let shows_all = |shown: &Shown, value| names.iter().all(|name| shown.shows(key, value, name));
        let found = self.shown(key, shows_all).map(|value| value.get_all(names));
        found.unwrap_or([None; COUNT]).map(|value| value.filter(|value| !value.is_null()))
    }

    /// The names of the event's annotations.
    pub(crate) fn annotation_names(&self) -> impl Iterator<Item = Cow<'a, str>> {
        // The context shows the names, whatever the values are; a facet does not.
        let annotations = match self.watch.filter(|watch| !watch.shown.tells_of_entries) {
            Some(watch) => watch.refuse(),
            None => self.value(Key::Annotations),
        };
        annotations.into_iter().flat_map(Json::entries).map(|(name, _)| name.text())
    }

    /// Follows `keys` below a remembered top-level key; `null` counts as absent.
    pub fn at(&self, key: Key, keys: &[&str]) -> Option<Json<'a>> {
        self.top_level_for(key, keys.first().unwrap_or(&""))?.at(keys).filter(|value| !value.is_null())
    }

    /// The decoded string below a remembered top-level key.
    pub fn str_at(&self, key: Key, name: &str) -> Option<Cow<'a, str>> {
        self.at(key, &[name])?.as_str()
    }

    /// Which top-level keys are there, and which of them are `null`: a bit each, in the order of [`Key::ALL`].
    pub(crate) fn presence(&self) -> (u32, u32) {
        let (mut present, mut null) = (0, 0);
        for (place, &(start, end)) in self.spans.iter().enumerate() {
            present |= u32::from(end > 0) << place;
            null |= u32::from(end > 0 && self.raw.get(start) == Some(&b'n')) << place;
        }
        (present, null)
    }

    fn value(&self, key: Key) -> Option<Json<'a>> {
        if let Some(watch) = self.watch.filter(|watch| !watch.shown.tells_of(key)) {
            return watch.refuse();
        }
        let (start, end) = self.spans[key as usize];
        (end > 0).then(|| self.raw.get(start..end).map(Json::new))?
    }

    /// The value of a key, unless somebody watches and what is read of it is not shown.
    /// Whether there is a value, and whether it is `null`, is told with the key.
    fn shown(&self, key: Key, is_shown: impl Fn(&Shown, Json<'a>) -> bool) -> Option<Json<'a>> {
        let value = self.value(key)?;
        match self.watch {
            Some(watch) if !value.is_null() && !is_shown(watch.shown, value) => watch.refuse(),
            _ => Some(value),
        }
    }

    /// Whether it bears what an API server gives every event and nobody gives a wrapper: an ID or
    /// a stage. Without them, an object that names a verb may be a wrapper all the same.
    pub fn is_certain(&self) -> bool {
        self.has(Key::AuditId) || self.has(Key::Stage)
    }

    /// Says why this JSON object is not an audit event; nothing when it is one.
    ///
    /// Only the shape of what the API server itself writes is checked, never what a
    /// client can put into a body.
    pub fn complaint(&self) -> Option<Complaint> {
        if let Some(kind) = self.top_level(Key::Kind)
            && kind.as_str().as_deref() != Some("Event")
        {
            return Some(Complaint::Kind);
        }
        for &(key, kind) in SHAPES {
            if self.top_level(key).is_some_and(|value| value.kind() != kind && !value.is_null()) {
                return Some(Complaint::Shape { key: key.name(), expected: kind });
            }
        }
        let named = self.get(Key::Verb).is_some() || self.get(Key::RequestUri).is_some();
        (!named).then_some(Complaint::NoVerb)
    }
}

/// Why a JSON object is not an audit event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Complaint {
    /// `kind` says that it is something else.
    #[error("not an audit event: `kind` is not `Event`")]
    Kind,
    /// Nothing says what was requested.
    #[error("not an audit event: neither `verb` nor `requestURI`")]
    NoVerb,
    /// A key that the API server writes has a value of the wrong kind.
    #[error("not an audit event: `{key}` is not {}", article(*expected))]
    #[allow(missing_docs)]
    Shape { key: &'static str, expected: Kind },
}

fn article(kind: Kind) -> &'static str {
    match kind {
        Kind::Null => "null",
        Kind::Bool => "a boolean",
        Kind::Number => "a number",
        Kind::String => "a string",
        Kind::Array => "an array",
        Kind::Object => "an object",
    }
}

const SHAPES: &[(Key, Kind)] = &[
    (Key::ApiVersion, Kind::String),
    (Key::Level, Kind::String),
    (Key::AuditId, Kind::String),
    (Key::Stage, Kind::String),
    (Key::RequestUri, Kind::String),
    (Key::Verb, Kind::String),
    (Key::User, Kind::Object),
    (Key::ImpersonatedUser, Kind::Object),
    (Key::SourceIps, Kind::Array),
    (Key::UserAgent, Kind::String),
    (Key::ObjectRef, Kind::Object),
    (Key::ResponseStatus, Kind::Object),
    (Key::RequestReceivedTimestamp, Kind::String),
    (Key::StageTimestamp, Kind::String),
    (Key::Annotations, Kind::Object),
];

/// Validates the object at `start`, notes the spans of known keys and returns its end.
/// An `items` array is shown to `on_items` first, which may end the scan there.
fn scan_object(
    level: Level,
    bytes: &[u8],
    start: usize,
    spans: &mut [Span; Key::ALL.len()],
    on_items: impl FnMut(usize, &[Span; Key::ALL.len()]) -> std::ops::ControlFlow<()>,
) -> Result<usize, ScanError> {
    match bytes.get(start) {
        Some(b'{') => {}
        Some(_) => return Err(ScanError { offset: start, kind: ScanErrorKind::Expected("`{`") }),
        None => return Err(ScanError { offset: start, kind: ScanErrorKind::Incomplete }),
    }
    if let Some(end) = scan::members_end(level, bytes, start, &mut Noted { spans, last: None, expected: 0 }) {
        return Ok(end);
    }
    *spans = [(0, 0); Key::ALL.len()];
    scan_object_slowly(bytes, start, spans, on_items)
}

/// The spans of known keys, and the key whose value comes next.
struct Noted<'s> {
    spans: &'s mut [Span; Key::ALL.len()],
    last: Option<Key>,
    /// How many keys stand before the one that is expected next.
    expected: usize,
}

impl Noted<'_> {
    /// Finds the key at `start` and the position of its value, if a closer look is not needed:
    /// there may be `items`, or something to decode.
    fn look_up(&mut self, bytes: &[u8], start: usize) -> Option<usize> {
        let end = scan::string_end(bytes, start).ok()?;
        let name = bytes.get(start + 1..end - 1)?;
        self.last = Key::from_bytes(name);
        if name == b"items" || self.last.is_none() && name.contains(&b'\\') {
            return None;
        }
        self.expected = self.last.map_or(self.expected, |key| key as usize + 1);
        Some(scan::after(bytes, end, b':'))
    }
}

impl scan::Members for Noted<'_> {
    const WANTED: bool = true;

    /// The API server writes keys in the order of [`Key::ALL`] and leaves some out.
    #[inline]
    fn key(&mut self, bytes: &[u8], start: usize) -> Option<usize> {
        let written = bytes.get(start..)?;
        for &key in Key::ALL[self.expected..].iter().take(3) {
            if written.starts_with(key.written()) {
                self.last = Some(key);
                self.expected = key as usize + 1;
                return Some(scan::skip_whitespace(bytes, start + key.written().len()));
            }
        }
        self.look_up(bytes, start)
    }

    #[inline]
    fn value(&mut self, start: usize, end: usize) {
        if let Some(key) = self.last {
            self.spans[key as usize] = (start, end);
        }
    }
}

fn scan_object_slowly(
    bytes: &[u8],
    start: usize,
    spans: &mut [Span; Key::ALL.len()],
    mut on_items: impl FnMut(usize, &[Span; Key::ALL.len()]) -> std::ops::ControlFlow<()>,
) -> Result<usize, ScanError> {
    let fail = |offset, kind| Err(ScanError { offset, kind });
    let mut at = scan::skip_whitespace(bytes, start + 1);
    if bytes.get(at) == Some(&b'}') {
        return Ok(at + 1);
    }
    loop {
        let value = scan::key_end(bytes, at)?;
        let key = JsonKey::written(bytes, at);
        if bytes.get(value) == Some(&b'[') && key.is("items") && on_items(value, spans).is_break() {
            return Ok(value);
        }
        let end = scan::scalar_value_end(bytes, value)?;
        if let Some(key) = Key::from_name(&key.text()) {
            spans[key as usize] = (value, end);
        }
        at = scan::skip_whitespace(bytes, end);
        match bytes.get(at) {
            Some(b',') => at = scan::skip_whitespace(bytes, at + 1),
            Some(b'}') => return Ok(at + 1),
            Some(_) => return fail(at, ScanErrorKind::Expected("`,` or `}`")),
            None => return fail(at, ScanErrorKind::Incomplete),
        }
    }
}
