//! Where a line ends that does not end where one looked first.
//!
//! A line ends behind its line feed, or where NUL bytes end: they are what a file system
//! leaves behind after a power loss, or a writer after its file was cut, and no part of JSON.

/// The most that is read at a time while the end of a line is looked for.
pub(super) const PIECE_BYTES: usize = 1024 * 1024;

/// How much of a skipped line is kept, to be looked at by people.
pub(super) const BEGINNING_BYTES_MAX: usize = 64 * 1024;

/// What a file gave.
pub(super) enum Step {
    /// Whole lines, or the rest of a file.
    Lines(Vec<u8>),
    /// A line that is too long.
    Skipped(SkippedLine),
    /// Nothing yet; there is more to look at.
    More,
    /// Nothing until the file grows.
    Wait,
    /// The file is not what it was: it has been cut, or written anew.
    Rewritten,
    /// Nothing any more.
    Finished,
    /// Nothing any more, since the compressed data is cut or corrupt.
    Damaged(std::io::Error),
}

/// A line that is too long to be given.
pub(super) struct SkippedLine {
    /// Its length.
    pub(super) bytes: u64,
    /// What it begins with, at most [`BEGINNING_BYTES_MAX`].
    pub(super) beginning: Vec<u8>,
    /// What it ends with.
    pub(super) end: Vec<u8>,
}

/// How much is given at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// All of a batch that is more than one line.
    pub(super) batch_bytes_max: usize,
    /// One line.
    pub(super) line_bytes_max: usize,
}

/// The search for the end of a line, piece by piece.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LineSearch {
    /// How much of the line has been searched in vain.
    pub(super) searched_bytes: u64,
    is_after_nul: bool,
}

impl LineSearch {
    /// Looks for the end in the next piece; the length of the line if it ends there.
    pub(super) fn end_in(&mut self, piece: &[u8]) -> Option<u64> {
        let line_feed = memchr::memchr(b'\n', piece).map(|position| position + 1);
        let end = self.end_of_nuls(&piece[..line_feed.unwrap_or(piece.len())]).or(line_feed);
        if let Some(end) = end {
            let length = self.searched_bytes + end as u64;
            *self = Self::default();
            return Some(length);
        }
        self.searched_bytes += piece.len() as u64;
        self.is_after_nul = piece.last().map_or(self.is_after_nul, |last| *last == 0);
        None
    }

    fn end_of_nuls(&self, piece: &[u8]) -> Option<usize> {
        let start = if self.is_after_nul { 0 } else { memchr::memchr(0, piece)? };
        piece[start..].iter().position(|byte| *byte != 0).map(|length| start + length)
    }
}
