//! A stream read in chunks holds what it holds when it is read as one.

#![allow(clippy::unwrap_used, clippy::panic)]

mod hostile_stream;
mod reading;

use std::collections::VecDeque;

use hostile_stream::{LIMIT_BYTES, stream};
use ingest::decode::Decoded;
use ingest::{Chunk, ChunkFrames, Chunks, Counts, Frame, Malformed, OngoingFrames, Standing};
use proptest::prelude::*;
use reading::{Outcome, Pieces, event};

/// How chunks are made in a test.
#[derive(Clone, Copy, Debug)]
struct Cut {
    chunk_bytes: usize,
    chunk_bytes_max: usize,
    piece_bytes: usize,
    is_live: bool,
}

/// What chunks held, written as [`Outcome`] writes it.
#[derive(Debug, Default)]
struct Held {
    lines: Vec<String>,
    raw: Vec<Vec<u8>>,
    counts: Counts,
    /// How many chunks were taken as they had been read on their own.
    own_count: usize,
}

impl Held {
    fn event(&mut self, event: &detect::Event<'_>) -> String {
        self.raw.push(event.raw().to_vec());
        event.str(detect::event::Key::AuditId).unwrap_or_default().into_owned()
    }

    fn malformed(&mut self, bad: &Malformed) {
        self.lines.push(format!("{}:{} ({} bytes) {}", bad.line, bad.offset, bad.bytes, bad.kind));
    }
}

/// Reads every chunk on its own, and on from the last known place where that was wrong.
fn read_chunks(bytes: &[u8], limit_bytes: usize, cut: Cut) -> Held {
    let source = Pieces { source: bytes, piece_bytes: cut.piece_bytes };
    let decoded = Decoded::new(source).unwrap();
    let mut cutter = Chunks::new(decoded).with_chunk_bytes(cut.chunk_bytes, cut.chunk_bytes_max);
    if cut.is_live {
        cutter = cutter.live();
    }
    let mut chunks: VecDeque<Chunk> = std::iter::from_fn(|| cutter.next(Chunk::default())).collect();
    let mut whole = Held::default();
    let mut standing = Standing::at_start(limit_bytes);
    while let Some(chunk) = chunks.pop_front() {
        let mut own = Held::default();
        let mut frames = ChunkFrames::new(chunk, limit_bytes);
        while let Some(frame) = frames.next() {
            match frame {
                Frame::Event { event, offset } => {
                    let id = own.event(&event);
                    own.lines.push(format!("{}:{offset} event {id}", frames.line() + standing.line() - 1));
                }
                Frame::Malformed(bad) => {
                    own.malformed(&Malformed { line: bad.line + standing.line() - 1, ..bad });
                }
            }
        }
        let counts = frames.counts();
        let (chunk, end) = frames.finish();
        if let Some(behind) = standing.behind(&end) {
            standing = behind;
            whole.lines.append(&mut own.lines);
            whole.raw.append(&mut own.raw);
            whole.counts += &Counts { stored_bytes: 0, ..counts };
            whole.own_count += 1;
        } else {
            standing = read_on(&mut whole, OngoingFrames::new(standing, chunk, |_| chunks.pop_front()));
        }
    }
    whole
}

fn read_on<N: FnMut(Chunk) -> Option<Chunk>>(whole: &mut Held, mut frames: OngoingFrames<N>) -> Standing {
    while let Some(frame) = frames.next() {
        match frame {
            Frame::Event { event, offset } => {
                let id = whole.event(&event);
                let line = frames.line();
                whole.lines.push(format!("{line}:{offset} event {id}"));
            }
            Frame::Malformed(bad) => whole.malformed(&bad),
        }
    }
    whole.counts += &Counts { stored_bytes: 0, ..frames.counts() };
    frames.finish().1
}

#[track_caller]
fn check(bytes: &[u8], limit_bytes: usize, cut: Cut) -> Held {
    let whole = Outcome::read_with(Decoded::new(bytes).unwrap(), limit_bytes, usize::MAX);
    let chunks = read_chunks(bytes, limit_bytes, cut);
    assert_eq!(whole.content(), (&chunks.lines[..], &chunks.raw[..]), "{cut:?}");
    assert_eq!(whole.counts, chunks.counts);
    chunks
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn cuts_do_not_matter(
        bytes in stream(),
        chunk_bytes in 16..256_usize,
        growth in 1..4_usize,
        piece_bytes in 1..300_usize,
        is_live in any::<bool>(),
    ) {
        let cut = Cut { chunk_bytes, chunk_bytes_max: chunk_bytes * growth, piece_bytes, is_live };
        check(&bytes, LIMIT_BYTES, cut);
    }
}

const SMALL: Cut = Cut { chunk_bytes: 200, chunk_bytes_max: 400, piece_bytes: usize::MAX, is_live: false };

#[test]
fn the_chunks_of_json_lines_are_right_as_they_are() {
    let text: String = (0..100).map(|number| event(number % 10) + "\n").collect();
    for is_live in [false, true] {
        let read = check(text.as_bytes(), 1000, Cut { is_live, ..SMALL });
        assert!(read.own_count > 40, "{}", read.own_count);
    }
}

#[test]
fn so_are_those_of_pretty_printed_events() {
    let text: String = (0..100).map(|id| event(id % 10).replace(',', ",\n  ") + "\n").collect();
    assert!(check(text.as_bytes(), 1000, SMALL).own_count > 40);
}

#[test]
fn what_is_broken_holds_up_no_more_than_the_chunks_around_it() {
    let mut lines: Vec<String> = (0..100).map(|number| event(number % 10) + "\n").collect();
    lines[50].truncate(40);
    lines.insert(70, format!("[{},\n{}]\n", event(1), event(2)));
    assert!(check(lines.concat().as_bytes(), 1000, SMALL).own_count > 35);
}

#[test]
fn recorded_streams_are_the_same_in_chunks() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut count = 0;
    for folder in ["deploy/demo", "tests/cli", "tests/hostile", "ingest/fuzz/seeds/frames"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if !path.is_file() {
                continue;
            }
            let bytes = std::fs::read(path).unwrap();
            for chunk_bytes in [16, 64, 256, 4096] {
                let cut = Cut { chunk_bytes, chunk_bytes_max: 4 * chunk_bytes, ..SMALL };
                check(&bytes, ingest::EVENT_BYTES_MAX, cut);
            }
            count += 1;
        }
    }
    assert!(count > 10, "{count}");
}
