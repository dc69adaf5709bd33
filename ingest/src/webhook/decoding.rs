//! Decodes a body as it is read, or at once where it is all there and short, and keeps what it unfolds to
//! within limits.

use std::io::{self, Read};

use axum::http::{HeaderMap, header};

use super::body::{BodyError, Stored, Whole};
use super::rejection::Rejection;
use super::room::Memory;
use super::{Content, Limits};
use crate::decode::{Compression, Decoded};

/// What a body may unfold to whatever its size: a few bytes of blanks are no attack.
const UNFOLDED_BYTES_FREE: u64 = 16 * 1024 * 1024;

/// How many times its size the buffer is that a body is first decoded into: audit logs shrink to a twentieth
/// as a whole and to a tenth in batches.
const UNFOLDED_GUESS: usize = 12;

/// The largest window of zstd, 8 MiB, as the standard asks of those who decode for strangers.
const WINDOW_LOG_MAX: u32 = 23;

/// Refuses a body that is encoded in a way that cannot be undone. How it is encoded is seen by
/// its bytes.
pub(super) fn check_encoding(headers: &HeaderMap) -> Result<(), Rejection> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let encoding = encodings.next().map_or(&b""[..], |encoding| encoding.as_bytes().trim_ascii());
    let is_known = [&b""[..], b"identity", b"gzip", b"x-gzip", b"zstd"]
        .iter()
        .any(|known| encoding.eq_ignore_ascii_case(known));
    if is_known && encodings.next().is_none() { Ok(()) } else { Err(Rejection::Encoding) }
}

/// What a body holds, within its limits.
pub(super) fn content(stored: Stored, limits: &Limits) -> Content {
    if stored.is_whole() {
        Content::Whole(Whole::new(stored))
    } else if stored.is_packed() {
        Content::Packed(Box::new(Packed { stored, limits: limits.clone() }))
    } else {
        Content::Stream(Box::new(Decoding::new(stored, limits)))
    }
}

/// A compressed body that was collected.
pub struct Packed {
    stored: Stored,
    limits: Limits,
}

impl Packed {
    /// Decodes it if that gives no more than may be held. Otherwise, or if something is wrong with it, it is
    /// decoded as it is read: then what comes before is not lost. Takes some milliseconds and waits for nobody.
    pub fn unpack(self) -> Content {
        match self.unfolded() {
            Some((bytes, memory)) => Content::Whole(Whole::new(Stored::new(bytes, None, memory))),
            None => Content::Stream(self.into_reader()),
        }
    }

    /// The bytes, decoded as they are read.
    pub(super) fn into_reader(self) -> Box<dyn Read + Send> {
        Box::new(Decoding::new(self.stored, &self.limits))
    }

    /// Everything that it holds, in memory of its own.
    fn unfolded(&self) -> Option<(Vec<u8>, Memory)> {
        let bytes_max = usize::try_from(self.limits.decoded_bytes_max.min(UNFOLDED_BYTES_FREE)).ok()?;
        let bytes_max = bytes_max.min(self.limits.collected_bytes_max);
        let packed = self.stored.collected();
        let mut decoded = Decoded::with_window_log_max(packed, WINDOW_LOG_MAX).ok()?;
        let (mut bytes, mut memory) = (Vec::new(), self.stored.memory().another());
        let mut wanted = packed.len().saturating_mul(UNFOLDED_GUESS).min(bytes_max);
        loop {
            let read_bytes = bytes.len();
            memory.grow(&mut bytes, wanted).ok()?;
            bytes.resize(bytes.capacity().min(bytes_max), 0);
            // Invariant: it has become no shorter.
            let unread = fill(&mut decoded, &mut bytes[read_bytes..]).ok()?;
            if unread > 0 {
                bytes.truncate(bytes.len() - unread);
                return Some((bytes, memory));
            }
            if bytes.len() >= bytes_max {
                return None;
            }
            wanted = bytes.len().saturating_mul(2).min(bytes_max);
        }
    }
}

/// Reads until there is no more, or no room; gives how much of the room is left.
fn fill(source: &mut impl Read, mut room: &mut [u8]) -> io::Result<usize> {
    while !room.is_empty() {
        match source.read(room) {
            Ok(0) => break,
            // Invariant: no more is read than there is room for.
            Ok(count) => room = &mut room[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(room.len())
}

/// A body, decoded as it is read.
struct Decoding {
    state: State,
    decoded_bytes: u64,
    bytes_max: u64,
    ratio_max: u64,
}

enum State {
    /// Not looked at, since that may already have to wait for bytes.
    Closed(Stored),
    Open(Box<Decoded<Stored>>),
    Failed(BodyError),
    Ended,
}

impl Decoding {
    fn new(stored: Stored, limits: &Limits) -> Self {
        Self {
            state: State::Closed(stored),
            decoded_bytes: 0,
            bytes_max: limits.decoded_bytes_max,
            ratio_max: limits.decoded_ratio_max,
        }
    }

    fn open(&mut self) -> io::Result<()> {
        if let State::Closed(_) = self.state
            && let State::Closed(stored) = std::mem::replace(&mut self.state, State::Ended)
        {
            let decoded = Decoded::with_window_log_max(stored, WINDOW_LOG_MAX);
            let decoded = decoded.inspect_err(|error| self.fail(BodyError::of(error)))?;
            self.state = State::Open(Box::new(decoded));
        }
        Ok(())
    }

    /// Gives up what is to be decoded, and remembers the reason.
    fn fail(&mut self, error: Option<BodyError>) {
        self.state = error.map_or(State::Ended, State::Failed);
    }

    /// Holds what is compressed to its limits. What is not has been held to those of a body as it came.
    fn check_size(&self, compression: Compression, stored_bytes: u64) -> Result<(), BodyError> {
        if compression == Compression::None {
            return Ok(());
        }
        let ratio_bytes_max = stored_bytes.saturating_mul(self.ratio_max).max(UNFOLDED_BYTES_FREE);
        let bytes_max = self.bytes_max.min(ratio_bytes_max);
        if self.decoded_bytes > bytes_max { Err(BodyError::Unfolds { bytes_max }) } else { Ok(()) }
    }
}

impl Read for Decoding {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.open()?;
        let decoded = match &mut self.state {
            State::Open(decoded) => decoded,
            State::Failed(error) => return Err((*error).into()),
            State::Closed(_) | State::Ended => return Ok(0),
        };
        let count = match decoded.read(room) {
            Ok(count) => count,
            Err(error) => {
                if let Some(error) = BodyError::of(&error) {
                    self.fail(Some(error));
                }
                return Err(error);
            }
        };
        let (compression, stored_bytes) = (decoded.compression(), decoded.stored_bytes());
        self.decoded_bytes += count as u64;
        if let Err(error) = self.check_size(compression, stored_bytes) {
            self.fail(Some(error));
            return Err(error.into());
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use axum::body::Bytes;
    use tokio::sync::mpsc;

    use super::*;
    use crate::webhook::Party;
    use crate::webhook::body::Piece;
    use crate::webhook::room::Room;

    /// A body that was collected.
    fn stored(bytes: &[u8], limits: &Limits) -> Stored {
        arriving(bytes, None, limits)
    }

    /// A body of which more may arrive than was collected.
    fn arriving(bytes: &[u8], rest: Option<mpsc::Receiver<Piece>>, limits: &Limits) -> Stored {
        let mut memory = Room::new(limits).memory(&Party::Cluster("lab".into()));
        let mut buffer = Vec::new();
        memory.grow(&mut buffer, bytes.len()).unwrap();
        buffer.extend_from_slice(bytes);
        Stored::new(buffer, rest, memory)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// Lines that shrink to about a fifth.
    fn text(bytes: usize) -> Vec<u8> {
        let line = |number: u32| format!("{{\"auditID\":\"{:08x}\"}}\n", number.wrapping_mul(2_654_435_761));
        let mut text: Vec<u8> = (0..).flat_map(|number| line(number).into_bytes()).take(bytes).collect();
        text.truncate(bytes);
        text
    }

    /// What a body gives that is unpacked, and whether it does in memory.
    #[track_caller]
    fn unpacked(body: &[u8], limits: &Limits) -> (bool, Vec<u8>, bool) {
        let Content::Packed(packed) = content(stored(body, limits), limits) else {
            panic!("not taken for a compressed body");
        };
        let content = packed.unpack();
        let (is_whole, mut bytes) = (matches!(content, Content::Whole(_)), Vec::new());
        let is_all = content.into_reader().read_to_end(&mut bytes).is_ok();
        (is_whole, bytes, is_all)
    }

    #[test]
    fn a_compressed_body_is_unpacked_in_memory() {
        let limits = Limits::default();
        for bytes in [0, 1, 1000, 1_000_000, limits.collected_bytes_max - 1] {
            let text = text(bytes);
            assert_eq!(unpacked(&gzip(&text), &limits), (true, text.clone(), true), "gzip of {bytes}");
            let packed = zstd::encode_all(&*text, 1).unwrap();
            assert_eq!(unpacked(&packed, &limits), (true, text, true), "zstd of {bytes}");
        }
    }

    #[test]
    fn what_unfolds_to_more_than_is_held_is_read_as_it_is_decoded() {
        let limits = Limits { collected_bytes_max: 100_000, ..Limits::default() };
        for bytes in [limits.collected_bytes_max, 300_000] {
            let text = text(bytes);
            assert_eq!(unpacked(&gzip(&text), &limits), (false, text, true), "{bytes}");
        }
        let crowded = Limits { memory_bytes_max: 300_000, ..Limits::default() };
        let text = text(400_000);
        assert_eq!(unpacked(&gzip(&text), &crowded), (false, text, true));
    }

    #[test]
    fn what_comes_before_something_corrupt_is_not_lost() {
        let text = text(1_000_000);
        let packed = gzip(&text);
        let (is_whole, bytes, is_all) = unpacked(&packed[..packed.len() / 2], &Limits::default());
        assert!(!is_whole && !is_all);
        assert!(bytes.len() > 100_000 && text.starts_with(&bytes), "{} bytes", bytes.len());
    }

    #[test]
    fn only_what_is_compressed_is_held_to_what_it_may_unfold_to() {
        let limits = Limits { decoded_bytes_max: 1000, ..Limits::default() };
        let text = text(5000);
        let (pieces, rest) = mpsc::channel(8);
        for part in text[10..].chunks(1000) {
            pieces.try_send(Piece::Bytes(Bytes::copy_from_slice(part))).unwrap();
        }
        pieces.try_send(Piece::End).unwrap();
        let all = content(stored(&text, &limits), &limits);
        assert!(matches!(all, Content::Whole(_)));
        for content in [all, content(arriving(&text[..10], Some(rest), &limits), &limits)] {
            let mut bytes = Vec::new();
            content.into_reader().read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, text);
        }
        let (is_whole, bytes, is_all) = unpacked(&gzip(&text), &limits);
        assert!(!is_whole && !is_all && bytes.len() <= 1000, "{} bytes", bytes.len());
    }
}
