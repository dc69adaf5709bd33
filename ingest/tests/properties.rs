//! Laws of the frame reader: delivery does not matter, framing does not matter.

#![allow(clippy::unwrap_used, clippy::panic, clippy::missing_panics_doc)]

mod hostile_stream;
mod reading;

use hostile_stream::{LIMIT_BYTES, stream};
use ingest::Frames;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use reading::{Outcome, Pieces, event};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn delivery_does_not_matter(bytes in stream(), piece_bytes in 1..60_usize) {
        let whole = Outcome::read_with(&bytes[..], LIMIT_BYTES, usize::MAX);
        let pieces = Outcome::read_with(&bytes[..], LIMIT_BYTES, piece_bytes);
        prop_assert_eq!(whole.content(), pieces.content());
        prop_assert_eq!(whole.counts, pieces.counts);
    }

    #[test]
    fn shedding_concerns_only_what_is_too_long(bytes in stream(), piece_bytes in 1..60_usize) {
        let plain = Outcome::read_with(&bytes[..], LIMIT_BYTES, usize::MAX);
        let pieces = Pieces { source: &bytes[..], piece_bytes };
        let shed = Outcome::of(Frames::with_event_bytes_max(pieces, LIMIT_BYTES).shedding(), true);
        prop_assert_eq!(plain.lines().len(), shed.lines().len());
        for (plain, shed) in plain.lines().into_iter().zip(shed.lines()) {
            prop_assert!(plain == shed || plain.contains("an item of more than"), "{plain}\n{shed}");
        }
    }

    #[test]
    fn every_event_lies_in_the_stream_where_it_is_said_to_lie(bytes in stream()) {
        let mut frames = Frames::new(Pieces { source: &bytes[..], piece_bytes: 50 });
        let (mut last, mut unwrapped) = (0, 0);
        while let Some(frame) = frames.next() {
            let (line, offset, length) = match frame {
                ingest::Frame::Event { event, offset } => {
                    let start = usize::try_from(offset).unwrap();
                    let raw = event.raw().to_vec();
                    let lies_there = bytes[start..].starts_with(&raw);
                    let was_unwrapped = frames.counts().unwrapped > unwrapped;
                    unwrapped = frames.counts().unwrapped;
                    prop_assert!(lies_there || was_unwrapped);
                    (frames.line(), offset, if lies_there { raw.len() as u64 } else { 0 })
                }
                ingest::Frame::Malformed(bad) => (bad.line, bad.offset, bad.bytes),
            };
            prop_assert!(offset >= last);
            last = offset + length;
            prop_assert!(last <= bytes.len() as u64);
            let before = &bytes[..usize::try_from(offset).unwrap()];
            prop_assert_eq!(line, before.split(|byte| *byte == b'\n').count() as u64);
        }
    }

    #[test]
    fn framing_does_not_matter(
        groups in vec((vec(1..10_u8, 0..5), 0..5_u8, select(vec!["", " ", "\n", "\r\n", "\t\n "])), 0..8),
        piece_bytes in 1..200_usize,
    ) {
        let mut text = String::new();
        for (ids, framing, space) in &groups {
            text.push_str(&framed(ids, *framing, space));
        }
        let ids: Vec<u64> = groups.iter().flat_map(|(ids, ..)| ids.iter().map(|id| u64::from(*id))).collect();
        let outcome = Outcome::of(Frames::new(Pieces { source: text.as_bytes(), piece_bytes }), true);
        prop_assert_eq!(&outcome.ids, &ids, "{}", text);
        prop_assert!(outcome.complaints.is_empty(), "{:?}", outcome.complaints);
    }
}

fn framed(ids: &[u8], framing: u8, space: &str) -> String {
    let items = |separator: &str| ids.iter().map(|id| event(*id)).collect::<Vec<_>>().join(separator);
    let list = items(&format!("{space},{space}"));
    match framing {
        0 => items(space) + space,
        1 => format!("{space}[{space}{list}{space}]"),
        2 => format!(r#"{{"kind":"EventList",{space}"items"{space}:{space}[{list}]{space}}}{space}"#),
        3 => format!(r#"{{"items":[{list}{space}],"kind":"EventList","metadata":{space}{{}}}}"#),
        _ => items("\n").replace(",\"", &format!("{space},{space}\"")).replace("{\"", "{ \"") + "\n",
    }
}
