//! Reads the lines of a file that may grow, be cut or be written anew.
//!
//! Nothing is kept between two looks but a number: what is not given yet is read again.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::lines::{BEGINNING_BYTES_MAX, Limits, LineSearch, PIECE_BYTES, SkippedLine, Step};
use super::listing::{Identity, open};
use super::mark::{FINGERPRINT_BYTES_MAX, Mark, read_at};

/// How long ago a file must have been written for its time to tell that nothing came since: clocks
/// of file systems are coarse.
const SETTLED_AGE: Duration = Duration::from_secs(2);

/// An open file.
pub(super) struct Plain {
    file: File,
    search: LineSearch,
    /// When the file was written last, as of the last time it was compared with its mark.
    compared: Option<SystemTime>,
}

impl Plain {
    /// Opens the file that was found under a path.
    pub(super) fn open(path: &Path, identity: Identity) -> io::Result<Self> {
        Ok(Self { file: open(path, identity)?, search: LineSearch::default(), compared: None })
    }

    /// The file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// How much there is behind the mark.
    pub(super) fn pending_bytes(&self, mark: &Mark) -> u64 {
        self.file.metadata().map_or(0, |found| found.len().saturating_sub(mark.offset))
    }

    /// True if no name leads to the file any more.
    pub(super) fn is_deleted(&self) -> bool {
        self.file.metadata().is_ok_and(|found| found.nlink() == 0)
    }

    /// True if the file has been cut or written anew since the mark was made.
    pub(super) fn is_rewritten(&mut self, mark: &Mark) -> io::Result<bool> {
        let found = self.file.metadata()?;
        let step = if found.len() < mark.offset { Step::Rewritten } else { Step::Wait };
        Ok(matches!(self.compared(step, mark, &found)?, Step::Rewritten))
    }

    /// What whole lines there are behind the mark.
    pub(super) fn step(&mut self, mark: &Mark, limits: Limits) -> io::Result<Step> {
        let found = self.file.metadata()?;
        let step = if found.len() < mark.offset + self.search.searched_bytes {
            self.search = LineSearch::default();
            if found.len() < mark.offset { Step::Rewritten } else { Step::More }
        } else if found.len() == mark.offset {
            Step::Wait
        } else if self.search.searched_bytes == 0 {
            self.lines(mark, limits)?
        } else {
            self.long_line(mark, limits)?
        };
        self.compared(step, mark, &found)
    }

    /// What stands behind the mark without being a whole line; [`Step::Wait`] if nothing does.
    pub(super) fn rest(&mut self, mark: &Mark, limits: Limits) -> io::Result<Step> {
        let bytes = self.file.metadata()?.len().saturating_sub(mark.offset);
        self.search = LineSearch::default();
        if bytes == 0 { Ok(Step::Wait) } else { self.give(mark, bytes, limits) }
    }

    fn lines(&mut self, mark: &Mark, limits: Limits) -> io::Result<Step> {
        let mut lines = read_at(&self.file, limits.batch_bytes_max, mark.offset)?;
        match memchr::memrchr(b'\n', &lines) {
            Some(position) => {
                lines.truncate(position + 1);
                Ok(Step::Lines(lines))
            }
            None => self.long_line(mark, limits),
        }
    }

    fn long_line(&mut self, mark: &Mark, limits: Limits) -> io::Result<Step> {
        let piece = read_at(&self.file, PIECE_BYTES, mark.offset + self.search.searched_bytes)?;
        match self.search.end_in(&piece) {
            Some(bytes) => self.give(mark, bytes, limits),
            None if piece.len() < PIECE_BYTES => Ok(Step::Wait),
            None => Ok(Step::More),
        }
    }

    fn give(&self, mark: &Mark, bytes: u64, limits: Limits) -> io::Result<Step> {
        if let Some(count) = usize::try_from(bytes).ok().filter(|count| *count <= limits.line_bytes_max) {
            let lines = read_at(&self.file, count, mark.offset)?;
            return Ok(if lines.len() == count { Step::Lines(lines) } else { Step::More });
        }
        let at_most = |bytes_max: usize| usize::try_from(bytes).unwrap_or(usize::MAX).min(bytes_max);
        let end_bytes = at_most(FINGERPRINT_BYTES_MAX);
        Ok(Step::Skipped(SkippedLine {
            bytes,
            beginning: read_at(&self.file, at_most(BEGINNING_BYTES_MAX), mark.offset)?,
            end: read_at(&self.file, end_bytes, mark.offset + bytes - end_bytes as u64)?,
        }))
    }

    /// The step, if what precedes it is still what it was. Asked after reading, so that what was
    /// read is known to be of the same file.
    fn compared(&mut self, step: Step, mark: &Mark, before: &Metadata) -> io::Result<Step> {
        let modified = before.modified().ok();
        let is_certain = modified.is_some() && self.compared == modified;
        if matches!(step, Step::Rewritten) || (matches!(step, Step::Wait) && is_certain) {
            return Ok(step);
        }
        if !mark.fits(&self.file)? {
            self.search = LineSearch::default();
            return Ok(Step::Rewritten);
        }
        let is_settled = |time: &SystemTime| time.elapsed().is_ok_and(|age| age > SETTLED_AGE);
        self.compared = modified.filter(is_settled);
        Ok(step)
    }
}
