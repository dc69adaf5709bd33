//! Reads JSON where it lies: a value is the bytes it was written with.
//!
//! Only [`crate::scan`] hands out bytes that are valid JSON; the readers here rely on
//! that to stay small, and give nothing (never panic) where it does not hold.

use std::borrow::Cow;

use crate::scan;

/// One JSON value: exactly its bytes, without white space around it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Json<'a>(&'a [u8]);

/// What a JSON value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

impl<'a> Json<'a> {
    /// `null`.
    pub(crate) const NULL: Json<'static> = Json(b"null");

    /// `{}`.
    pub(crate) const EMPTY_OBJECT: Json<'static> = Json(b"{}");

    /// Wraps the bytes of a value that has been validated.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The bytes as they were written.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// What the value is, by its first byte.
    pub fn kind(self) -> Kind {
        match self.0.first() {
            Some(b'"') => Kind::String,
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'-' | b'0'..=b'9') => Kind::Number,
            _ => Kind::Null,
        }
    }

    /// True for `null`.
    pub fn is_null(self) -> bool {
        self.kind() == Kind::Null
    }

    /// The decoded text of a string; nothing for other kinds.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        (self.kind() == Kind::String).then(|| decode(self.0))
    }

    /// Appends the decoded bytes of a string, of which those that are not UTF-8 stay as they
    /// are; nothing for other kinds.
    pub fn decode_into(self, text: &mut Vec<u8>) {
        if self.kind() == Kind::String {
            decode_escapes(unquoted(self.0), text);
        }
    }

    /// The text of a string, number or boolean; nothing for other kinds.
    pub fn text(self) -> Option<Cow<'a, str>> {
        match self.kind() {
            Kind::String => Some(decode(self.0)),
            Kind::Number | Kind::Bool => std::str::from_utf8(self.0).ok().map(Cow::Borrowed),
            Kind::Null | Kind::Array | Kind::Object => None,
        }
    }

    /// The value behind `key` of an object; of duplicate keys the last one.
    pub fn get(self, key: &str) -> Option<Json<'a>> {
        let mut found = None;
        for (name, value) in self.entries() {
            if name.is(key) {
                found = Some(value);
            }
        }
        found
    }

    /// The values behind some keys of an object, found in one pass.
    pub(crate) fn get_all<const COUNT: usize>(self, keys: [&str; COUNT]) -> [Option<Json<'a>>; COUNT] {
        let mut found = [None; COUNT];
        for (name, value) in self.entries() {
            for (key, found) in keys.iter().zip(&mut found) {
                if name.is(key) {
                    *found = Some(value);
                }
            }
        }
        found
    }

    /// Follows `keys` from object to object.
    pub fn at(self, keys: &[&str]) -> Option<Json<'a>> {
        keys.iter().try_fold(self, |value, key| value.get(key))
    }

    /// The string behind `key`, decoded.
    pub fn str_at(self, key: &str) -> Option<Cow<'a, str>> {
        self.get(key)?.as_str()
    }

    /// The entries of an object in their order, duplicates included; none for other kinds.
    pub fn entries(self) -> Entries<'a> {
        Entries { rest: self.inside(Kind::Object) }
    }

    /// The elements of an array; none for other kinds.
    pub fn elements(self) -> Elements<'a> {
        Elements { rest: self.inside(Kind::Array) }
    }

    fn inside(self, kind: Kind) -> &'a [u8] {
        if self.kind() == kind { self.0.get(1..).unwrap_or_default() } else { &[] }
    }
}

impl std::fmt::Debug for Json<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&String::from_utf8_lossy(self.0))
    }
}

/// A key of an object, still as it was written.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The string with its quotes.
    written: &'a [u8],
    /// True when nothing in it is escaped.
    is_plain: bool,
}

impl<'a> Key<'a> {
    /// The key whose opening quote is at `at`; the string has been validated.
    pub(crate) fn written(bytes: &'a [u8], at: usize) -> Self {
        let (end, is_plain) = scan::skip_string(bytes, at).map_or((at, true), |key| (key.end, key.is_plain));
        Self { written: bytes.get(at..end).unwrap_or_default(), is_plain }
    }

    /// True when the key, decoded, is `name`.
    pub fn is(self, name: &str) -> bool {
        if self.is_plain { unquoted(self.written) == name.as_bytes() } else { decode(self.written) == name }
    }

    /// What follows the key in a text that begins with it.
    #[inline]
    pub(crate) fn strip_from(self, text: &str) -> Option<&str> {
        // Most keys are something else altogether.
        let first = self.written.get(1).copied().filter(|first| first.is_ascii() && *first != b'"');
        if self.is_plain && first.is_some() && first != text.as_bytes().first().copied() {
            return None;
        }
        self.strip_alike_from(text)
    }

    /// The same of a key that begins as the text does.
    fn strip_alike_from(self, text: &str) -> Option<&str> {
        match self.plain().filter(|key| key.is_ascii()) {
            Some(key) => text.as_bytes().strip_prefix(key).and_then(|_| text.get(key.len()..)),
            None => text.strip_prefix(self.text().as_ref()),
        }
    }

    /// The key, if nothing in it is escaped.
    fn plain(self) -> Option<&'a [u8]> {
        self.is_plain.then(|| unquoted(self.written))
    }

    /// The bytes of the key as it was written, quotes included.
    pub(crate) fn bytes(self) -> &'a [u8] {
        self.written
    }

    /// The decoded key.
    pub fn text(self) -> Cow<'a, str> {
        self.plain().map_or_else(|| decode(self.written), lossy)
    }
}

/// The entries of an object; see [`Json::entries`].
pub struct Entries<'a> {
    rest: &'a [u8],
}

impl Entries<'_> {
    /// How many bytes of the object lie behind the entry that came last.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (Key<'a>, Json<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let start = scan::after(self.rest, 0, b',');
        let key = scan::skip_string(self.rest, start)?;
        let value = scan::after(self.rest, key.end, b':');
        let end = scan::skip_value(self.rest, value)?;
        let name = Key { written: self.rest.get(start..key.end)?, is_plain: key.is_plain };
        let item = (name, Json(self.rest.get(value..end)?));
        self.rest = self.rest.get(end..)?;
        Some(item)
    }
}

/// The elements of an array; see [`Json::elements`].
pub struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Elements<'a> {
    type Item = Json<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = scan::after(self.rest, 0, b',');
        let end = scan::skip_value(self.rest, start)?;
        let item = Json(self.rest.get(start..end)?);
        self.rest = self.rest.get(end..)?;
        Some(item)
    }
}

fn unquoted(string: &[u8]) -> &[u8] {
    string.get(1..string.len().saturating_sub(1)).unwrap_or_default()
}

/// Decodes a string with its quotes. Lone surrogates and bytes that are not UTF-8 become
/// U+FFFD, as the API server's own decoder makes them: a patch body is logged as it was
/// sent, and an event must not escape detection by carrying one.
fn decode(string: &[u8]) -> Cow<'_, str> {
    let inside = unquoted(string);
    if memchr::memchr(b'\\', inside).is_none() {
        return lossy(inside);
    }
    let mut text = Vec::with_capacity(inside.len());
    decode_escapes(inside, &mut text);
    match String::from_utf8(text) {
        Ok(text) => Cow::Owned(text),
        Err(error) => Cow::Owned(String::from_utf8_lossy(error.as_bytes()).into_owned()),
    }
}

/// Appends what stands between quotes, decoded.
fn decode_escapes(inside: &[u8], text: &mut Vec<u8>) {
    let mut rest = inside;
    while !rest.is_empty() {
        // One escape often follows another.
        while let Some((b'\\', escape)) = rest.split_first() {
            rest = unescape(escape, text);
        }
        let (plain, behind) = rest.split_at(memchr::memchr(b'\\', rest).unwrap_or(rest.len()));
        text.extend_from_slice(plain);
        rest = behind;
    }
}

/// Most bytes are UTF-8, and that alone is told sooner than how to mend what is not.
pub(crate) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// Decodes the escape whose backslash has been read, and returns what follows it.
fn unescape<'a>(escape: &'a [u8], text: &mut Vec<u8>) -> &'a [u8] {
    let Some((&letter, rest)) = escape.split_first() else { return escape };
    match letter {
        b'b' => text.push(0x08),
        b'f' => text.push(0x0c),
        b'n' => text.push(b'\n'),
        b'r' => text.push(b'\r'),
        b't' => text.push(b'\t'),
        b'u' => return unescape_unicode(rest, text),
        other => text.push(other),
    }
    rest
}

fn unescape_unicode<'a>(digits: &'a [u8], text: &mut Vec<u8>) -> &'a [u8] {
    let Some(first) = hex4(digits) else { return digits };
    let mut rest = &digits[4..];
    let low = rest.strip_prefix(b"\\u").and_then(hex4).filter(|low| (0xdc00..0xe000).contains(low));
    let code = match (first, low) {
        (0xd800..0xdc00, Some(low)) => {
            rest = &rest[6..];
            0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00)
        }
        _ => first,
    };
    match char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER) {
        character if character.is_ascii() => text.push(character as u8),
        character => text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
    }
    rest
}

fn hex4(digits: &[u8]) -> Option<u32> {
    let digits = digits.get(..4)?.iter();
    digits.map(|digit| char::from(*digit).to_digit(16)).try_fold(0, |code, digit| Some(code << 4 | digit?))
}

#[cfg(test)]
mod tests {
    use super::Json;

    #[test]
    fn strings_decode_as_go_decodes_them() {
        check(br#""plain""#, "plain");
        check(br#""""#, "");
        check(br#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t");
        check(br#""\u0041\u00e9\u20AC""#, "Aé€");
        check(br#""\ud83d\ude00""#, "\u{1F600}");
        check(br#""\ud800""#, "\u{FFFD}");
        check(br#""\ud800\ud800\udc00""#, "\u{FFFD}\u{10000}");
        check(br#""\ude00x""#, "\u{FFFD}x");
        check(br#""\ud83dx""#, "\u{FFFD}x");
        check(b"\"a\xffb\"", "a\u{FFFD}b");
        check(b"\"\\u0041\xff\"", "A\u{FFFD}");
    }

    #[test]
    fn the_last_of_duplicate_keys_counts_however_it_is_written() {
        let json = Json::new(br#"{"a":1, "b":2, "\u0061" : 3}"#);
        assert_eq!(json.get("a").and_then(Json::text).as_deref(), Some("3"));
    }

    #[test]
    fn bytes_that_are_not_json_give_nothing() {
        for bytes in [&b""[..], b"{", b"[", b"\"", b"{\"a\"", b"{\"a\":", b"[1,", b"\\", b"\"\\u12"] {
            let json = Json::new(bytes);
            assert_eq!(
                json.entries().count() + json.elements().count() + usize::from(json.get("a").is_some()),
                usize::from(bytes == b"[1,")
            );
            let _ = json.text();
        }
    }

    #[track_caller]
    fn check(json: &[u8], expected: &str) {
        assert_eq!(Json::new(json).as_str().as_deref(), Some(expected));
    }
}
