//! What becomes of input that nobody should write and somebody will.
//!
//! Small inputs are the files in `tests/hostile`, each with its expected outcome in
//! `expected.txt` beside them; those too large to keep are made here.

#![allow(clippy::unwrap_used, clippy::panic, clippy::missing_panics_doc)]

mod reading;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use ingest::decode::Decoded;
use ingest::{EVENT_BYTES_MAX, Frames};
use reading::{Outcome, Pieces, event};

const MIB: usize = 1024 * 1024;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/hostile")
}

/// The expected lines by file name: a file name after `== `, then what its reading gives.
fn expectations() -> BTreeMap<String, Vec<String>> {
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut name = String::new();
    for line in fs::read_to_string(folder().join("expected.txt")).unwrap().lines() {
        match line.strip_prefix("== ") {
            Some(next) => {
                next.clone_into(&mut name);
                assert!(expected.insert(name.clone(), Vec::new()).is_none(), "{name} twice");
            }
            None => expected.get_mut(&name).unwrap().push(line.to_owned()),
        }
    }
    expected
}

fn outcomes(piece_bytes: usize) -> BTreeMap<String, Vec<String>> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let inputs = files.filter(|path| {
        let name = path.file_name().unwrap();
        name != "expected.txt" && name != ".gitattributes"
    });
    inputs
        .map(|path| {
            let decoded = Decoded::new(fs::File::open(&path).unwrap()).unwrap();
            let outcome = Outcome::read_with(decoded, EVENT_BYTES_MAX, piece_bytes);
            assert!(outcome.buffer_bytes <= MIB, "{} held {}", path.display(), outcome.buffer_bytes);
            let lines = outcome.lines().into_iter().map(str::to_owned).collect();
            (path.file_name().unwrap().to_string_lossy().into_owned(), lines)
        })
        .collect()
}

#[test]
fn every_file_has_the_outcome_that_is_written_down() {
    let (expected, found) = (expectations(), outcomes(usize::MAX));
    assert!(expected.len() >= 40);
    assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
    for (name, lines) in &expected {
        assert_eq!(&found[name], lines, "{name}");
    }
}

#[test]
fn the_outcome_does_not_depend_on_how_files_are_delivered() {
    let expected = expectations();
    for piece_bytes in [1, 7, 4096] {
        for (name, lines) in outcomes(piece_bytes) {
            assert_eq!(lines, expected[&name], "{name} in pieces of {piece_bytes}");
        }
    }
}

/// Reads a large input and compares the number of events, the complaints and the memory held.
#[track_caller]
fn check(source: impl Read, events: usize, complaints: &[&str], buffer_bytes_max: usize) {
    check_with(source, EVENT_BYTES_MAX, events, complaints, buffer_bytes_max);
}

#[track_caller]
fn check_with(
    source: impl Read,
    event_bytes_max: usize,
    events: usize,
    complaints: &[&str],
    buffer_bytes_max: usize,
) {
    let outcome = Outcome::of(Frames::with_event_bytes_max(source, event_bytes_max), false);
    assert_eq!(
        (outcome.events, outcome.complaints),
        (events, complaints.iter().map(ToString::to_string).collect())
    );
    assert!(outcome.buffer_bytes <= buffer_bytes_max, "held {}", outcome.buffer_bytes);
}

/// `unit`, `count` times, without being held as a whole.
fn repeated(unit: impl Into<Vec<u8>>, count: usize) -> impl Read {
    let unit = unit.into();
    let mut block = Cursor::new(unit.repeat(count.min(1000)));
    let block_bytes = block.get_ref().len() as u64;
    let mut left = (unit.len() * count) as u64;
    Endless(move |room: &mut [u8]| {
        if block.position() == block_bytes {
            block.set_position(0);
        }
        let length = room.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = block.read(&mut room[..length])?;
        left -= read as u64;
        Ok(read)
    })
}

struct Endless<F>(F);

impl<F: FnMut(&mut [u8]) -> io::Result<usize>> Read for Endless<F> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        (self.0)(room)
    }
}

fn text(text: impl Into<Vec<u8>>) -> Cursor<Vec<u8>> {
    Cursor::new(text.into())
}

fn line_without_end(id: u8) -> Cursor<Vec<u8>> {
    text(event(id))
}

fn line(id: u8) -> Cursor<Vec<u8>> {
    text(event(id) + "\n")
}

#[test]
fn objects_100_000_deep() {
    let source = repeated(r#"{"verb":"#, 100_000).chain(text("\n")).chain(line(1));
    check(source, 1, &["1:0 (800001 bytes) nested deeper than 10016 levels at byte 80136"], 2 * MIB);
}

#[test]
fn an_event_with_arrays_100_000_deep() {
    let source = text(r#"{"verb":"get","x":"#).chain(repeated("[", 100_000)).chain(repeated("]", 100_000));
    let complaint = "1:0 (200020 bytes) nested deeper than 10016 levels at byte 10034";
    check(source.chain(text("}\n")).chain(line(2)), 1, &[complaint], 2 * MIB);
}

#[test]
fn arrays_100_000_deep() {
    let source = repeated("[", 100_000).chain(text("\n")).chain(line(1));
    check(source, 1, &["1:8 (99993 bytes) lists nest deeper than 8 levels"], MIB);
}

#[test]
fn an_event_of_100_mb() {
    let source = |count| line(1).chain(text(r#"{"verb":"get","x":""#)).chain(repeated("y", count));
    check(source(100_000_000).chain(text("\"}\n")).chain(line(2)), 3, &[], 257 * MIB);
    let complaint = "2:84 (20000020 bytes) the JSON ends in the middle";
    check(source(20_000_000).chain(text("\n")).chain(line(2)), 2, &[complaint], 65 * MIB);
}

#[test]
fn an_event_of_100_mb_above_the_limit() {
    let long = text(r#"{"verb":"get","x":""#).chain(repeated("y", 100_000_000)).chain(text("\"}\n"));
    let complaint = "2:84 (100000021 bytes) an item of more than 1048576 bytes";
    check_with(line(1).chain(long).chain(line(2)), MIB, 2, &[complaint], 2 * MIB);
}

#[test]
fn an_array_of_300_000_events() {
    let source = text("[").chain(repeated(event(1) + ",", 299_999)).chain(line(2)).chain(text("]"));
    check(source, 300_000, &[], MIB);
}

#[test]
fn a_list_of_300_000_events_on_one_line() {
    let source = text(r#"{"items":["#).chain(repeated(event(1) + ",", 299_999)).chain(line(2));
    check(source.chain(text(r#"],"kind":"EventList"}"#)), 300_000, &[], MIB);
}

#[test]
fn an_array_of_a_million_numbers() {
    let mut frames = Frames::new(text("[").chain(repeated("1,", 999_999)).chain(text("1]\n")).chain(line(1)));
    let outcome = Outcome::of_counts(&mut frames);
    assert_eq!((outcome.events, outcome.malformed_total()), (1, 1_000_000));
    assert!(frames.buffer_bytes() <= MIB);
}

#[test]
fn a_million_opening_braces() {
    check(repeated("{", 1_000_000), 0, &["1:0 (1000000 bytes) expected `\"` at byte 1"], MIB);
}

#[test]
fn broken_lines_by_the_hundred_thousand() {
    let counts = Outcome::of_counts(&mut Frames::new(repeated("{\"verb\":\n", 300_000).chain(line(1))));
    assert_eq!((counts.events, counts.malformed_total()), (1, 300_000));
}

/// Each line nests in the one before it, so that each has to be given up on its own.
#[test]
fn lines_that_open_and_never_close() {
    let mut frames = Frames::new(repeated("{\"a\":[\n", 300_000).chain(line(1)));
    let counts = Outcome::of_counts(&mut frames);
    assert_eq!((counts.events, counts.malformed_total()), (1, 300_000));
}

/// Ten thousand openings, each of which could hold all that follows.
#[test]
fn openings_before_a_sea_of_values() {
    let source = repeated("{\"a\":[\n", 10_000).chain(repeated("{\"verb\":\"get\"},\n", 300_000));
    let counts = Outcome::of_counts(&mut Frames::new(source));
    assert_eq!(counts.events, 300_000);
    assert!(counts.malformed_total() >= 10_000, "{counts:?}");
}

#[test]
fn beginnings_of_events_on_one_line() {
    let source = repeated(r#"{"kind":"Event","apiVersion":"audit.k8s.io/"#, 200_000).chain(text("\n"));
    check(source.chain(line(1)), 1, &["1:0 (8600001 bytes) expected `,` or `}` at byte 45"], 2 * MIB);
}

#[test]
fn a_hole_of_64_mib() {
    let source = line(1).chain(io::repeat(0).take(1 << 26)).chain(line(2));
    check(source, 2, &["2:84 (67108864 bytes) 67108864 NUL bytes"], MIB);
}

#[test]
fn a_line_of_garbage_of_60_mb() {
    let source = repeated("garbage ", 7_500_000).chain(text("\n")).chain(line(1));
    check(source, 1, &["1:0 (60000001 bytes) not an audit event: neither an object nor an array"], MIB);
}

#[test]
fn a_key_of_a_megabyte() {
    let source = text("{\"").chain(repeated("k", MIB)).chain(text("\":1,\"verb\":\"get\"}\n"));
    check(source.chain(line(1)), 2, &[], 4 * MIB);
}

#[test]
fn a_hundred_thousand_keys() {
    let source = text("{").chain(repeated("\"verb\":\"get\",", 100_000)).chain(text("\"verb\":\"list\"}\n"));
    check(source.chain(line(1)), 2, &[], 4 * MIB);
}

#[test]
fn blanks_without_end_behind_a_salvaged_event() {
    let source = text("{\"verb\":x").chain(line_without_end(1)).chain(repeated(" ", 4 * MIB)).chain(line(2));
    check_with(source, MIB, 2, &["1:0 (9 bytes) expected a value at byte 8"], 2 * MIB);
}

/// The limit lies between what was read and twice that, so the room must not grow by what is left.
#[test]
fn a_long_item_delivered_in_odd_pieces() {
    let long = text(r#"{"verb":"get","x":""#).chain(repeated("y", 3 * MIB)).chain(text("\"}\n"));
    let source = Pieces { source: long.chain(line(1)), piece_bytes: 190_001 };
    let complaint = "1:0 (3145749 bytes) an item of more than 1048576 bytes";
    check_with(source, MIB, 1, &[complaint], MIB + MIB / 4);
}

/// Once too much was scanned in vain, items may not span lines; those on a line longer than
/// the limit are still all found.
#[test]
fn events_on_a_line_above_the_limit_after_much_in_vain() {
    let vain = repeated("{\"a\":[\n", 200_000);
    let source = vain.chain(text("[")).chain(repeated(event(1) + ",", 30_000)).chain(line_without_end(2));
    let counts = Outcome::of_counts(&mut Frames::with_event_bytes_max(source.chain(text("]\n")), MIB));
    assert_eq!((counts.events, counts.malformed_total()), (30_001, 200_000));
}

/// Each item's brackets are looked for, and nothing is to be found before the line ends.
#[test]
fn an_array_of_items_that_never_close() {
    let cut = r#"[{"a":x{"b":["#;
    let lines = repeated(format!("{}\n", cut.repeat(100)), 100);
    let counts = Outcome::of_counts(&mut Frames::new(lines.chain(line(1))));
    assert_eq!((counts.events, counts.malformed_total()), (1, 100));
}

#[test]
fn a_gzip_bomb() {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::best());
    io::copy(&mut line(1).chain(io::repeat(b' ').take(4 << 20)), &mut encoder).unwrap();
    let stored = encoder.finish().unwrap();
    assert!(stored.len() < 8 * 1024);
    check(Decoded::new(repeated(stored, 4)).unwrap(), 4, &[], MIB);
}

#[test]
fn a_zstd_bomb_that_is_one_string() {
    let bomb = text(r#"{"verb":""#).chain(io::repeat(b'x').take(1 << 25)).chain(text("\"}\n")).chain(line(1));
    let stored = zstd::encode_all(bomb, 3).unwrap();
    assert!(stored.len() < 32 * 1024);
    let complaint = "1:0 (33554443 bytes) an item of more than 8388608 bytes";
    check_with(Decoded::new(&stored[..]).unwrap(), 8 * MIB, 1, &[complaint], 9 * MIB);
}
