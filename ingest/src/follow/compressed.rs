//! Reads the lines of a file that was compressed when it was rotated away.
//!
//! Such a file does not grow, and cannot be read from the middle: what precedes the mark is
//! decoded once more, and compared with it at both ends.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::lines::{BEGINNING_BYTES_MAX, Limits, LineSearch, PIECE_BYTES, SkippedLine, Step};
use super::listing::{Identity, open};
use super::mark::{FINGERPRINT_BYTES_MAX, Mark};
use crate::decode::{DecodeError, Decoded};

/// An open file.
pub(super) struct Compressed {
    decoded: Decoded<File>,
    /// What was decoded and not given.
    rest: Vec<u8>,
    search: LineSearch,
    /// The line that is being skipped.
    skipped: Option<SkippedLine>,
    /// What ended the data before its end.
    damage: Option<io::Error>,
    is_at_end: bool,
}

impl Compressed {
    fn open(path: &Path, identity: Identity) -> io::Result<Self> {
        let decoded = Decoded::new(open(path, identity)?)?;
        let (rest, search) = (Vec::new(), LineSearch::default());
        Ok(Self { decoded, rest, search, skipped: None, damage: None, is_at_end: false })
    }

    /// Opens a file at the mark; nothing if it is not the file of the mark.
    pub(super) fn open_at(path: &Path, identity: Identity, mark: &Mark) -> io::Result<Option<Self>> {
        let mut opened = Self::open(path, identity)?;
        if mark.offset == 0 {
            return Ok(Some(opened));
        }
        opened.fill(FINGERPRINT_BYTES_MAX)?;
        if !mark.head_fits(&opened.rest) {
            return Ok(None);
        }
        opened.pass(mark.tail_offset())?;
        opened.fill(mark.tail_bytes())?;
        let fits = opened.rest.get(..mark.tail_bytes()).is_some_and(|tail| mark.tail_fits(tail));
        opened.pass(mark.tail_bytes() as u64)?;
        Ok(fits.then_some(opened))
    }

    /// The first [`FINGERPRINT_BYTES_MAX`] bytes of a file, or all of it.
    pub(super) fn opening(path: &Path, identity: Identity) -> io::Result<Vec<u8>> {
        let mut opened = Self::open(path, identity)?;
        opened.fill(FINGERPRINT_BYTES_MAX)?;
        Ok(opened.rest)
    }

    /// The next lines.
    pub(super) fn step(&mut self, limits: Limits) -> io::Result<Step> {
        if self.skipped.is_some() {
            return self.skip_on();
        }
        self.fill(limits.batch_bytes_max)?;
        let batch = &self.rest[..self.rest.len().min(limits.batch_bytes_max)];
        if let Some(position) = memchr::memrchr(b'\n', batch) {
            return Ok(Step::Lines(self.take(position + 1)));
        }
        self.long_line(limits)
    }

    fn long_line(&mut self, limits: Limits) -> io::Result<Step> {
        let mut searched = 0;
        while searched <= limits.line_bytes_max {
            if let Some(bytes) = self.search.end_in(&self.rest[searched..]) {
                return Ok(self.line(bytes, limits));
            }
            searched = self.rest.len();
            if self.is_at_end {
                return Ok(self.end(limits));
            }
            self.fill(searched + PIECE_BYTES)?;
        }
        self.search = LineSearch::default();
        let beginning = self.rest[..self.rest.len().min(BEGINNING_BYTES_MAX)].to_vec();
        self.skipped = Some(SkippedLine { bytes: 0, beginning, end: Vec::new() });
        Ok(Step::More)
    }

    /// Gives a line that is in hand, or skips it.
    fn line(&mut self, bytes: u64, limits: Limits) -> Step {
        let mut line = self.take(usize::try_from(bytes).unwrap_or(usize::MAX));
        if line.len() <= limits.line_bytes_max {
            return Step::Lines(line);
        }
        let end = line[line.len().saturating_sub(FINGERPRINT_BYTES_MAX)..].to_vec();
        line.truncate(BEGINNING_BYTES_MAX);
        Step::Skipped(SkippedLine { bytes, beginning: line, end })
    }

    /// Passes what is in hand of a line that is too long.
    fn skip_on(&mut self) -> io::Result<Step> {
        self.fill(PIECE_BYTES)?;
        let before_bytes = self.search.searched_bytes;
        let end = self.search.end_in(&self.rest);
        let passed_bytes = end.map_or(self.rest.len() as u64, |end| end - before_bytes);
        let passed = self.take(usize::try_from(passed_bytes).unwrap_or(usize::MAX));
        let is_over = end.is_some() || (self.is_at_end && self.rest.is_empty());
        let Some(mut skipped) = self.skipped.take() else { return Ok(Step::More) };
        skipped.bytes += passed.len() as u64;
        skipped.end.extend_from_slice(&passed[passed.len().saturating_sub(FINGERPRINT_BYTES_MAX)..]);
        skipped.end.drain(..skipped.end.len().saturating_sub(FINGERPRINT_BYTES_MAX));
        if is_over {
            self.search = LineSearch::default();
            return Ok(Step::Skipped(skipped));
        }
        self.skipped = Some(skipped);
        Ok(Step::More)
    }

    fn end(&mut self, limits: Limits) -> Step {
        self.search = LineSearch::default();
        if !self.rest.is_empty() {
            return self.line(self.rest.len() as u64, limits);
        }
        self.damage.take().map_or(Step::Finished, Step::Damaged)
    }

    fn take(&mut self, bytes: usize) -> Vec<u8> {
        let behind = self.rest.split_off(bytes.min(self.rest.len()));
        std::mem::replace(&mut self.rest, behind)
    }

    /// Decodes until `bytes` are in hand, or the end.
    fn fill(&mut self, bytes: usize) -> io::Result<()> {
        let missing = bytes.saturating_sub(self.rest.len());
        if missing == 0 || self.is_at_end {
            return Ok(());
        }
        match self.decoded.by_ref().take(missing as u64).read_to_end(&mut self.rest) {
            Ok(count) => self.is_at_end = count < missing,
            Err(error) if is_damage(&error) => {
                self.damage = Some(error);
                self.is_at_end = true;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Passes `bytes` bytes, fewer at the end.
    fn pass(&mut self, bytes: u64) -> io::Result<()> {
        let mut left = bytes;
        while left > 0 {
            self.fill(PIECE_BYTES)?;
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(self.rest.len());
            if count == 0 {
                break;
            }
            self.rest.drain(..count);
            left -= count as u64;
        }
        Ok(())
    }
}

/// True for what is wrong with the data, as against its file.
fn is_damage(error: &io::Error) -> bool {
    error.get_ref().and_then(|inner| inner.downcast_ref::<DecodeError>()).is_some()
}
