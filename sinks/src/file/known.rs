//! What files already hold: found again after the process ended before the cursor was saved.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;

use serde::{Deserialize, Serialize};

/// How long a line may be to be looked at, in bytes: far more than an alert, whose event is bounded
/// where it is received.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// How much of files is read if it is not known how far the cursor was, in bytes: the store is
/// new, and only events that are sent again can give alerts that files already hold.
const UNREMEMBERED_BYTES_MAX: u64 = 256 << 20;

/// A place in a file, as the cursor remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) bytes: u64,
}

impl Place {
    /// The end of a file.
    pub(super) fn end_of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino(), bytes: metadata.len() })
    }

    pub(super) fn read(memo: &str) -> Option<Self> {
        serde_json::from_str(memo).ok()
    }

    pub(super) fn is_in(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// Whether the file is still long enough, and a line ends here.
    fn is_plausible(&self, file: &mut File) -> io::Result<bool> {
        let Some(before) = self.bytes.checked_sub(1) else { return Ok(true) };
        if file.metadata()?.len() < self.bytes {
            return Ok(false);
        }
        let mut last = [0];
        file.seek(SeekFrom::Start(before))?;
        file.read_exact(&mut last)?;
        Ok(last == *b"\n")
    }
}

/// What was found behind the place that the cursor remembers.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The ids of alerts.
    pub(super) ids: HashSet<u128>,
    /// How long the last file is without half a line at its end, in bytes.
    pub(super) whole_bytes: u64,
}

/// Reads what is behind `place` in `files`, which are given oldest first; all, if it is in none.
pub(super) fn read(mut files: Vec<File>, place: Option<Place>) -> io::Result<Known> {
    let mut starts = vec![0; files.len()];
    let mut first = None;
    if let Some(place) = place {
        for (index, file) in files.iter_mut().enumerate() {
            if place.is_in(&Place::end_of(file)?) && place.is_plausible(file)? {
                starts[index] = place.bytes;
                first = Some(index);
            }
        }
    }
    if first.is_none() {
        start_late(&files, &mut starts)?;
    }
    let mut known = Known::default();
    for (file, start) in files.iter_mut().zip(starts).skip(first.unwrap_or(0)) {
        read_file(file, start, first.is_some(), &mut known)?;
    }
    Ok(known)
}

/// Leaves out the beginning of what is too much to read.
fn start_late(files: &[File], starts: &mut [u64]) -> io::Result<()> {
    let mut left_bytes = UNREMEMBERED_BYTES_MAX;
    for (file, start) in files.iter().zip(starts).rev() {
        let length_bytes = file.metadata()?.len();
        *start = length_bytes.saturating_sub(left_bytes);
        left_bytes = left_bytes.saturating_sub(length_bytes);
    }
    Ok(())
}

fn read_file(file: &mut File, start: u64, is_remembered: bool, known: &mut Known) -> io::Result<()> {
    file.seek(SeekFrom::Start(start))?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut line = Vec::new();
    known.whole_bytes = start;
    loop {
        line.clear();
        let mut length_bytes = (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? as u64;
        if length_bytes == LINE_BYTES_MAX && !line.ends_with(b"\n") {
            length_bytes += skip_line(&mut reader)?;
        } else if !line.ends_with(b"\n") {
            return check_half(&line);
        }
        // Where power was lost, a file may be longer than what was written into it. What comes
        // behind was not acknowledged, so that it will be given again.
        if is_remembered && line.contains(&0) {
            return Ok(());
        }
        known.whole_bytes += length_bytes;
        known.ids.extend(id_of(&line));
    }
}

/// Skips the rest of a line; returns how long it is.
fn skip_line(reader: &mut impl BufRead) -> io::Result<u64> {
    let mut skipped_bytes = 0;
    loop {
        let buffer = reader.fill_buf()?;
        let (used, is_over) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(index) => (index + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        reader.consume(used);
        skipped_bytes += used as u64;
        if is_over {
            return Ok(skipped_bytes);
        }
    }
}

/// Half a line at the end is cut off, but only if it is the beginning of an alert.
fn check_half(line: &[u8]) -> io::Result<()> {
    match line.first() {
        None | Some(b'{' | 0) => Ok(()),
        Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "the file does not end with an alert")),
    }
}

fn id_of(line: &[u8]) -> Option<u128> {
    #[derive(Deserialize)]
    struct Line<'a> {
        id: &'a str,
    }
    let line: Line<'_> = serde_json::from_slice(line).ok()?;
    u128::from_str_radix(line.id, 16).ok()
}
