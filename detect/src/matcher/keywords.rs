//! Keywords: texts that may stand in any key or value of an event. The bytes of most events show
//! at once that none of them does.

use aho_corasick::AhoCorasick;

use super::{Matcher, Sought, fold, holds};
use crate::event::Event;
use crate::field::Value;
use crate::json::Json;
use crate::scan;

impl Matcher {
    /// Makes ready what the first question would.
    pub(crate) fn prepare_for_keywords(&self) {
        self.prepare();
        let _ = self.raw_needles();
    }

    /// Whether any key or value of an event, as a keyword sees them, satisfies any of the tests.
    /// `folded` is room to work in.
    pub(crate) fn matches_event(&self, event: &Event<'_>, folded: &mut Vec<u8>) -> bool {
        let mut words = scan::Scalars::new(event.raw()).filter_map(Json::text);
        self.may_match_raw(event.raw(), folded) && words.any(|word| self.matches_keyword(&word))
    }

    /// Whether one key or value of the event satisfies any of the tests of a keyword.
    pub(crate) fn matches_keyword(&self, word: &str) -> bool {
        let is_ruled_out = |needles: &RawNeedles| word.is_ascii() && !needles.0.is_match(&*fold(word));
        if self.raw_needles().is_some_and(is_ruled_out) {
            return false;
        }
        self.matches_word(word) || self.others.iter().any(|test| holds(test, &Value::Text(word.into())))
    }

    /// False where the bytes of an event show at once that nothing in it is looked for.
    fn may_match_raw(&self, raw: &[u8], folded: &mut Vec<u8>) -> bool {
        self.raw_needles().is_none_or(|needles| needles.are_in(raw, folded) || !shows_needles(raw))
    }

    fn raw_needles(&self) -> Option<&RawNeedles> {
        self.raw_needles.get_or_init(|| RawNeedles::new(self)).as_ref()
    }
}

/// Texts of which one stands in the bytes of an event that keywords match, whatever its case.
#[derive(Debug)]
pub(super) struct RawNeedles(AhoCorasick);

/// How many bytes are folded at once.
const FOLDED_BYTES: usize = 4 << 10;

/// How long a text may be: what one piece begins is found in the next, of which it is then a part.
const NEEDLE_BYTES_MAX: usize = FOLDED_BYTES / 4;

impl RawNeedles {
    /// Nothing where bytes do not tell, and for more texts than one automaton can look for.
    fn new(matcher: &Matcher) -> Option<Self> {
        let is_plain =
            |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !ESCAPED.contains(&byte));
        let Sought { whole, contained, expressions, .. } = matcher.sought()?;
        let mut texts: Vec<&str> = contained.iter().map(|text| &**text).collect();
        for regex in expressions {
            texts.extend(regex.necessary_texts()?.iter().map(String::as_str));
        }
        let is_told = |text: &&str| is_plain(text) && text.len() <= NEEDLE_BYTES_MAX;
        (whole.is_empty() && texts.iter().all(is_told)).then(|| AhoCorasick::new(texts).ok().map(Self))?
    }

    /// Whether one of them stands in some bytes, in any case. These are folded piece by piece:
    /// texts are found several times as fast where case is told apart.
    fn are_in(&self, bytes: &[u8], folded: &mut Vec<u8>) -> bool {
        let overlap = self.0.max_pattern_len().saturating_sub(1);
        let mut rest = bytes;
        loop {
            let (piece, is_last) = (&rest[..rest.len().min(FOLDED_BYTES)], rest.len() <= FOLDED_BYTES);
            folded.clear();
            folded.extend_from_slice(piece);
            folded.make_ascii_lowercase();
            let is_found = self.0.is_match(folded.as_slice());
            if is_found || is_last {
                return is_found;
            }
            rest = &rest[FOLDED_BYTES - overlap..];
        }
    }
}

/// What is written as an escape in JSON: the API server does so with the last three as well.
const ESCAPED: &[u8] = b"\"\\<>&";

/// The codes of what [`ESCAPED`] names and of what is not ASCII that the API server writes.
const ESCAPES: &[&[u8]] = &[b"003c", b"003e", b"0026", b"2028", b"2029"];

/// Whether all printable ASCII but [`ESCAPED`] stands in valid JSON as it is, and nothing folds to
/// ASCII that is not.
fn shows_needles(raw: &[u8]) -> bool {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let is_harmless = match rest.get(at + 1) {
            Some(b'u') => rest.get(at + 2..at + 6).is_some_and(|code| {
                ESCAPES.contains(&code) || code.starts_with(b"000") || code.starts_with(b"001")
            }),
            Some(letter) => *letter != b'/',
            None => false,
        };
        if !is_harmless {
            return false;
        }
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    raw.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sigma::{Part, Pattern, Test};

    #[test]
    fn a_text_is_found_wherever_it_lies_in_whatever_case() {
        let literal =
            |text: &str| Test::Text(Pattern { parts: vec![Part::Literal(text.to_owned())], is_cased: false });
        let matcher = Matcher::new(&[literal("a needle of some length"), literal("another")], true);
        let needles = RawNeedles::new(&matcher).unwrap();
        let mut room = Vec::new();
        for length in [10, FOLDED_BYTES - 1, FOLDED_BYTES, FOLDED_BYTES + 1, 3 * FOLDED_BYTES] {
            assert!(!needles.are_in(&vec![b'n'; length], &mut room));
            for start in (0..length).filter(|start| start % FOLDED_BYTES > FOLDED_BYTES - 30 || *start < 3) {
                let mut bytes = vec![b'n'; length];
                bytes.truncate(start);
                bytes.extend_from_slice(b"A Needle Of Some lengtH");
                bytes.resize(bytes.len().max(length), b'x');
                assert!(needles.are_in(&bytes, &mut room), "{start} of {length}");
            }
        }
    }
}
