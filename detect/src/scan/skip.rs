//! Steps over values that have been validated: strings and brackets are all that is looked at.
//!
//! On other bytes the end may be anywhere in them, or nothing is given.

use super::blocks::{Blocks, Escapes, Search, Strings, Vector};
#[cfg(target_arch = "x86_64")]
use super::x86;
use super::{Level, scalar};

/// The position after the value at `at`.
#[inline]
pub(crate) fn skip_value(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at) == Some(&b'"') { Some(skip_string(bytes, at)?.end) } else { skip_other(bytes, at) }
}

/// The same of what is no string, apart from it since most values are strings.
#[inline(never)]
fn skip_other(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'{' | b'[' => skip_container(Level::best(), bytes, at),
        _ => scalar::scalar_end(bytes, at).ok(),
    }
}

/// A string that has been stepped over.
pub(crate) struct Skipped {
    /// The position after its closing quote.
    pub(crate) end: usize,
    /// True when nothing in it is escaped.
    pub(crate) is_plain: bool,
}

/// From so many escapes on, a string is searched for its end in blocks: whoever writes one may escape everything.
const ESCAPES_FEW: usize = 16;

/// Steps over the string whose opening quote is at `at`.
#[inline]
pub(crate) fn skip_string(bytes: &[u8], at: usize) -> Option<Skipped> {
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let mut escape_count = 0;
    let mut at = at + 1;
    loop {
        at = quote_or_backslash(bytes, at);
        match bytes.get(at)? {
            b'"' => return Some(Skipped { end: at + 1, is_plain: escape_count == 0 }),
            b'\\' => {
                escape_count += 1;
                at += 2;
                if escape_count == ESCAPES_FEW {
                    return Some(Skipped { end: end_of_string(Level::best(), bytes, at)?, is_plain: false });
                }
            }
            _ => at += 1,
        }
    }
}

/// The position after the quote that ends the string which `at` lies in, behind nothing that escapes.
#[cold]
#[inline(never)]
fn end_of_string(level: Level, bytes: &[u8], at: usize) -> Option<usize> {
    if level != Level::SCALAR {
        return level.find(EndOfString { bytes, at });
    }
    let mut bytes = bytes.iter().enumerate().skip(at);
    loop {
        match bytes.next()? {
            (at, b'"') => return Some(at + 1),
            (_, b'\\') => _ = bytes.next(),
            _ => {}
        }
    }
}

/// The search for the end of the string which `at` lies in.
struct EndOfString<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Search for EndOfString<'_> {
    #[inline(always)]
    fn run<V: Vector>(self, vector: V) -> Option<usize> {
        let mut blocks = Blocks::new(self.bytes.get(self.at..)?);
        let mut escapes = Escapes::default();
        let mut at = self.at;
        while let Some(block) = blocks.next() {
            let masks = vector.masks(block);
            let quotes = masks.quotes & !escapes.next_unchecked(masks.backslashes);
            if quotes != 0 {
                return Some(at + quotes.trailing_zeros() as usize + 1);
            }
            at += block.len();
        }
        None
    }
}

/// The position of the next quote or backslash, or of something before it.
#[cfg(target_arch = "x86_64")]
#[inline]
fn quote_or_backslash(bytes: &[u8], mut at: usize) -> usize {
    let Some(last) = bytes.last_chunk() else { return scalar::plain_end(bytes, at) };
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let found = x86::quotes_and_backslashes(chunk);
        if found != 0 {
            return at + found.trailing_zeros() as usize;
        }
        at += chunk.len();
    }
    // Fewer bytes are left than are looked at, so some of the last ones lie before.
    let passed = at + last.len() - bytes.len();
    let found = x86::quotes_and_backslashes(last) >> passed.min(last.len());
    if found == 0 { bytes.len() } else { at + found.trailing_zeros() as usize }
}

#[cfg(not(target_arch = "x86_64"))]
use scalar::plain_end as quote_or_backslash;

fn skip_container(level: Level, bytes: &[u8], start: usize) -> Option<usize> {
    if level == Level::SCALAR { skip_bytes(bytes, start) } else { level.find(Skip { bytes, start }) }
}

/// Steps over the object or array at `at` byte by byte.
fn skip_bytes(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        match bytes.get(at)? {
            b'"' => {
                at = skip_string(bytes, at)?.end;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => return Some(at + 1),
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
}

/// The search for the end of the object or array at `start`.
struct Skip<'a> {
    bytes: &'a [u8],
    start: usize,
}

impl Search for Skip<'_> {
    #[inline(always)]
    fn run<V: Vector>(self, vector: V) -> Option<usize> {
        let mut blocks = Blocks::new(self.bytes.get(self.start..)?);
        let mut strings = Strings::default();
        let mut escapes = Escapes::default();
        let mut at = self.start;
        let mut depth = 0;
        while let Some(block) = blocks.next() {
            let masks = vector.masks(block);
            let escaped = escapes.next_unchecked(masks.backslashes);
            let quoted = strings.next(vector, masks.quotes & !escaped);
            let opening = masks.opening & !quoted.inside;
            let closing = masks.closing & !quoted.inside;
            if let Some(place) = outermost_closing(opening, closing, depth) {
                return Some(at + place + 1);
            }
            depth = depth + opening.count_ones() as usize - closing.count_ones() as usize;
            at += block.len();
        }
        None
    }
}

/// The place of the bracket that closes what `depth` brackets before the block and those in it opened.
#[inline(always)]
fn outermost_closing(opening: u64, mut closing: u64, depth: usize) -> Option<usize> {
    if (closing.count_ones() as usize) < depth {
        return None;
    }
    let mut closed = 0;
    while closing != 0 {
        let before = (closing & closing.wrapping_neg()) - 1;
        closing &= closing - 1;
        closed += 1;
        if depth + (opening & before).count_ones() as usize <= closed {
            return Some(before.count_ones() as usize);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::{Level, end_of_string, skip_container, skip_string, skip_value};

    fn value() -> impl Strategy<Value = String> {
        const SCALARS: &[&str] =
            &["0", "-1.5e3", "true", "null", r#""""#, r#""[\"]{""#, r#""\\""#, r#""\\\"\\}""#];
        let scalar = prop_oneof![
            select(SCALARS).prop_map(str::to_owned),
            (0..70_usize).prop_map(|count| format!("\"{}\"", "x".repeat(count))),
        ];
        scalar.prop_recursive(5, 60, 6, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..6).prop_map(|values| format!("[{}]", values.join(","))),
                vec(inner, 0..6).prop_map(|values| {
                    let members: Vec<_> = values.iter().map(|value| format!(r#""\"{{" : {value}"#)).collect();
                    format!("{{ {} }}", members.join(", "))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_value_ends_where_validation_says(value in value(), shift in 0..64_usize) {
            let array = format!("[\"{}\",{value}]", "x".repeat(shift));
            let followed = format!("{array}]}}\"");
            for level in Level::available() {
                assert_eq!(skip_container(level, followed.as_bytes(), 0), Some(array.len()), "{level:?} {array}");
            }
            assert_eq!(skip_value(format!("{value},]").as_bytes(), 0), Some(value.len()));
        }

        #[test]
        fn a_string_ends_at_its_quote_wherever_the_bytes_end(
            string in vec(select(&[r"\\", r#"\""#, r"\n", "a", "é", "bcdefg"][..]), 0..120),
            before in 0..40_usize,
            behind in 0..40_usize,
        ) {
            let text = string.concat();
            let bytes = [&vec![b'"'; before][..], b"\"", text.as_bytes(), b"\"", &vec![b'\\'; behind]].concat();
            let string = skip_string(&bytes, before).unwrap();
            assert_eq!((string.end, string.is_plain), (before + text.len() + 2, !text.contains('\\')));
            for level in Level::available() {
                assert_eq!(end_of_string(level, &bytes, before + 1), Some(string.end), "{level:?}");
            }
        }

        #[test]
        fn no_bytes_lead_out_of_them(bytes in vec(select(&b"[]{}\"\\,:1t x"[..]), 0..200)) {
            let ends = Level::available().filter_map(|level| skip_container(level, &bytes, 0));
            assert!(ends.chain(skip_value(&bytes, 0)).all(|end| end <= bytes.len()));
            let strings = (0..bytes.len()).filter_map(|at| skip_string(&bytes, at));
            for at in 0..bytes.len() {
                let end = end_of_string(Level::SCALAR, &bytes, at);
                assert!(end <= Some(bytes.len()));
                assert!(Level::available().all(|level| end_of_string(level, &bytes, at) == end), "{bytes:?} at {at}");
            }
            assert!(strings.into_iter().all(|string| string.end <= bytes.len()));
        }
    }
}
