//! The scan as it is meant: one byte at a time, for the verdict on what [`super::blocks`] does not settle.

use super::ScanErrorKind::{ControlCharacter, Expected, Incomplete, InvalidEscape, InvalidNumber, TooDeep};
use super::{DEPTH_MAX, Result, fail, skip_whitespace};

const STACK_WORDS: usize = DEPTH_MAX.div_ceil(64);

/// Validates the value that begins at `at` and returns the position after its last byte.
pub(crate) fn value_end(bytes: &[u8], mut at: usize) -> Result<usize> {
    let mut open = Open::default();
    loop {
        match bytes.get(at) {
            Some(b'{') => {
                open.push(true, at)?;
                at = skip_whitespace(bytes, at + 1);
                if bytes.get(at) != Some(&b'}') {
                    at = key_end(bytes, at)?;
                    continue;
                }
            }
            Some(b'[') => {
                open.push(false, at)?;
                at = skip_whitespace(bytes, at + 1);
                if bytes.get(at) != Some(&b']') {
                    continue;
                }
            }
            _ => at = scalar_end(bytes, at)?,
        }
        match close(bytes, at, &mut open)? {
            Next::Value(next) => at = next,
            Next::End(end) => return Ok(end),
        }
    }
}

enum Next {
    Value(usize),
    End(usize),
}

/// Closes the containers that end at `at`, up to the next value or the end of the outermost.
fn close(bytes: &[u8], mut at: usize, open: &mut Open) -> Result<Next> {
    while let Some(is_object) = open.innermost() {
        at = skip_whitespace(bytes, at);
        match (bytes.get(at), is_object) {
            (Some(b'}'), true) | (Some(b']'), false) => {
                open.pop();
                at += 1;
            }
            (Some(b','), true) => return Ok(Next::Value(key_end(bytes, skip_whitespace(bytes, at + 1))?)),
            (Some(b','), false) => return Ok(Next::Value(skip_whitespace(bytes, at + 1))),
            (None, _) => return fail(at, Incomplete),
            (Some(_), true) => return fail(at, Expected("`,` or `}`")),
            (Some(_), false) => return fail(at, Expected("`,` or `]`")),
        }
    }
    Ok(Next::End(at))
}

/// Validates a key and its colon and returns where the value begins.
pub(crate) fn key_end(bytes: &[u8], at: usize) -> Result<usize> {
    let at = skip_whitespace(bytes, string_end(bytes, at)?);
    match bytes.get(at) {
        Some(b':') => Ok(skip_whitespace(bytes, at + 1)),
        Some(_) => fail(at, Expected("`:`")),
        None => fail(at, Incomplete),
    }
}

pub(super) fn scalar_end(bytes: &[u8], at: usize) -> Result<usize> {
    match bytes.get(at) {
        Some(b'"') => string_end(bytes, at),
        Some(b'-' | b'0'..=b'9') => number_end(bytes, at),
        Some(b't') => literal_end(bytes, at, b"true"),
        Some(b'f') => literal_end(bytes, at, b"false"),
        Some(b'n') => literal_end(bytes, at, b"null"),
        Some(_) => fail(at, Expected("a value")),
        None => fail(at, Incomplete),
    }
}

fn literal_end(bytes: &[u8], at: usize, literal: &[u8]) -> Result<usize> {
    let rest = &bytes[at..];
    if rest.starts_with(literal) {
        Ok(at + literal.len())
    } else if literal.starts_with(rest) {
        fail(bytes.len(), Incomplete)
    } else {
        fail(at, Expected("a value"))
    }
}

/// Validates the string whose opening quote is at `at`.
pub(crate) fn string_end(bytes: &[u8], at: usize) -> Result<usize> {
    match bytes.get(at) {
        Some(b'"') => {}
        Some(_) => return fail(at, Expected("`\"`")),
        None => return fail(at, Incomplete),
    }
    let mut at = at + 1;
    loop {
        at = plain_end(bytes, at);
        match bytes.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at = escape_end(bytes, at)?,
            Some(0x00..0x20) => return fail(at, ControlCharacter),
            Some(_) => at += 1,
            None => return fail(at, Incomplete),
        }
    }
}

/// Steps over bytes that mean nothing inside a string, eight at a time.
fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // The lowest bit that is set is exact; those above it may come from a borrow.
    let less = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGHS;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*chunk);
        let equal = |byte: u8| less(word ^ (ONES * u64::from(byte)), 1);
        let special = equal(b'"') | equal(b'\\') | less(word, 0x20);
        if special != 0 {
            return at + (special.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    at
}

pub(super) fn escape_end(bytes: &[u8], at: usize) -> Result<usize> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => {
            for digit in at + 2..at + 6 {
                match bytes.get(digit) {
                    Some(byte) if byte.is_ascii_hexdigit() => {}
                    Some(_) => return fail(digit, InvalidEscape),
                    None => return fail(digit, Incomplete),
                }
            }
            Ok(at + 6)
        }
        Some(_) => fail(at + 1, InvalidEscape),
        None => fail(at + 1, Incomplete),
    }
}

fn number_end(bytes: &[u8], at: usize) -> Result<usize> {
    let mut at = if bytes.get(at) == Some(&b'-') { at + 1 } else { at };
    at = if bytes.get(at) == Some(&b'0') { at + 1 } else { digits_end(bytes, at)? };
    if bytes.get(at) == Some(&b'.') {
        at = digits_end(bytes, at + 1)?;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1;
        if matches!(bytes.get(at), Some(b'+' | b'-')) {
            at += 1;
        }
        at = digits_end(bytes, at)?;
    }
    if matches!(bytes.get(at), Some(b'0'..=b'9')) { fail(at, InvalidNumber) } else { Ok(at) }
}

/// Steps over one or more digits.
fn digits_end(bytes: &[u8], start: usize) -> Result<usize> {
    let mut at = start;
    while matches!(bytes.get(at), Some(b'0'..=b'9')) {
        at += 1;
    }
    match bytes.get(at) {
        None if at == start => fail(at, Incomplete),
        Some(_) if at == start => fail(at, InvalidNumber),
        _ => Ok(at),
    }
}

/// The containers that are open, outermost first: a bit each, set for an object.
struct Open {
    words: [u64; STACK_WORDS],
    depth: usize,
}

impl Default for Open {
    fn default() -> Self {
        Self { words: [0; STACK_WORDS], depth: 0 }
    }
}

impl Open {
    fn push(&mut self, is_object: bool, at: usize) -> Result<()> {
        if self.depth >= DEPTH_MAX {
            return fail(at, TooDeep);
        }
        let bit = 1 << (self.depth % 64);
        let word = &mut self.words[self.depth / 64];
        *word = if is_object { *word | bit } else { *word & !bit };
        self.depth += 1;
        Ok(())
    }

    fn pop(&mut self) {
        self.depth -= 1;
    }

    fn innermost(&self) -> Option<bool> {
        let top = self.depth.checked_sub(1)?;
        Some(self.words[top / 64] >> (top % 64) & 1 == 1)
    }
}
