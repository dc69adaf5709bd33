//! What an object says about its own values, wherever in it that stands.
//!
//! `kind` may come after `data` and `name` after `value`, so one pass finds out what a second
//! one needs. **Invariant:** two bytes for each object, and one step for each token.

use super::tokens::{Token, Tokens};
use super::{names, words};
use crate::json::Json;

/// What is known of one object.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Facts(u16);

impl Facts {
    /// It calls itself a Secret, or a list of them.
    pub(super) const SECRET: Self = Self(1);
    /// It is called like a credential: an environment variable, a header.
    pub(super) const NAMED: Self = Self(2);
    /// It is an operation of a patch on a path with `data` in it.
    pub(super) const PATCHES_DATA: Self = Self(4);
    /// It is an operation of a patch on what is secret as a whole wherever it is.
    pub(super) const PATCHES_SEALED: Self = Self(8);
    /// It is an operation of a patch on what is called like a credential.
    pub(super) const PATCHES_CREDENTIAL: Self = Self(16);
    /// It is an operation of a patch on the words of a command.
    pub(super) const PATCHES_COMMAND: Self = Self(32);
    /// Where the number of the program that it runs begins.
    const PROGRAM_SHIFT: u16 = 6;

    /// Whether it is known to be what `other` says.
    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The program that its `command` runs.
    pub(super) fn program(self) -> words::Program {
        words::Program::numbered(self.0 >> Self::PROGRAM_SHIFT)
    }

    fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// Which value of an object says something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Telling {
    Nothing,
    Kind,
    Name,
    Path,
    Command,
}

struct Open {
    /// The object's number; of an array, that of the object which holds it as its command.
    object: Option<usize>,
    is_command: bool,
}

/// The facts of every object of valid JSON, in the order of their opening braces.
pub(super) fn collected(bytes: &[u8]) -> Vec<Facts> {
    let mut facts: Vec<Facts> = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut telling = Telling::Nothing;
    for token in Tokens::new(bytes) {
        match token {
            Token::Object => {
                open.push(Open { object: Some(facts.len()), is_command: false });
                facts.push(Facts::default());
            }
            Token::Array => {
                let is_command = telling == Telling::Command;
                let object = open.last().and_then(|open| open.object).filter(|_| is_command);
                open.push(Open { object, is_command });
            }
            Token::Close => {
                open.pop();
            }
            Token::Key(key) => {
                telling =
                    if may_tell(key) { told_by(&key.as_str().unwrap_or_default()) } else { Telling::Nothing };
                continue;
            }
            Token::Scalar(scalar) => {
                let told = open.last_mut().and_then(|open| told(open, telling));
                if let Some((known, telling)) =
                    told.and_then(|(at, telling)| Some((facts.get_mut(at)?, telling)))
                {
                    note(known, telling, scalar);
                }
            }
        }
        telling = Telling::Nothing;
    }
    facts
}

/// Which object a scalar says something about, and what.
fn told(open: &mut Open, telling: Telling) -> Option<(usize, Telling)> {
    let object = open.object?;
    if std::mem::take(&mut open.is_command) {
        // Only the first word of a command names the program.
        open.object = None;
        return Some((object, Telling::Command));
    }
    Some((object, telling))
}

/// False for most keys, by the first letter: one that [`told_by`] knows, or an escape.
fn may_tell(key: Json<'_>) -> bool {
    let first = key.bytes().get(1).map(u8::to_ascii_lowercase);
    matches!(first, Some(b'k' | b'n' | b'h' | b'p' | b'c' | b'\\'))
}

fn told_by(key: &str) -> Telling {
    let is = |name: &str| key.eq_ignore_ascii_case(name);
    if is("kind") {
        Telling::Kind
    } else if is("name") || is("key") || is("header") {
        Telling::Name
    } else if is("path") {
        Telling::Path
    } else if is("command") {
        Telling::Command
    } else {
        Telling::Nothing
    }
}

/// Whether what an object calls itself is a Secret, or a list of them.
fn is_secret_kind(kind: &str) -> bool {
    let kind = kind.trim();
    kind.eq_ignore_ascii_case("Secret") || kind.eq_ignore_ascii_case("SecretList")
}

/// Whether an object calls itself so, apart from what is in it.
pub(super) fn is_secret(object: Json<'_>) -> bool {
    let mut kinds = object.entries().filter(|(key, _)| told_by(&key.text()) == Telling::Kind);
    kinds.any(|(_, kind)| kind.as_str().is_some_and(|kind| is_secret_kind(&kind)))
}

fn note(facts: &mut Facts, telling: Telling, scalar: Json<'_>) {
    let text = if telling == Telling::Nothing { None } else { scalar.as_str() };
    let Some(text) = text else { return };
    match telling {
        Telling::Kind if is_secret_kind(&text) => facts.add(Facts::SECRET),
        Telling::Name if names::is_credential_variable(&text) => facts.add(Facts::NAMED),
        Telling::Kind | Telling::Name | Telling::Nothing => {}
        Telling::Path => note_path(facts, &text),
        Telling::Command => {
            facts.add(Facts(words::Program::of(&text).number() << Facts::PROGRAM_SHIFT));
        }
    }
}

/// What the path of a patch operation leads to. What stands before the first slash does not
/// count for the API server either.
fn note_path(facts: &mut Facts, pointer: &str) {
    let segments = || pointer.split('/').skip(1).map(|segment| segment.replace("~1", "/").replace("~0", "~"));
    let is = |segment: &str, name: &str| segment.eq_ignore_ascii_case(name);
    let mut in_environment = false;
    for segment in segments() {
        if is(&segment, "data") {
            facts.add(Facts::PATCHES_DATA);
        }
        let is_variable = in_environment && is(&segment, "value");
        if is_variable || is(&segment, "stringData") || names::is_last_applied(&segment) {
            facts.add(Facts::PATCHES_SEALED);
        }
        in_environment |= is(&segment, "env");
    }
    let is_index = |segment: &str| segment == "-" || segment.parse::<i64>().is_ok();
    let named = segments().filter(|segment| !is_index(segment)).last().unwrap_or_default();
    if names::is_credential(&named) {
        facts.add(Facts::PATCHES_CREDENTIAL);
    }
    if is(&named, "command") || is(&named, "args") {
        facts.add(Facts::PATCHES_COMMAND);
    }
}
