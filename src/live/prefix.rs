//! Keeps the beginning of a stream, so that what turns out to be no event can be shown.

use std::io::{self, Read};

/// How much of a body is kept: a whole batch of the usual size.
const PREFIX_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A stream whose beginning is kept.
pub(crate) struct Prefix<R> {
    stream: R,
    bytes: Vec<u8>,
}

impl<R> Prefix<R> {
    pub(crate) fn new(stream: R) -> Self {
        Self { stream, bytes: Vec::new() }
    }

    /// What was read at an offset, as far as it has been kept.
    pub(crate) fn at(&self, offset: u64, length: u64) -> &[u8] {
        let end = usize::try_from(offset.saturating_add(length)).unwrap_or(usize::MAX).min(self.bytes.len());
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(end);
        &self.bytes[start..end]
    }
}

impl<R: Read> Read for Prefix<R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let read_bytes = self.stream.read(room)?;
        let kept_bytes = read_bytes.min(PREFIX_BYTES_MAX.saturating_sub(self.bytes.len()));
        self.bytes.extend_from_slice(&room[..kept_bytes]);
        Ok(read_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_can_be_shown_as_far_as_it_is_kept() {
        let mut prefix = Prefix::new(&b"0123456789"[..]);
        io::copy(&mut prefix, &mut io::sink()).unwrap();
        assert_eq!(prefix.at(2, 3), b"234");
        assert_eq!(prefix.at(8, 9), b"89");
        assert_eq!(prefix.at(u64::MAX, u64::MAX), b"");
    }
}
