//! Regular expressions: what is wrong with them and where, and a limit on their size.

use std::cell::RefCell;
use std::collections::HashMap;

use regex_syntax::ast::ErrorKind as AstKind;

use super::Regex;
use super::error::RuleErrorKind as Kind;

/// How large one expression may get when compiled; long alternatives of Unicode classes
/// stay below.
const COMPILED_BYTES_MAX: usize = 4 << 20;

/// How many compiled expressions are remembered for the rules that are read next.
const REMEMBERED_MAX: usize = 512;

thread_local! {
    /// What lists hold stands in many rules, and compiling it is most of the work of reading them.
    static COMPILED: RefCell<HashMap<String, regex::Regex>> = RefCell::default();
}

/// A fault of an expression and the characters that are meant.
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) from: usize,
    pub(super) width: usize,
}

/// What is wrong with an expression, and where in its text.
pub(super) fn check(text: &str) -> Result<(), Fault> {
    let Err(error) = regex_syntax::parse(text) else { return Ok(()) };
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

/// Compiles an expression that has been checked; one that was compiled before is shared.
pub(super) fn compile(text: &str) -> Result<Regex, Kind> {
    COMPILED.with_borrow_mut(|compiled| {
        if let Some(regex) = compiled.get(text) {
            return Ok(Regex { regex: regex.clone() });
        }
        let regex = regex::RegexBuilder::new(text).size_limit(COMPILED_BYTES_MAX).build();
        let regex = regex.map_err(|error| match error {
            regex::Error::CompiledTooBig(max) => Kind::RegexTooLarge { max },
            error => Kind::InvalidRegex { message: fragment(&error) },
        })?;
        if compiled.len() < REMEMBERED_MAX {
            compiled.insert(text.to_owned(), regex.clone());
        }
        Ok(Regex { regex })
    })
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
