//! Regular expressions: what is wrong with them and where, and a limit on their size.
//!
//! Reading an expression finds everything that can be wrong with it. Its automaton takes
//! far longer to build, and few expressions ever meet an event that asks for them, so each
//! is built at the first question, or before it by who has the time.

use core::fmt;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use regex_automata::util::syntax;
use regex_syntax::ast::ErrorKind as AstKind;
use regex_syntax::hir::{Class, ClassUnicodeRange, Hir, HirKind};
use regex_syntax::utf8::Utf8Sequences;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::automaton::Automaton;
use super::error::RuleErrorKind as Kind;
use super::necessary;

/// How large one expression may get when compiled; long alternatives of Unicode classes
/// stay below.
const COMPILED_BYTES_MAX: usize = 4 << 20;

/// For how many texts an automaton is put off that none of them needs: to look through so many
/// takes a part of the time that building it does.
const RULED_OUT_MAX: usize = 16;

/// How many expressions are remembered for the rules that are read next.
const REMEMBERED_MAX: usize = 4096;

thread_local! {
    /// What lists hold stands in many rules: such an expression is read and compiled once.
    static KNOWN: RefCell<HashMap<String, Regex, foldhash::fast::RandomState>> = RefCell::default();
}

/// A regular expression. Clones share one automaton, which is built when the first of them
/// is asked or made ready.
#[derive(Clone)]
pub struct Regex {
    expression: Arc<Expression>,
}

struct Expression {
    text: String,
    /// False if that is left to others.
    is_checked: bool,
    /// For texts of ASCII alone, which nearly all are. Nothing if it cannot be built, which
    /// [`Regex::new`] rules out.
    automaton: OnceLock<Option<Box<Automaton>>>,
    /// For all other texts.
    wide_automaton: OnceLock<Option<Box<Automaton>>>,
    /// Whether somebody has begun to build it.
    is_begun: AtomicBool,
    /// For how many texts it was asked whether they need it at all.
    ruled_out_count: AtomicUsize,
    /// Texts of which one stands where it finds something, if that can be said.
    necessary: OnceLock<Option<Vec<String>>>,
}

impl Expression {
    fn new(text: &str, is_checked: bool) -> Self {
        let (automaton, wide_automaton) = (OnceLock::new(), OnceLock::new());
        Self {
            text: text.to_owned(),
            is_checked,
            automaton,
            wide_automaton,
            is_begun: AtomicBool::new(false),
            ruled_out_count: AtomicUsize::new(0),
            necessary: OnceLock::new(),
        }
    }

    fn automaton(&self) -> Option<&Automaton> {
        let build = || {
            self.is_begun.store(true, Ordering::Relaxed);
            Automaton::new(&self.text, syntax_for_ascii(&self.text), COMPILED_BYTES_MAX).map(Box::new)
        };
        self.automaton.get_or_init(build).as_deref()
    }

    fn wide_automaton(&self) -> Option<&Automaton> {
        let build = || Automaton::new(&self.text, syntax::Config::new(), COMPILED_BYTES_MAX).map(Box::new);
        self.wide_automaton.get_or_init(build).as_deref()
    }

    fn necessary_texts(&self) -> Option<&[String]> {
        let read = || necessary::texts(&syntax::parse_with(&self.text, &syntax_for_ascii(&self.text)).ok()?);
        self.necessary.get_or_init(read).as_deref()
    }

    /// Whether a text of ASCII alone holds nothing that is found, which is told for some texts
    /// before there is an automaton.
    fn rules_out(&self, text: &str) -> bool {
        if self.automaton.get().is_some()
            || self.ruled_out_count.fetch_add(1, Ordering::Relaxed) >= RULED_OUT_MAX
        {
            return false;
        }
        let folded = text.to_ascii_lowercase();
        let stands = |part: &String| memchr::memmem::find(folded.as_bytes(), part.as_bytes()).is_some();
        self.necessary_texts().is_some_and(|texts| !texts.iter().any(stands))
    }
}

impl Regex {
    /// Reads an expression; refuses what is malformed or too large. One that was read before
    /// is shared.
    pub fn new(text: &str) -> Result<Self, Kind> {
        if let Some(regex) = known(text).filter(|regex| regex.expression.is_checked) {
            return Ok(regex);
        }
        let hir = parse(text).map_err(|fault| fault.kind)?;
        if bytes_bound(&hir) > COMPILED_BYTES_MAX {
            compile(text)?;
        }
        Ok(remember(Expression::new(text, true)))
    }

    /// Takes an expression that has been checked before; one that is wrong all the same finds
    /// nothing.
    pub(super) fn trusted(text: &str) -> Self {
        known(text).unwrap_or_else(|| remember(Expression::new(text, false)))
    }

    /// The expression; its flags are a part of its text, so equal texts are equal expressions.
    pub fn as_str(&self) -> &str {
        &self.expression.text
    }

    /// Whether the expression finds something in the text.
    pub fn is_match(&self, text: &str) -> bool {
        let automaton = match text.is_ascii() {
            true if self.expression.rules_out(text) => return false,
            true => self.expression.automaton(),
            false => self.expression.wide_automaton(),
        };
        automaton.is_some_and(|regex| regex.is_match(text))
    }

    /// Texts without case: the expression finds nothing in a text of ASCII alone that holds none
    /// of them, whatever its case. Nothing if there are no such texts.
    pub(crate) fn necessary_texts(&self) -> Option<&[String]> {
        self.expression.necessary_texts()
    }

    /// Builds its automata, so that nobody who asks has to wait for them; unless somebody does so
    /// at the moment, who is not waited for.
    pub(crate) fn prepare(&self) {
        if !self.expression.is_begun.swap(true, Ordering::Relaxed) {
            let _ = (self.expression.automaton(), self.expression.wide_automaton());
        }
    }
}

fn known(text: &str) -> Option<Regex> {
    KNOWN.with_borrow(|known| known.get(text).cloned())
}

fn remember(expression: Expression) -> Regex {
    let text = expression.text.clone();
    let regex = Regex { expression: Arc::new(expression) };
    KNOWN.with_borrow_mut(|known| {
        if known.len() < REMEMBERED_MAX {
            known.insert(text, regex.clone());
        }
    });
    regex
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Serialize for Regex {
    /// Writes its necessary texts, too: to find them out takes longer than to read them.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.as_str(), self.necessary_texts()).serialize(serializer)
    }
}

impl<'d> Deserialize<'d> for Regex {
    /// Takes an expression that has been checked before, as `Regex::trusted` does.
    fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<Self, D::Error> {
        let (text, necessary) = <(&str, Option<Vec<String>>)>::deserialize(deserializer)?;
        let regex = Self::trusted(text);
        // One that is known may know them.
        let _ = regex.expression.necessary.set(necessary);
        Ok(regex)
    }
}

impl fmt::Debug for Regex {
    /// The same for equal expressions, whether compiled or not.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Regex").field(&self.as_str()).finish()
    }
}

/// A fault of an expression and the characters that are meant.
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) from: usize,
    pub(super) width: usize,
}

/// What is wrong with an expression, its size aside, and where in its text.
pub(super) fn check(text: &str) -> Result<(), Fault> {
    parse(text).map(drop)
}

/// Compiles an expression.
pub(super) fn compile(text: &str) -> Result<regex::Regex, Kind> {
    let regex = regex::RegexBuilder::new(text).size_limit(COMPILED_BYTES_MAX).build();
    regex.map_err(|error| match error {
        regex::Error::CompiledTooBig(max) => Kind::RegexTooLarge { max },
        error => Kind::InvalidRegex { message: fragment(&error) },
    })
}

/// How to understand an expression that is asked about texts of ASCII alone.
///
/// Classes without all the other characters are a fraction of the size, and a fraction of the
/// work to build. Only what is written in the expression can make a difference: a character
/// that is not ASCII may fold to one that is.
fn syntax_for_ascii(text: &str) -> syntax::Config {
    let may_be_wide = !text.is_ascii() || WIDE_ESCAPES.iter().any(|escape| text.contains(escape));
    syntax::Config::new().unicode(may_be_wide).utf8(may_be_wide)
}

/// Escapes that can stand for characters that are not ASCII, and for no others in some syntax.
const WIDE_ESCAPES: [&str; 5] = [r"\x", r"\u", r"\U", r"\p", r"\P"];

/// Understands the syntax of an expression, as compiling it does.
fn parse(text: &str) -> Result<Hir, Fault> {
    let error = match regex_syntax::parse(text) {
        Ok(hir) => return Ok(hir),
        Err(error) => error,
    };
    let (kind, span) = match &error {
        regex_syntax::Error::Parse(error) => (ast_kind(error.kind()), error.span()),
        regex_syntax::Error::Translate(error) => {
            (Kind::InvalidRegex { message: fragment(error.kind()) }, error.span())
        }
        other => {
            let kind = Kind::InvalidRegex { message: fragment(other) };
            return Err(Fault { kind, from: 0, width: text.chars().count() });
        }
    };
    let characters = |from: usize, to: usize| text.get(from..to).map_or(0, |part| part.chars().count());
    let (start, end) = (span.start.offset, span.end.offset);
    Err(Fault { kind, from: characters(0, start), width: characters(start, end).max(1) })
}

/// What a state of an automaton takes at most, with its transition and the way to it.
const STATE_BYTES_MAX: usize = 48;
/// How many states every automaton has around those of its expression.
const OUTER_STATES: usize = 8;

/// How many bytes an expression takes at most when it is compiled.
fn bytes_bound(hir: &Hir) -> usize {
    states_bound(hir).saturating_add(OUTER_STATES).saturating_mul(STATE_BYTES_MAX)
}

/// A state for each byte that can be read, in each repetition, and three for what joins them:
/// as if nothing could be shared.
fn states_bound(hir: &Hir) -> usize {
    let below = match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 0,
        HirKind::Literal(literal) => literal.0.len(),
        HirKind::Class(Class::Bytes(class)) => class.ranges().len(),
        HirKind::Class(Class::Unicode(class)) => class.iter().copied().map(bytes_of_range).sum(),
        HirKind::Repetition(repetition) => {
            let copies = repetition.max.unwrap_or(repetition.min).max(1) as usize;
            states_bound(&repetition.sub).saturating_add(1).saturating_mul(copies)
        }
        HirKind::Capture(capture) => states_bound(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().map(states_bound).fold(0, usize::saturating_add)
        }
    };
    below.saturating_add(3)
}

/// How many ranges of bytes spell the characters of a range.
fn bytes_of_range(range: ClassUnicodeRange) -> usize {
    // The last byte of a character counts up to 64. Most ranges stay within one such block,
    // and need no look at how they are spelled.
    if u32::from(range.start()) / 64 == u32::from(range.end()) / 64 {
        return range.start().len_utf8();
    }
    Utf8Sequences::new(range.start(), range.end()).map(|sequence| sequence.len()).sum()
}

fn ast_kind(kind: &AstKind) -> Kind {
    match kind {
        AstKind::UnsupportedBackreference => Kind::UnsupportedRegex { feature: "a backreference" },
        AstKind::UnsupportedLookAround => Kind::UnsupportedRegex { feature: "look-around" },
        kind => Kind::InvalidRegex { message: fragment(kind) },
    }
}

/// The last line of a message, as a fragment.
fn fragment(error: &impl ToString) -> String {
    let message = error.to_string();
    let line = message.lines().last().unwrap_or_default();
    line.trim_start_matches("error: ").trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether it compiles within the bound that reading it gives.
    fn stays_below_its_bound(text: &str) -> bool {
        let bound = bytes_bound(&regex_syntax::parse(text).unwrap());
        regex::RegexBuilder::new(text).size_limit(bound).build().is_ok()
    }

    fn expression() -> impl Strategy<Value = String> {
        let atom = prop::sample::select(vec![
            "",
            "a",
            "abc",
            ".",
            r"\w",
            r"\s",
            r"\pL",
            r"\b",
            "^",
            "[^/]",
            "[a-zà-ü]",
            "(?-u:[a-f0-9])",
            "€",
            "[α-ω𐀀-𐁀]",
            r"\x{10FFFF}",
            r"\W",
            r"\B",
            "[^k]",
            "(?i:[^j-l])",
            "(?i:\u{212a})",
            r"(?i:\x{212a})",
            r"(?i:\u212a)",
            r"\p{Lu}",
            r"[\w&&[^a]]",
        ]);
        atom.prop_map(str::to_owned).prop_recursive(4, 24, 3, |inner| {
            let counts = prop::sample::select(vec!["*", "+?", "?", "{3}", "{2,}", "{0,7}?", "{0}"]);
            prop_oneof![
                (inner.clone(), counts).prop_map(|(inner, count)| format!("(?:{inner}){count}")),
                inner.clone().prop_map(|inner| format!("((?i){inner})")),
                prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
                prop::collection::vec(inner, 1..4).prop_map(|parts| format!("(?:{})", parts.join("|"))),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

        #[test]
        fn where_an_expression_finds_something_one_of_its_texts_stands(
            expression in expression(),
            texts in prop::collection::vec("[abcABC\u{212a}kK/1 à€]{0,12}", 8),
        ) {
            let regex = Regex::new(&expression).unwrap();
            for text in texts.iter().filter(|text| text.is_ascii()) {
                let folded = text.to_ascii_lowercase();
                let stands = |necessary: &[String]| necessary.iter().any(|part| folded.contains(part));
                let may_match = regex.necessary_texts().is_none_or(stands);
                prop_assert!(may_match || !regex.is_match(text), "{expression} {text}");
            }
            let plain = compile(&expression).unwrap();
            for text in &texts {
                prop_assert_eq!(plain.is_match(text), regex.is_match(text), "{} {}", expression, text);
            }
        }

        #[test]
        fn no_expression_takes_more_than_its_bound(text in expression()) {
            prop_assert!(stays_below_its_bound(&text), "{text}");
        }
    }

    #[test]
    fn every_class_of_one_range_stays_below_its_bound() {
        for start in ["\\x00", "a", "\\x7f", "\\x{80}", "\\x{7ff}", "\\x{d7ff}", "\\x{ffff}"] {
            for end in ["\\x7f", "\\x{bf}", "\\x{7ff}", "\\x{800}", "\\x{ffff}", "\\x{10ffff}"] {
                let text = format!("[{start}-{end}]+");
                assert!(parse(&text).is_err() || stays_below_its_bound(&text), "{text}");
            }
        }
    }

    #[test]
    fn what_is_malformed_or_too_large_is_refused_before_it_is_asked() {
        for text in ["a)(b", "[", r"(?P<n>a)\1", "a{3,2}", r"\p{Nothing}", "(?=a)"] {
            assert!(Regex::new(text).is_err(), "{text}");
        }
        for text in [r"(\w{200}){200}", r"\w{1000}{1000}{1000}", "((((a{100}){100}){100}){100})"] {
            assert!(matches!(Regex::new(text), Err(Kind::RegexTooLarge { .. })), "{text}");
        }
    }

    #[test]
    fn what_could_be_too_large_and_is_not_is_taken() {
        // Compiled, classes share what the bound counts once for each character.
        let text = r"\w{45}";
        assert!(bytes_bound(&parse(text).ok().unwrap()) > COMPILED_BYTES_MAX);
        assert!(Regex::new(text).unwrap().is_match(&"a".repeat(45)));
    }

    #[test]
    fn what_is_made_ready_is_built_before_it_is_asked() {
        let regex = Regex::new("^ready[0-9]$").unwrap();
        let clone = regex.clone();
        clone.prepare();
        clone.prepare();
        assert!(regex.expression.automaton.get().is_some());
        assert!(regex.is_match("ready1") && !regex.is_match("ready"));
    }

    #[test]
    fn asking_changes_nothing_but_the_time_it_takes() {
        let regex = Regex::new("^a+$").unwrap();
        let before = format!("{regex:?}");
        assert!(regex.expression.automaton.get().is_none());
        assert!(regex.is_match("aa") && !regex.is_match("ab"));
        assert_eq!(before, format!("{regex:?}"));
        assert_eq!(regex, Regex::new("^a+$").unwrap());
        assert!(Regex::new("^a+$").unwrap().expression.automaton.get().is_some());
    }
}
