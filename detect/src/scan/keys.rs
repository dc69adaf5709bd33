//! Shows the keys of values that have been validated, found by the colons behind them.

use super::blocks::{Blocks, Escapes, Search, Strings, Vector};
use super::{Level, scalar, skip_whitespace};
use crate::json::Json;

/// Shows every key of valid JSON, decoded, at any depth.
pub(crate) fn each_key(bytes: &[u8], visit: impl FnMut(&[u8])) {
    each_key_at(Level::best(), bytes, visit);
}

fn each_key_at(level: Level, bytes: &[u8], mut visit: impl FnMut(&[u8])) {
    if level == Level::SCALAR {
        each_key_by_bytes(bytes, &mut visit);
    } else {
        level.find(Keys { bytes, visit });
    }
}

fn each_key_by_bytes(bytes: &[u8], visit: &mut impl FnMut(&[u8])) {
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        if *byte != b'"' {
            at += 1;
            continue;
        }
        let Ok(end) = scalar::string_end(bytes, at) else { return };
        let next = skip_whitespace(bytes, end);
        if bytes.get(next) == Some(&b':') {
            visit_decoded(&bytes[at..end], visit);
        }
        at = next;
    }
}

/// Shows a key that is given with its quotes.
fn visit_decoded(written: &[u8], visit: &mut impl FnMut(&[u8])) {
    match written {
        [b'"', inside @ .., b'"'] if inside.is_ascii() && !inside.contains(&b'\\') => visit(inside),
        _ => visit(Json::new(written).text().unwrap_or_default().as_bytes()),
    }
}

/// The search for all keys.
struct Keys<'a, F> {
    bytes: &'a [u8],
    visit: F,
}

impl<F: FnMut(&[u8])> Search for Keys<'_, F> {
    #[inline(always)]
    fn run<V: Vector>(mut self, vector: V) -> Option<usize> {
        let mut blocks = Blocks::new(self.bytes);
        let mut strings = Strings::default();
        let mut escapes = Escapes::default();
        let mut at = 0;
        // The quotes of the last string before the block.
        let (mut opened, mut closed) = (0, 0);
        // Nothing that begins here or later holds what is to be decoded.
        let mut plain_from = 0;
        while let Some(block) = blocks.next() {
            let masks = vector.masks(block);
            let escaped = escapes.next(masks.backslashes, |_| true)?;
            let quoted = strings.next(vector, masks.quotes & !escaped);
            if masks.backslashes != 0 || !block.is_ascii() {
                plain_from = at + block.len();
            }
            let mut colons = masks.colons & !quoted.inside;
            while colons != 0 {
                let before = (colons & colons.wrapping_neg()) - 1;
                colons &= colons - 1;
                let start = last(quoted.opening & before).map_or(opened, |place| at + place);
                let end = last(quoted.closing & before).map_or(closed, |place| at + place);
                if start >= plain_from {
                    (self.visit)(self.bytes.get(start + 1..end)?);
                } else {
                    visit_decoded(self.bytes.get(start..=end)?, &mut self.visit);
                }
            }
            opened = last(quoted.opening).map_or(opened, |place| at + place);
            closed = last(quoted.closing).map_or(closed, |place| at + place);
            at += block.len();
        }
        Some(at)
    }
}

/// The place of the highest bit that is set.
#[inline(always)]
fn last(bits: u64) -> Option<usize> {
    bits.checked_ilog2().map(|place| place as usize)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::scan::value_end;

    /// The parts of values, with strings that look like others and space where it may be.
    const PARTS: [&str; 16] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        " ",
        "\n",
        "\"a\"",
        "\"\\\\\"",
        "\"a\\\":{\"",
        "\"\"",
        "1",
        "\"é.b\"",
        "\"\\u0061\":",
        "\"a longer key that is seldom in one block of sixty-four bytes\" :",
    ];

    fn keys(level: Level, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        each_key_at(level, bytes, |key| keys.push(key.to_vec()));
        keys
    }

    fn value() -> impl Strategy<Value = String> {
        let text = select(
            &["\"\"", "\"a:b\"", "\"\\\\\"", "\"\\\":\\\"\"", "\"a.\\u0062\"", "\"é\"", "\"key of length\""]
                [..],
        );
        let leaf =
            prop_oneof![text.clone().prop_map(str::to_owned), Just("-1".to_owned()), Just("null".to_owned())];
        let colon =
            select(&[":", " :", "\n  :\t", ": ", "                                                  :"][..]);
        leaf.prop_recursive(5, 100, 8, move |value| {
            let entry = (text.clone(), colon.clone(), value.clone());
            let entry = entry.prop_map(|(key, colon, value)| format!("{key}{colon}{value}"));
            prop_oneof![
                vec(value, 0..8).prop_map(|values| format!("[{}]", values.join(", "))),
                vec(entry, 0..8).prop_map(|entries| format!("{{{}}}", entries.join(","))),
            ]
        })
    }

    #[test]
    fn keys_are_shown_as_they_are_decoded() {
        for level in Level::available() {
            let text = r#"{"a":{"b" : [{"c.d":":"},"e",{"\u0066\\":1}]}, "a":{}, "":":\":"}"#;
            let expected: [&[u8]; 6] = [b"a", b"b", b"c.d", b"f\\", b"a", b""];
            assert_eq!(keys(level, text.as_bytes()), expected);
        }
    }

    proptest! {
        #[test]
        fn all_levels_show_the_same_keys(value in value()) {
            prop_assert_eq!(value_end(value.as_bytes(), 0), Ok(value.len()));
            let expected = keys(Level::SCALAR, value.as_bytes());
            for level in Level::available() {
                prop_assert_eq!(&keys(level, value.as_bytes()), &expected);
            }
        }

        #[test]
        fn no_bytes_lead_out_of_them(parts in vec(select(&PARTS[..]), 0..60)) {
            let bytes = parts.concat();
            for level in Level::available() {
                let _ = keys(level, bytes.as_bytes());
            }
        }
    }
}
