//! Texts with wildcards, and what modifiers make of them.

use core::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Part;
use super::error::RuleErrorKind as Kind;

/// How many dashes of one value `windash` varies, as in pySigma; each multiplies by five.
const VARIED_DASHES_MAX: usize = 3;
/// What `windash` takes for a dash.
const DASHES: [char; 5] = ['-', '/', '\u{2013}', '\u{2014}', '\u{2015}'];

/// A text with wildcards, and what has been done to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Text {
    pub(super) parts: Vec<Part>,
    pub(super) is_cased: bool,
    pub(super) has_byte_order_mark: bool,
}

impl Text {
    /// Reads wildcards and escapes: a backslash takes the meaning from `*`, `?` and
    /// another backslash, and is an ordinary character before everything else.
    pub(super) fn parse(text: &str) -> Self {
        let mut parts = Parts::default();
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '*' => parts.push(Part::Many),
                '?' => parts.push(Part::One),
                '\\' => parts
                    .character(characters.next_if(|next| matches!(next, '*' | '?' | '\\')).unwrap_or('\\')),
                other => parts.character(other),
            }
        }
        Self { parts: parts.0, ..Self::default() }
    }

    /// The name of the first placeholder.
    pub(super) fn placeholder(&self) -> Option<&str> {
        self.parts.iter().find_map(|part| match part {
            Part::Literal(text) => placeholder(text),
            _ => None,
        })
    }

    fn literal(&self, text: String) -> Self {
        let parts = if text.is_empty() { Vec::new() } else { vec![Part::Literal(text)] };
        Self { parts, is_cased: self.is_cased, has_byte_order_mark: false }
    }

    /// The text without wildcards; nothing when it has any.
    pub(super) fn plain(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    fn map(&self, mut change: impl FnMut(&str) -> Option<String>) -> Option<Self> {
        let mut parts = Parts::default();
        for part in &self.parts {
            match part {
                Part::Literal(text) => parts.literal(&change(text)?),
                wildcard => parts.push(wildcard.clone()),
            }
        }
        Some(Self { parts: parts.0, ..self.clone() })
    }

    /// The text with a `*` at its beginning.
    pub(super) fn open_start(mut self) -> Self {
        if self.parts.first() != Some(&Part::Many) {
            self.parts.insert(0, Part::Many);
        }
        self
    }

    /// The text with a `*` at its end.
    pub(super) fn open_end(mut self) -> Self {
        if self.parts.last() != Some(&Part::Many) {
            self.parts.push(Part::Many);
        }
        self
    }
}

/// Parts under construction: literals grow, wildcards separate them.
#[derive(Default)]
struct Parts(Vec<Part>);

impl Parts {
    fn push(&mut self, wildcard: Part) {
        // Several `*` in a row are one.
        if !(wildcard == Part::Many && self.0.last() == Some(&Part::Many)) {
            self.0.push(wildcard);
        }
    }

    fn character(&mut self, character: char) {
        self.literal(character.encode_utf8(&mut [0; 4]));
    }

    fn with(&self, character: char) -> Self {
        let mut parts = Self(self.0.clone());
        parts.character(character);
        parts
    }

    fn literal(&mut self, text: &str) {
        match self.0.last_mut() {
            _ if text.is_empty() => {}
            Some(Part::Literal(last)) => last.push_str(text),
            _ => self.0.push(Part::Literal(text.to_owned())),
        }
    }
}

impl From<String> for Text {
    /// A text as it is: no wildcards, no escapes.
    fn from(text: String) -> Self {
        Self::default().literal(text)
    }
}

/// The text in UTF-16, in one of the two orders of bytes.
pub(super) fn wide(text: &Text, bytes: fn(u16) -> [u8; 2]) -> Option<Text> {
    text.map(|literal| utf16(literal, bytes))
}

/// The UTF-16 bytes of a text, read as UTF-8 again; nothing where that is not possible.
fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Option<String> {
    String::from_utf8(text.encode_utf16().flat_map(bytes).collect()).ok()
}

/// As [`wide`] makes it, with a byte order mark before it.
pub(super) fn with_byte_order_mark(text: &Text) -> Option<Text> {
    let mut wide = wide(text, u16::to_le_bytes)?;
    match wide.parts.first_mut() {
        Some(Part::Literal(first)) => first.insert(0, '\u{feff}'),
        _ => wide.parts.insert(0, Part::Literal('\u{feff}'.into())),
    }
    wide.has_byte_order_mark = true;
    Some(wide)
}

/// The text in base64; not for texts with wildcards.
pub(super) fn base64(text: &Text, modifier: &'static str) -> Result<Text, Kind> {
    Ok(text.literal(STANDARD.encode(bytes_of(text, modifier)?)))
}

/// What stays the same of the base64 of a text, whichever of three positions it has in a
/// longer one.
pub(super) fn base64_offsets(text: &Text, modifier: &'static str) -> Result<Vec<Text>, Kind> {
    let bytes = bytes_of(text, modifier)?;
    Ok(offsets(&bytes).map(|encoded| text.literal(encoded)).into())
}

fn bytes_of(text: &Text, modifier: &'static str) -> Result<Vec<u8>, Kind> {
    let plain = text.plain().ok_or(Kind::Wildcards { modifier })?;
    Ok(match plain.strip_prefix('\u{feff}').filter(|_| text.has_byte_order_mark) {
        // In UTF-16 the mark has two bytes, not the three of UTF-8.
        Some(rest) => [b"\xff\xfe", rest.as_bytes()].concat(),
        None => plain.as_bytes().to_vec(),
    })
}

fn offsets(bytes: &[u8]) -> [String; 3] {
    [(0, 0), (1, 2), (2, 3)].map(|(offset, cut_start)| {
        let padded = [&b"  "[..offset], bytes].concat();
        let cut_end = match padded.len() % 3 {
            0 => 0,
            1 => 3,
            _ => 2,
        };
        let encoded = STANDARD.encode(&padded);
        encoded.get(cut_start..encoded.len().saturating_sub(cut_end)).unwrap_or_default().to_owned()
    })
}

/// The text with each dash of its options written in every way.
pub(super) fn vary_dashes(text: &Text) -> Result<Vec<Text>, Kind> {
    let got = text.parts.iter().map(|part| dashes(part).len()).sum();
    if got > VARIED_DASHES_MAX {
        return Err(Kind::TooManyDashes { got, max: VARIED_DASHES_MAX });
    }
    let mut variants = vec![Parts::default()];
    for part in &text.parts {
        let Part::Literal(literal) = part else {
            for variant in &mut variants {
                variant.push(part.clone());
            }
            continue;
        };
        // Invariant: `dashes` takes both ends from `char_indices` and character lengths.
        let mut from = 0;
        for dash in dashes(part) {
            for variant in &mut variants {
                variant.literal(&literal[from..dash.start]);
            }
            variants = variants.iter().flat_map(|variant| DASHES.map(|dash| variant.with(dash))).collect();
            from = dash.end;
        }
        for variant in &mut variants {
            variant.literal(&literal[from..]);
        }
    }
    Ok(variants.into_iter().map(|parts| Text { parts: parts.0, ..text.clone() }).collect())
}

/// Where a literal has a dash that begins a word and does not follow one.
fn dashes(part: &Part) -> Vec<Range<usize>> {
    let Part::Literal(text) = part else { return Vec::new() };
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    let mut before = None;
    let mut found = Vec::new();
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let begins_word = characters.peek().is_some_and(|&(_, next)| is_word(next));
        if DASHES.contains(&character) && begins_word && !before.is_some_and(is_word) {
            found.push(at..at + character.len_utf8());
        }
        before = Some(character);
    }
    found
}

/// The first `%name%` of a text.
pub(super) fn placeholder(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('%') {
        let name = after.split_once('%').map(|(name, _)| name);
        if let Some(name) = name.filter(|name| !name.is_empty() && !name.contains('\\')) {
            return Some(name);
        }
        rest = after;
    }
    None
}
