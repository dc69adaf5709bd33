//! Texts with wildcards, and what modifiers make of them.

use core::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error::RuleErrorKind as Kind;
use super::{Part, Place};

/// How many dashes of one value `windash` varies, as in pySigma; each multiplies by five.
const VARIED_DASHES_MAX: usize = 3;
/// What `windash` takes for a dash.
const DASHES: [char; 5] = ['-', '/', '\u{2013}', '\u{2014}', '\u{2015}'];

/// A text with wildcards, and what has been done to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Text {
    pub(super) pieces: Vec<Piece>,
    pub(super) is_cased: bool,
    pub(super) has_byte_order_mark: bool,
}

/// A piece of a [`Text`]: one of a pattern, or something that is yet to become some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Literal(String),
    Many,
    One,
    Placeholder(Placeholder),
}

impl Piece {
    /// As Sigma writes it; a backslash is not escaped.
    pub(super) fn to_plain(&self) -> String {
        match self {
            Piece::Literal(text) => text.replace('*', "\\*").replace('?', "\\?"),
            Piece::Many => "*".to_owned(),
            Piece::One => "?".to_owned(),
            Piece::Placeholder(placeholder) => format!("%{}%", placeholder.name),
        }
    }

    /// Nothing for placeholders: no pattern can hold one.
    pub(super) fn into_part(self) -> Result<Part, Placeholder> {
        Ok(match self {
            Piece::Literal(text) => Part::Literal(text),
            Piece::Many => Part::Many,
            Piece::One => Part::One,
            Piece::Placeholder(placeholder) => return Err(placeholder),
        })
    }
}

/// Stands for the values of a list, each in turn.
#[derive(Clone, Debug)]
pub(super) struct Placeholder {
    pub(super) name: String,
    /// Where it is written.
    pub(super) place: Place,
}

impl PartialEq for Placeholder {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Placeholder {}

impl Text {
    /// Reads wildcards and escapes: a backslash takes the meaning from `*`, `?` and
    /// another backslash, and is an ordinary character before everything else.
    pub(super) fn parse(text: &str) -> Self {
        const SPECIAL: [char; 3] = ['*', '?', '\\'];
        let mut pieces = Pieces::default();
        let mut rest = text;
        while let Some((before, from)) = rest.find(SPECIAL).map(|at| rest.split_at(at)) {
            pieces.literal(before);
            let mut characters = from.chars();
            match characters.next() {
                Some('*') => pieces.push(Piece::Many),
                Some('?') => pieces.push(Piece::One),
                _ if characters.as_str().starts_with(SPECIAL) => {
                    pieces.character(characters.next().unwrap_or('\\'));
                }
                _ => pieces.character('\\'),
            }
            rest = characters.as_str();
        }
        pieces.literal(rest);
        Self { pieces: pieces.0, ..Self::default() }
    }

    /// Other pieces that are compared and encoded as this text is.
    pub(super) fn with_pieces(&self, pieces: Pieces) -> Self {
        let Self { is_cased, has_byte_order_mark, .. } = *self;
        Self { pieces: pieces.0, is_cased, has_byte_order_mark }
    }

    fn literal(&self, text: String) -> Self {
        let pieces = if text.is_empty() { Vec::new() } else { vec![Piece::Literal(text)] };
        Self { pieces, is_cased: self.is_cased, has_byte_order_mark: false }
    }

    /// The text without wildcards; nothing when it has any.
    pub(super) fn plain(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }

    fn map(&self, mut change: impl FnMut(&str) -> Option<String>) -> Option<Self> {
        let mut pieces = Pieces::default();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => pieces.literal(&change(text)?),
                wildcard => pieces.push(wildcard.clone()),
            }
        }
        Some(self.with_pieces(pieces))
    }

    /// The text as Sigma writes it: wildcards escaped where they are meant literally.
    pub(super) fn to_plain(&self) -> String {
        self.pieces.iter().map(Piece::to_plain).collect()
    }

    /// The text with a `*` at its beginning.
    pub(super) fn open_start(mut self) -> Self {
        if self.pieces.first() != Some(&Piece::Many) {
            self.pieces.insert(0, Piece::Many);
        }
        self
    }

    /// The text with a `*` at its end.
    pub(super) fn open_end(mut self) -> Self {
        if self.pieces.last() != Some(&Piece::Many) {
            self.pieces.push(Piece::Many);
        }
        self
    }
}

/// Pieces under construction: literals grow, wildcards separate them.
#[derive(Default)]
pub(super) struct Pieces(pub(super) Vec<Piece>);

impl Pieces {
    pub(super) fn push(&mut self, wildcard: Piece) {
        // Several `*` in a row are one.
        if !(wildcard == Piece::Many && self.0.last() == Some(&Piece::Many)) {
            self.0.push(wildcard);
        }
    }

    fn character(&mut self, character: char) {
        self.literal(character.encode_utf8(&mut [0; 4]));
    }

    fn with(&self, character: char) -> Self {
        let mut pieces = Self(self.0.clone());
        pieces.character(character);
        pieces
    }

    pub(super) fn literal(&mut self, text: &str) {
        match self.0.last_mut() {
            _ if text.is_empty() => {}
            Some(Piece::Literal(last)) => last.push_str(text),
            _ => self.0.push(Piece::Literal(text.to_owned())),
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
    match wide.pieces.first_mut() {
        Some(Piece::Literal(first)) => first.insert(0, '\u{feff}'),
        _ => wide.pieces.insert(0, Piece::Literal('\u{feff}'.into())),
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
    let got = text.pieces.iter().map(|part| dashes(part).len()).sum();
    if got > VARIED_DASHES_MAX {
        return Err(Kind::TooManyDashes { got, max: VARIED_DASHES_MAX });
    }
    let mut variants = vec![Pieces::default()];
    for part in &text.pieces {
        let Piece::Literal(literal) = part else {
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
    Ok(variants.into_iter().map(|pieces| Text { pieces: pieces.0, ..text.clone() }).collect())
}

/// Where a literal has a dash that begins a word and does not follow one.
fn dashes(part: &Piece) -> Vec<Range<usize>> {
    let Piece::Literal(text) = part else { return Vec::new() };
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
