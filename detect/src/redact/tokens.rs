//! Valid JSON as one token after the other, at any depth.

use crate::json::Json;
use crate::scan;

/// What stands at one place of JSON.
#[derive(Clone, Copy)]
pub(super) enum Token<'a> {
    Object,
    Array,
    /// The end of an object or array.
    Close,
    /// A string with a colon behind it.
    Key(Json<'a>),
    Scalar(Json<'a>),
}

/// The tokens of a value that has been validated.
pub(super) struct Tokens<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Tokens<'a> {
    /// Begins at the first byte.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The position after the last token.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The object or array that the last token has opened, whole; what comes next is behind it.
    pub(super) fn whole(&mut self) -> Option<Json<'a>> {
        let start = self.at.checked_sub(1)?;
        self.at = scan::skip_value(self.bytes, start)?;
        self.bytes.get(start..self.at).map(Json::new)
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        while matches!(self.bytes.get(self.at)?, b',' | b':' | b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
        let start = self.at;
        let token = match self.bytes.get(start)? {
            b'{' => Some(Token::Object),
            b'[' => Some(Token::Array),
            b'}' | b']' => Some(Token::Close),
            _ => None,
        };
        if token.is_some() {
            self.at += 1;
            return token;
        }
        self.at = scan::skip_value(self.bytes, start)?;
        let json = Json::new(self.bytes.get(start..self.at)?);
        let next = self.bytes.get(scan::skip_whitespace(self.bytes, self.at));
        Some(if next == Some(&b':') { Token::Key(json) } else { Token::Scalar(json) })
    }
}
