//! Undoes gzip and zstd, recognised by their first bytes, never by a name.
//!
//! **Invariant:** decoding streams: however much a few compressed bytes unfold to, no more
//! than a window of it (128 MiB for zstd at most, 32 KiB for gzip) is held.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;

/// How many bytes tell one format from another.
const MAGIC_BYTES: usize = 4;

/// How much is decoded at a time. A decoder that meets an error loses what it decoded in the
/// same step, so the steps are small.
const STEP_BYTES: usize = 4096;

/// How much is taken from the file at once.
const STORED_BYTES: usize = 128 * 1024;

/// The largest window of zstd that its own tools decode without being asked to: 128 MiB.
const WINDOW_LOG_MAX: u32 = 27;

/// What is wrong with compressed data; found inside the [`io::Error`] of [`Decoded`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The compressed data stops before it is complete.
    #[error("the {0} data ends in the middle")]
    Truncated(Compression),
    /// The compressed data contradicts itself.
    #[error("the {compression} data is corrupt ({source})")]
    Corrupt {
        /// How the data is compressed.
        compression: Compression,
        /// What the decoder says.
        source: io::Error,
    },
}

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// One gzip member or several.
    Gzip,
    /// One zstd frame or several.
    Zstd,
}

impl Compression {
    /// What the first bytes of a stream say.
    pub(crate) fn of(first: &[u8]) -> Self {
        match first {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A frame, or a frame to be skipped, with which parallel compressors begin.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// What the first bytes say of packers whose files are not unpacked here: what unpacks one to standard output.
fn unpacked_by(first: &[u8]) -> Option<&'static str> {
    match first {
        [0xfd, b'7', b'z', b'X', ..] => Some("xz -dc"),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some("bzip2 -dc"),
        [0x04, 0x22, 0x4d, 0x18, ..] => Some("lz4 -dc"),
        [b'P', b'K', 0x03, 0x04, ..] => Some("unzip -p"),
        _ => None,
    }
}

impl std::fmt::Display for Compression {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::None => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// The decoded bytes of a stream that may be compressed.
///
/// What follows a gzip member is recognised anew, so that neither padding nor text that was
/// appended to a compressed log costs more than itself.
pub struct Decoded<R: Read> {
    decoder: Decoder<R>,
    compression: Compression,
    /// The binary logarithm of the largest window of zstd that is kept.
    window_log_max: u32,
    /// What went wrong behind the bytes that have been given.
    failure: Option<io::Error>,
}

enum Decoder<R: Read> {
    Plain(Stored<R>),
    Gzip(Box<GzDecoder<Stored<R>>>),
    Zstd(Box<zstd::Decoder<'static, Stored<R>>>),
    /// Only while one decoder makes room for the next.
    Changing,
}

impl<R: Read> Decoded<R> {
    /// Looks at the first bytes of `source` to see how it is compressed.
    pub fn new(source: R) -> io::Result<Self> {
        Self::with_window_log_max(source, WINDOW_LOG_MAX)
    }

    /// The same with windows of zstd of no more than two to the power of `window_log_max` bytes;
    /// data that asks for more is corrupt.
    pub fn with_window_log_max(source: R, window_log_max: u32) -> io::Result<Self> {
        let (decoder, compression) = Decoder::new(Stored::new(source), window_log_max)?;
        Ok(Self { decoder, compression, window_log_max, failure: None })
    }

    /// How the stream is compressed, at its beginning.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// What unpacks the stream to standard output, if it is packed in a way that is not undone here. To be
    /// asked before anything is read.
    pub(crate) fn unpacked_by(&self) -> Option<&'static str> {
        match &self.decoder {
            Decoder::Plain(stored) => unpacked_by(&stored.first),
            _ => None,
        }
    }

    /// How many bytes have been taken from the source.
    pub fn stored_bytes(&self) -> u64 {
        self.decoder.stored().map_or(0, |stored| stored.bytes)
    }

    /// Whether bytes have been taken from the source and not yet been decoded, so that the
    /// next read need not wait for it.
    pub fn is_ready(&self) -> bool {
        self.decoder
            .stored()
            .is_some_and(|stored| !stored.first.is_empty() || !stored.reader.buffer().is_empty())
    }

    /// Goes on to what follows a gzip member that has ended; false when nothing does.
    fn next_part(&mut self) -> io::Result<bool> {
        let Decoder::Gzip(decoder) = &mut self.decoder else { return Ok(false) };
        if decoder.get_mut().fill_buf()?.is_empty() {
            return Ok(false);
        }
        if let Decoder::Gzip(decoder) = std::mem::replace(&mut self.decoder, Decoder::Changing) {
            (self.decoder, _) = Decoder::new(decoder.into_inner(), self.window_log_max)?;
        }
        Ok(true)
    }

    fn step(&mut self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.decoder.read_step(room) {
                Ok(0) if !room.is_empty() && self.next_part()? => {}
                result => return result.map_err(|error| self.explain(error)),
            }
        }
    }

    /// Says what an error of the decoder means, as against one of the source.
    fn explain(&self, error: io::Error) -> io::Error {
        let has_source_failed = self.decoder.stored().is_none_or(|stored| stored.has_failed);
        if error.kind() == io::ErrorKind::Interrupted || has_source_failed {
            return error;
        }
        let compression = self.decoder.compression();
        io::Error::other(match error.kind() {
            io::ErrorKind::UnexpectedEof => DecodeError::Truncated(compression),
            _ => DecodeError::Corrupt { compression, source: error },
        })
    }
}

impl<R: Read> Decoder<R> {
    fn new(mut stored: Stored<R>, window_log_max: u32) -> io::Result<(Self, Compression)> {
        let compression = Compression::of(stored.peek_first()?);
        let decoder = match compression {
            Compression::Gzip => Self::Gzip(Box::new(GzDecoder::new(stored))),
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(stored)?;
                decoder.window_log_max(window_log_max)?;
                Self::Zstd(Box::new(decoder))
            }
            Compression::None => Self::Plain(stored),
        };
        Ok((decoder, compression))
    }

    fn compression(&self) -> Compression {
        match self {
            Self::Plain(_) | Self::Changing => Compression::None,
            Self::Gzip(_) => Compression::Gzip,
            Self::Zstd(_) => Compression::Zstd,
        }
    }

    fn stored(&self) -> Option<&Stored<R>> {
        match self {
            Self::Plain(stored) => Some(stored),
            Self::Gzip(decoder) => Some(decoder.get_ref()),
            Self::Zstd(decoder) => Some(decoder.get_ref()),
            Self::Changing => None,
        }
    }

    fn read_step(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let step = room.len().min(STEP_BYTES);
        match self {
            Self::Plain(stored) => stored.read(room),
            Self::Gzip(decoder) => decoder.read(&mut room[..step]),
            Self::Zstd(decoder) => decoder.read(&mut room[..step]),
            Self::Changing => Ok(0),
        }
    }
}

impl<R: Read> Read for Decoded<R> {
    /// Fills `room` as far as it goes without waiting for the source.
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let mut filled = 0;
        loop {
            match self.step(&mut room[filled..]) {
                Ok(count) => {
                    filled += count;
                    if count == 0 || filled == room.len() || !self.is_ready() {
                        return Ok(filled);
                    }
                }
                Err(error) if filled == 0 => return Err(error),
                Err(error) => {
                    self.failure = Some(error);
                    return Ok(filled);
                }
            }
        }
    }
}

/// The bytes as they are stored, counted.
struct Stored<R> {
    /// Bytes that were looked at ahead, and are still to be read.
    first: Vec<u8>,
    reader: BufReader<R>,
    bytes: u64,
    has_failed: bool,
}

impl<R: Read> Stored<R> {
    fn new(source: R) -> Self {
        let reader = BufReader::with_capacity(STORED_BYTES, source);
        Self { first: Vec::new(), reader, bytes: 0, has_failed: false }
    }

    /// The next few bytes, all that are needed to recognise a format; a pipe may give them one by one.
    fn peek_first(&mut self) -> io::Result<&[u8]> {
        let missing = MAGIC_BYTES.saturating_sub(self.first.len());
        self.reader.by_ref().take(missing as u64).read_to_end(&mut self.first)?;
        Ok(&self.first)
    }
}

impl<R: Read> Read for Stored<R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.first.is_empty() {
            self.has_failed = true;
            let count = self.reader.read(room)?;
            self.has_failed = false;
            self.bytes += count as u64;
            return Ok(count);
        }
        let count = self.first.len().min(room.len());
        room[..count].copy_from_slice(&self.first[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl<R: Read> BufRead for Stored<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if !self.first.is_empty() {
            return Ok(&self.first);
        }
        self.has_failed = true;
        let bytes = self.reader.fill_buf()?;
        self.has_failed = false;
        Ok(bytes)
    }

    fn consume(&mut self, count: usize) {
        self.bytes += count as u64;
        if self.first.is_empty() {
            self.reader.consume(count);
        } else {
            self.first.drain(..count);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// Numbers in words that do not compress to nothing.
    fn text() -> Vec<u8> {
        (0..20_000_u32).flat_map(|n| format!("{}\n", n.wrapping_mul(2_654_435_761)).into_bytes()).collect()
    }

    fn decode(stored: &[u8]) -> (Vec<u8>, Option<String>) {
        let mut decoded = Decoded::new(stored).unwrap();
        let mut text = Vec::new();
        let error = decoded.read_to_end(&mut text).err();
        (text, error.map(|error| error.to_string()))
    }

    #[test]
    fn plain_gzip_and_zstd_are_told_apart_by_their_bytes() {
        for stored in [text(), gzip(&text()), zstd::encode_all(&text()[..], 3).unwrap()] {
            assert_eq!(decode(&stored), (text(), None));
        }
    }

    #[test]
    fn members_and_frames_follow_one_another() {
        let members = [gzip(b"one "), gzip(b"two")].concat();
        let frames = [zstd::encode_all(&b"one "[..], 3).unwrap(), zstd::encode_all(&b"two"[..], 3).unwrap()];
        assert_eq!(decode(&members), (b"one two".to_vec(), None));
        assert_eq!(decode(&frames.concat()), (b"one two".to_vec(), None));
    }

    #[test]
    fn what_follows_a_gzip_member_is_read_as_what_it_is() {
        for (tail, expected) in [
            (vec![0; 512], vec![0; 512]),
            (b"two\n".to_vec(), b"two\n".to_vec()),
            (b"\x1f".to_vec(), b"\x1f".to_vec()),
            (zstd::encode_all(&b"two"[..], 3).unwrap(), b"two".to_vec()),
            ([gzip(b""), gzip(b"two")].concat(), b"two".to_vec()),
        ] {
            let stored = [gzip(b"one "), tail].concat();
            assert_eq!(decode(&stored), ([&b"one "[..], &expected].concat(), None), "{stored:?}");
        }
        let cut = [gzip(b"one "), gzip(b"two")[..10].to_vec()].concat();
        assert_eq!(decode(&cut), (b"one ".to_vec(), Some("the gzip data ends in the middle".to_owned())));
    }

    #[test]
    fn zstd_may_begin_with_a_frame_to_be_skipped() {
        let skipped = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd".to_vec();
        let stored = [skipped, zstd::encode_all(&b"one"[..], 3).unwrap()].concat();
        assert_eq!(decode(&stored), (b"one".to_vec(), None));
    }

    #[test]
    fn stored_bytes_of_all_parts_are_counted() {
        let stored = [gzip(b"one"), gzip(b"two"), b"three".to_vec()].concat();
        let mut decoded = Decoded::new(&stored[..]).unwrap();
        io::copy(&mut decoded, &mut io::sink()).unwrap();
        assert_eq!(decoded.stored_bytes(), stored.len() as u64);
    }

    #[test]
    fn short_streams_are_plain() {
        for text in [&b""[..], b"\x1f", b"\x28\xb5", b"{}"] {
            assert_eq!(decode(text), (text.to_vec(), None));
        }
    }

    #[test]
    fn what_precedes_a_cut_is_decoded() {
        for (stored, complaint) in [
            (gzip(&text()), "the gzip data ends in the middle"),
            (zstd::encode_all(&text()[..], 3).unwrap(), "the zstd data ends in the middle"),
        ] {
            let (decoded, error) = decode(&stored[..stored.len() * 3 / 4]);
            assert_eq!(error.as_deref(), Some(complaint));
            assert!(text().starts_with(&decoded));
            assert!(decoded.len() > text().len() / 3, "{} of {}", decoded.len(), text().len());
        }
    }

    #[test]
    fn stored_bytes_are_those_of_the_file() {
        let stored = gzip(&text());
        let mut decoded = Decoded::new(&stored[..]).unwrap();
        io::copy(&mut decoded, &mut io::sink()).unwrap();
        assert_eq!(decoded.stored_bytes(), stored.len() as u64);
        assert_eq!(decoded.compression(), Compression::Gzip);
    }
}
