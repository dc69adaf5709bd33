//! Keywords: texts that may stand in any key or value of an event. The bytes of most events show
//! at once that none of them does.

use core::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind, packed};

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
        let raw = event.raw();
        let mut words = scan::Scalars::new(raw);
        match self.raw_needles() {
            // Whatever a place lies in is asked: bytes between words may look like a text, too.
            Some(needles) if shows_needles(raw) => needles.any_place(raw, folded, |place| {
                while words.end() < place.end {
                    let Some(word) = words.next() else { return false };
                    let is_asked = words.end() > place.start;
                    if is_asked && word.text().is_some_and(|word| self.holds_of(&word)) {
                        return true;
                    }
                }
                false
            }),
            _ => words.filter_map(Json::text).any(|word| self.matches_keyword(&word)),
        }
    }

    /// Whether one key or value of the event satisfies any of the tests of a keyword.
    pub(crate) fn matches_keyword(&self, word: &str) -> bool {
        let is_ruled_out =
            |needles: &RawNeedles| word.is_ascii() && !needles.search.any(fold(word).as_bytes(), |_| true);
        !self.raw_needles().is_some_and(is_ruled_out) && self.holds_of(word)
    }

    fn holds_of(&self, word: &str) -> bool {
        self.matches_word(word) || self.others.iter().any(|test| holds(test, &Value::Text(word.into())))
    }

    fn raw_needles(&self) -> Option<&RawNeedles> {
        self.raw_needles.get_or_init(|| RawNeedles::new(self)).as_ref()
    }
}

/// Texts of which one stands in the bytes of an event, whatever its case, wherever keywords match.
#[derive(Debug)]
pub(super) struct RawNeedles {
    search: Search,
    /// How long the longest is.
    bytes_max: usize,
}

/// How many bytes are folded at once.
const FOLDED_BYTES: usize = 4 << 10;

/// How long a text may be: what one piece begins is found in the next, of which it is then a part.
const NEEDLE_BYTES_MAX: usize = FOLDED_BYTES / 4;

impl RawNeedles {
    /// Nothing where bytes do not tell, and for more texts than one automaton can look for.
    fn new(matcher: &Matcher) -> Option<Self> {
        let Sought { whole, contained, expressions, .. } = matcher.sought()?;
        if !whole.is_empty() {
            return None;
        }
        let mut texts: Vec<&str> = contained.iter().map(|text| &**text).collect();
        for regex in expressions {
            texts.extend(regex.necessary_texts()?.iter().map(String::as_str));
        }
        let mut needles = texts.into_iter().map(shown_part).collect::<Option<Vec<_>>>()?;
        needles.sort_unstable();
        needles.dedup();
        let bytes_max = needles.iter().map(|needle| needle.len()).max()?;
        Some(Self { search: Search::new(&needles)?, bytes_max })
    }

    /// Shows places where one of them stands in some bytes, in any case, until `is_it` takes one:
    /// wherever one stands, a place is shown that shares bytes with it, and none behind it before.
    /// The bytes are folded piece by piece: texts are found several times as fast where case is
    /// told apart.
    fn any_place(
        &self,
        bytes: &[u8],
        folded: &mut Vec<u8>,
        mut is_it: impl FnMut(Range<usize>) -> bool,
    ) -> bool {
        let overlap = self.bytes_max - 1;
        let mut start = 0;
        loop {
            let rest = &bytes[start..];
            folded.clear();
            folded.extend_from_slice(&rest[..rest.len().min(FOLDED_BYTES)]);
            folded.make_ascii_lowercase();
            if self.search.any(folded, |place| is_it(start + place.start..start + place.end)) {
                return true;
            }
            if rest.len() <= FOLDED_BYTES {
                return false;
            }
            start += FOLDED_BYTES - overlap;
        }
    }
}

/// The longest part of a text without case that stands in JSON as it is.
fn shown_part(text: &str) -> Option<&[u8]> {
    let is_shown = |byte: &u8| matches!(byte, b' '..=b'~') && !ESCAPED.contains(byte);
    let part = text.as_bytes().split(|byte| !is_shown(byte)).max_by_key(|part| part.len())?;
    (!part.is_empty()).then(|| &part[..part.len().min(NEEDLE_BYTES_MAX)])
}

/// A search for the places of some texts, none of which are the same.
#[derive(Debug)]
enum Search {
    /// For few texts: many bytes are looked at at once, and it takes little to build.
    Packed(packed::Searcher),
    Automaton(AhoCorasick),
}

/// For how many texts bytes are looked at together: with more, too many look like one of them.
const PACKED_MAX: usize = 32;

impl Search {
    /// Nothing for more texts than one automaton can look for.
    fn new(needles: &[&[u8]]) -> Option<Self> {
        let packed = || packed::Config::new().builder().extend(needles).build();
        if let Some(searcher) = (needles.len() <= PACKED_MAX).then(packed).flatten() {
            return Some(Self::Packed(searcher));
        }
        let automaton = AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(needles);
        automaton.ok().map(Self::Automaton)
    }

    /// Whether `is_it` takes any of the places, of which none overlap.
    fn any(&self, bytes: &[u8], mut is_it: impl FnMut(Range<usize>) -> bool) -> bool {
        match self {
            Self::Packed(searcher) => {
                searcher.find_iter(bytes).any(|found| is_it(found.start()..found.end()))
            }
            Self::Automaton(automaton) => {
                automaton.find_iter(bytes).any(|found| is_it(found.start()..found.end()))
            }
        }
    }
}

/// What is written as an escape in JSON: the API server does so with the last three as well.
const ESCAPED: &[u8] = b"\"\\<>&";

/// The codes of what [`ESCAPED`] names that the API server writes so.
const ESCAPES: &[&[u8]] = &[b"003c", b"003e", b"0026"];

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
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::sigma::{Part, Pattern, Test};

    fn needles(texts: &[&str]) -> Option<RawNeedles> {
        let literal = |text: &&str| {
            Test::Text(Pattern { parts: vec![Part::Literal((*text).to_owned())], is_cased: false })
        };
        RawNeedles::new(&Matcher::new(&texts.iter().map(literal).collect::<Vec<_>>(), true))
    }

    fn places(needles: &RawNeedles, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut places = Vec::new();
        needles.any_place(bytes, &mut Vec::new(), |place| {
            places.push(place);
            false
        });
        places
    }

    #[test]
    fn a_text_is_found_wherever_it_lies_in_whatever_case() {
        let needles = needles(&["a needle of some length", "another"]).unwrap();
        for length in [10, FOLDED_BYTES - 1, FOLDED_BYTES, FOLDED_BYTES + 1, 3 * FOLDED_BYTES] {
            assert!(places(&needles, &vec![b'n'; length]).is_empty());
            for start in (0..length).filter(|start| start % FOLDED_BYTES > FOLDED_BYTES - 30 || *start < 3) {
                let mut bytes = vec![b'n'; length];
                bytes.truncate(start);
                bytes.extend_from_slice(b"A Needle Of Some lengtH");
                let end = bytes.len();
                bytes.resize(end.max(length), b'x');
                let found = places(&needles, &bytes);
                assert!(!found.is_empty() && found.iter().all(|place| *place == (start..end)), "{found:?}");
            }
        }
    }

    #[test]
    fn what_is_escaped_is_not_looked_for() {
        let sought =
            |text: &str| needles(&[text]).map(|needles| places(&needles, b"a \\n \"Long-Text\" \\n").len());
        assert_eq!(sought("\"Long-text\""), Some(1));
        assert_eq!(sought("\nlong-text\n\\n"), Some(1));
        assert_eq!(sought("<long-text>\u{e9}"), Some(1));
        assert_eq!(sought("\"\\\u{e9}\n"), None);
        assert!(needles(&["long", "\""]).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_place_is_shown_wherever_a_text_stands(
            texts in vec("[ab1,]{1,6}", 1..2 * PACKED_MAX),
            from in 0..8_usize,
            bytes in vec(select(&b"aAb1,"[..]), FOLDED_BYTES..FOLDED_BYTES + 100),
        ) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let bytes = &bytes[from * FOLDED_BYTES / 8..];
            let places = places(&needles(&texts).unwrap(), bytes);
            for text in texts {
                for start in 0..=bytes.len() - text.len() {
                    let end = start + text.len();
                    let first = places.iter().find(|place| start < place.end);
                    prop_assert!(
                        !bytes[start..end].eq_ignore_ascii_case(text.as_bytes())
                            || first.is_some_and(|place| place.start < end)
                    );
                }
            }
        }
    }
}
