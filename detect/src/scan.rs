//! Finds where the values of an event begin and end, and refuses what is not JSON.
//!
//! One pass, no recursion, no allocation. **Invariant:** for any bytes the verdict and the
//! spans are those of `serde_json` over the same text with every byte that is not UTF-8
//! replaced by U+FFFD, up to [`DEPTH_MAX`]. Two leniencies are Go's, whose encoder writes
//! the log: such bytes and lone surrogates (`"\ud800"`) inside strings are accepted, since
//! a patch body may hold them and a refused event would be an event nobody looks at.

// A search is compiled once for each kind of processor, and only what is inlined into it is.
#![allow(clippy::inline_always)]

mod blocks;
mod keys;
mod level;
mod scalar;
mod skip;
mod validate;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::json::Json;
pub(crate) use keys::each_key;
pub use level::Level;
pub(crate) use scalar::{key_end, string_end, value_end as scalar_value_end};
pub(crate) use skip::{skip_string, skip_value};
pub(crate) use validate::Members;
use validate::{Unwanted, Validation};

/// How deep containers may nest. Go's decoder stops at 10 000, so an API server cannot
/// have read, and so cannot have logged, a body that is deeper; 16 more for the event around it.
pub const DEPTH_MAX: usize = 10_016;

/// Why bytes are not a JSON value, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {offset}")]
pub struct ScanError {
    /// The byte at which the scan stopped, counted from the first byte given.
    pub offset: usize,
    /// What is wrong there.
    pub kind: ScanErrorKind,
}

/// What can be wrong with bytes that should be JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScanErrorKind {
    /// The bytes end inside a value.
    #[error("the JSON ends in the middle")]
    Incomplete,
    /// Another byte was expected.
    #[error("expected {0}")]
    Expected(&'static str),
    /// Containers nest deeper than [`DEPTH_MAX`].
    #[error("nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// A raw control character inside a string.
    #[error("control character inside a string")]
    ControlCharacter,
    /// A backslash followed by what JSON does not know.
    #[error("invalid escape in a string")]
    InvalidEscape,
    /// A number that JSON does not know, such as `01` or `1.`.
    #[error("invalid number")]
    InvalidNumber,
}

type Result<T> = std::result::Result<T, ScanError>;

fn fail<T>(offset: usize, kind: ScanErrorKind) -> Result<T> {
    Err(ScanError { offset, kind })
}

/// The position of the first byte at or after `at` that is not white space.
pub fn skip_whitespace(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

/// Steps over white space, at most one `separator`, and white space again.
pub(crate) fn after(bytes: &[u8], at: usize, separator: u8) -> usize {
    let at = skip_whitespace(bytes, at);
    if bytes.get(at) == Some(&separator) { skip_whitespace(bytes, at + 1) } else { at }
}

/// Validates the value that begins at `at` and returns the position after its last byte.
pub fn value_end(bytes: &[u8], at: usize) -> Result<usize> {
    value_end_at(Level::best(), bytes, at)
}

/// [`value_end`] with the given instructions: all give the same, for tests and measurements.
pub fn value_end_at(level: Level, bytes: &[u8], at: usize) -> Result<usize> {
    let found = match bytes.get(at) {
        Some(b'{' | b'[') => members_end(level, bytes, at, &mut Unwanted),
        _ => None,
    };
    found.map_or_else(|| scalar::value_end(bytes, at), Ok)
}

/// Finds the end of the object or array at `start` and tells `members` of what is in it on the
/// way. Where it gives none, only the slow scan can say more, and what was told is void.
pub(crate) fn members_end(
    level: Level,
    bytes: &[u8],
    start: usize,
    members: &mut impl Members,
) -> Option<usize> {
    level.find(Validation { bytes, start, members })
}

/// Every key and every scalar of valid JSON, from left to right, at any depth.
pub(crate) struct Scalars<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scalars<'a> {
    /// Begins at the first byte of valid JSON.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The position after the scalar that came last.
    pub(crate) fn end(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Scalars<'a> {
    type Item = Json<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        while matches!(
            self.bytes.get(self.at)?,
            b'{' | b'}' | b'[' | b']' | b',' | b':' | b' ' | b'\n' | b'\r' | b'\t'
        ) {
            self.at += 1;
        }
        let start = self.at;
        self.at = skip_value(self.bytes, start)?;
        Some(Json::new(self.bytes.get(start..self.at)?))
    }
}
