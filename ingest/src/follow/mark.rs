//! How far a file has been read, and how to tell that file from others.
//!
//! Inodes are used again and names are rotated, so a file is known by its first bytes and by
//! those before the place it was read to. The latter hold the times of the last events, which
//! nobody who writes requests can choose.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How much of a file's beginning, and of what precedes the place read to, it is known by:
/// most events fit.
pub(super) const FINGERPRINT_BYTES_MAX: usize = 1024;

/// How many bytes of a hash are kept.
const HASH_BYTES: usize = 16;

/// How far before the end a beginning of a line is looked for.
const LINE_LOOKBACK_BYTES: usize = 1024 * 1024;

/// A place in a file and what stands before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Bytes from the beginning, decoded.
    pub(super) offset: u64,
    head: Fingerprint,
    tail: Fingerprint,
}

/// The hash of some bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Fingerprint {
    bytes: usize,
    hash: String,
}

impl Fingerprint {
    fn of(bytes: &[u8]) -> Self {
        let mut first = [0; HASH_BYTES];
        first.copy_from_slice(&Sha256::digest(bytes)[..HASH_BYTES]);
        Self { bytes: bytes.len(), hash: format!("{:032x}", u128::from_be_bytes(first)) }
    }

    fn fits(&self, bytes: &[u8]) -> bool {
        self.bytes == 0 || *self == Self::of(bytes)
    }
}

impl Mark {
    /// The beginning of a file, which is known by what it begins with now.
    pub(super) fn beginning(file: &File) -> io::Result<Self> {
        let head = Fingerprint::of(&read_at(file, FINGERPRINT_BYTES_MAX, 0)?);
        Ok(Self { head, ..Self::default() })
    }

    /// The place `offset` of a file that holds at least as much.
    pub(super) fn at(file: &File, offset: u64) -> io::Result<Self> {
        let bytes = usize::try_from(offset).unwrap_or(usize::MAX).min(FINGERPRINT_BYTES_MAX);
        let head = Fingerprint::of(&read_exact_at(file, bytes, 0)?);
        let tail = Fingerprint::of(&read_exact_at(file, bytes, offset - bytes as u64)?);
        Ok(Self { offset, head, tail })
    }

    /// The place behind the last whole line of a file.
    pub(super) fn at_last_line(file: &File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        let bytes = usize::try_from(size).unwrap_or(usize::MAX).min(LINE_LOOKBACK_BYTES);
        let end = read_exact_at(file, bytes, size - bytes as u64)?;
        let unfinished = memchr::memrchr(b'\n', &end).map_or(0, |position| bytes - position - 1);
        Self::at(file, size - unfinished as u64)
    }

    /// True unless somebody else than this module made it.
    pub(super) fn is_plausible(&self) -> bool {
        let Self { offset, head, tail } = self;
        head.bytes.max(tail.bytes) <= FINGERPRINT_BYTES_MAX && tail.bytes as u64 <= *offset
    }

    /// The place `bytes` further on, behind what begins with `beginning` and ends with `end`.
    pub(super) fn behind(&self, bytes: u64, beginning: &[u8], end: &[u8]) -> Self {
        let head = match self.offset {
            0 => Fingerprint::of(&beginning[..beginning.len().min(FINGERPRINT_BYTES_MAX)]),
            _ => self.head.clone(),
        };
        let tail = Fingerprint::of(&end[end.len().saturating_sub(FINGERPRINT_BYTES_MAX)..]);
        Self { offset: self.offset.saturating_add(bytes), head, tail }
    }

    /// True if the file holds, at both places, what it held when the mark was made.
    pub(super) fn fits(&self, file: &File) -> io::Result<bool> {
        if file.metadata()?.len() < self.offset {
            return Ok(false);
        }
        let head = read_at(file, self.head.bytes, 0)?;
        let tail = read_at(file, self.tail.bytes, self.tail_offset())?;
        Ok(self.head.fits(&head) && self.tail.fits(&tail))
    }

    /// True if a file that begins with `opening` ([`FINGERPRINT_BYTES_MAX`] bytes, or all of it)
    /// may be the one of the mark.
    pub(super) fn head_fits(&self, opening: &[u8]) -> bool {
        self.head.bytes > 0 && opening.get(..self.head.bytes).is_some_and(|head| self.head.fits(head))
    }

    /// True if `bytes`, those from [`Self::tail_offset`] to the place, are what they were.
    pub(super) fn tail_fits(&self, bytes: &[u8]) -> bool {
        self.tail.fits(bytes)
    }

    /// Where the bytes begin that precede the place and are known.
    pub(super) fn tail_offset(&self) -> u64 {
        self.offset.saturating_sub(self.tail.bytes as u64)
    }

    /// How many bytes that precede the place are known.
    pub(super) fn tail_bytes(&self) -> usize {
        self.tail.bytes
    }
}

/// Up to `bytes` bytes at `offset`, fewer at the end of the file.
pub(super) fn read_at(file: &File, bytes: usize, offset: u64) -> io::Result<Vec<u8>> {
    let mut room = vec![0; bytes];
    let mut filled = 0;
    while filled < bytes {
        match file.read_at(&mut room[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    room.truncate(filled);
    Ok(room)
}

/// Exactly `bytes` bytes at `offset`.
fn read_exact_at(file: &File, bytes: usize, offset: u64) -> io::Result<Vec<u8>> {
    let found = read_at(file, bytes, offset)?;
    if found.len() < bytes {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    Ok(found)
}
