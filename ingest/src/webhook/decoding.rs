//! Decodes a body as it is read, and keeps what it unfolds to within limits.

use std::io::{self, Read};

use axum::http::{HeaderMap, header};

use super::body::{BodyError, Stored, Whole};
use super::rejection::Rejection;
use super::{Content, Limits};
use crate::decode::Decoded;

/// What a body may unfold to whatever its size: a few bytes of blanks are no attack.
const UNFOLDED_BYTES_FREE: u64 = 16 * 1024 * 1024;

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
    if stored.is_whole(limits.decoded_bytes_max) {
        Content::Whole(Whole::new(stored))
    } else {
        Content::Stream(Box::new(Decoding::new(stored, limits)))
    }
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

    fn check_size(&self, stored_bytes: u64) -> Result<(), BodyError> {
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
        let stored_bytes = decoded.stored_bytes();
        self.decoded_bytes += count as u64;
        if let Err(error) = self.check_size(stored_bytes) {
            self.fail(Some(error));
            return Err(error.into());
        }
        Ok(count)
    }
}
