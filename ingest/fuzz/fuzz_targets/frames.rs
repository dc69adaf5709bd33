//! Any bytes give the same frames however they are delivered, within bounded memory:
//! `cargo +nightly fuzz run frames fuzz/corpus/frames fuzz/seeds/frames`.

#![no_main]

use std::io::{self, Read};

use ingest::{Frame, Frames};

/// Small enough that inputs of a few kilobytes hold longer items.
const EVENT_BYTES_MAX: usize = 300;

/// What the reader adds to the limit, and twice that is promised to be enough.
const BUFFER_BYTES_MAX: usize = 2 * (EVENT_BYTES_MAX + 256 * 1024);

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((&sizes_length, rest)) = input.split_first() else { return };
    let (sizes, bytes) = rest.split_at(rest.len().min(usize::from(sizes_length % 16)));
    let at_once = outline(bytes, Pieces { bytes, sizes: &[], next: 0 });
    let in_pieces = outline(bytes, Pieces { bytes, sizes, next: 0 });
    assert_eq!(at_once, in_pieces);
});

/// What was found and where, after checking that it lies there.
fn outline(bytes: &[u8], source: impl Read) -> Vec<(bool, u64, u64, u64, String)> {
    let mut frames = Frames::with_event_bytes_max(source, EVENT_BYTES_MAX);
    let mut found = Vec::new();
    let (mut passed, mut unwrapped) = (0, 0);
    while let Some(frame) = frames.next() {
        let (is_event, line, offset, length, text) = match frame {
            Frame::Event { event, offset } => {
                let start = usize::try_from(offset).expect("offsets fit");
                let raw = event.raw().to_vec();
                let lies_there = bytes.get(start..).is_some_and(|rest| rest.starts_with(&raw));
                let was_unwrapped = frames.counts().unwrapped > unwrapped;
                unwrapped = frames.counts().unwrapped;
                assert!(lies_there || was_unwrapped, "an event from nowhere");
                assert!(raw.len() <= EVENT_BYTES_MAX || was_unwrapped);
                let length = if lies_there { raw.len() as u64 } else { 0 };
                (true, frames.line(), offset, length, String::from_utf8_lossy(&raw).into_owned())
            }
            Frame::Malformed(bad) => (false, bad.line, bad.offset, bad.bytes, bad.kind.to_string()),
        };
        assert!(offset >= passed, "frames overlap");
        passed = offset + length;
        let before = &bytes[..usize::try_from(offset).expect("offsets fit")];
        assert_eq!(line, 1 + before.iter().filter(|byte| **byte == b'\n').count() as u64);
        found.push((is_event, line, offset, length, text));
    }
    assert!(passed <= bytes.len() as u64);
    assert_eq!(frames.counts().decoded_bytes, bytes.len() as u64);
    assert!(frames.buffer_bytes() <= BUFFER_BYTES_MAX);
    found
}

/// Delivers bytes in pieces of the given sizes, over and over; at once without sizes.
struct Pieces<'a> {
    bytes: &'a [u8],
    sizes: &'a [u8],
    next: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let piece = match self.sizes.get(self.next % self.sizes.len().max(1)) {
            Some(size) => usize::from(*size) + 1,
            None => usize::MAX,
        };
        self.next += 1;
        let room_bytes = room.len().min(piece);
        self.bytes.read(&mut room[..room_bytes])
    }
}
