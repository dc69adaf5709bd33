//! Undoes gzip and zstd, recognised by their first bytes, never by a name.
//!
//! **Invariant:** decoding streams: however much a few compressed bytes unfold to, no more
//! than a window of it (128 MiB for zstd at most, 32 KiB for gzip) is held.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// How much is decoded at a time. A decoder that meets an error loses what it decoded in the
/// same step, so the steps are small.
const STEP_BYTES: usize = 4096;

/// How much is taken from the file at once.
const STORED_BYTES: usize = 128 * 1024;

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
pub struct Decoded<R: Read> {
    decoder: Decoder<R>,
}

enum Decoder<R: Read> {
    Plain(Stored<R>),
    Gzip(Box<MultiGzDecoder<Stored<R>>>),
    Zstd(Box<zstd::Decoder<'static, Stored<R>>>),
}

impl<R: Read> Decoded<R> {
    /// Looks at the first bytes of `source` to see how it is compressed.
    pub fn new(source: R) -> io::Result<Self> {
        let mut stored = Stored::new(source)?;
        let first = stored.fill_buf()?;
        let decoder = if first.starts_with(GZIP_MAGIC) {
            Decoder::Gzip(Box::new(MultiGzDecoder::new(stored)))
        } else if first.starts_with(ZSTD_MAGIC) {
            Decoder::Zstd(Box::new(zstd::Decoder::with_buffer(stored)?))
        } else {
            Decoder::Plain(stored)
        };
        Ok(Self { decoder })
    }

    /// How the stream is compressed.
    pub fn compression(&self) -> Compression {
        match self.decoder {
            Decoder::Plain(_) => Compression::None,
            Decoder::Gzip(_) => Compression::Gzip,
            Decoder::Zstd(_) => Compression::Zstd,
        }
    }

    /// How many bytes have been taken from the source.
    pub fn stored_bytes(&self) -> u64 {
        match &self.decoder {
            Decoder::Plain(stored) => stored.bytes,
            Decoder::Gzip(decoder) => decoder.get_ref().bytes,
            Decoder::Zstd(decoder) => decoder.get_ref().bytes,
        }
    }

    fn source_failed(&self) -> bool {
        match &self.decoder {
            Decoder::Plain(stored) => stored.has_failed,
            Decoder::Gzip(decoder) => decoder.get_ref().has_failed,
            Decoder::Zstd(decoder) => decoder.get_ref().has_failed,
        }
    }
}

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let step = room.len().min(STEP_BYTES);
        let result = match &mut self.decoder {
            Decoder::Plain(stored) => return stored.read(room),
            Decoder::Gzip(decoder) => decoder.read(&mut room[..step]),
            Decoder::Zstd(decoder) => decoder.read(&mut room[..step]),
        };
        result.map_err(|source| {
            if source.kind() == io::ErrorKind::Interrupted || self.source_failed() {
                return source;
            }
            let compression = self.compression();
            io::Error::other(match source.kind() {
                io::ErrorKind::UnexpectedEof => DecodeError::Truncated(compression),
                _ => DecodeError::Corrupt { compression, source },
            })
        })
    }
}

/// The bytes as they are stored, counted.
struct Stored<R> {
    reader: io::Chain<io::Cursor<Vec<u8>>, BufReader<R>>,
    bytes: u64,
    has_failed: bool,
}

impl<R: Read> Stored<R> {
    /// Reads the first bytes ahead, since a pipe may give them one by one.
    fn new(source: R) -> io::Result<Self> {
        let mut reader = BufReader::with_capacity(STORED_BYTES, source);
        let mut first = Vec::with_capacity(ZSTD_MAGIC.len());
        reader.by_ref().take(ZSTD_MAGIC.len() as u64).read_to_end(&mut first)?;
        Ok(Self { reader: io::Cursor::new(first).chain(reader), bytes: 0, has_failed: false })
    }
}

impl<R: Read> Read for Stored<R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let result = self.reader.read(room);
        match &result {
            Ok(count) => self.bytes += *count as u64,
            Err(_) => self.has_failed = true,
        }
        result
    }
}

impl<R: Read> BufRead for Stored<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.has_failed = true;
        let bytes = self.reader.fill_buf()?;
        self.has_failed = false;
        Ok(bytes)
    }

    fn consume(&mut self, count: usize) {
        self.bytes += count as u64;
        self.reader.consume(count);
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
