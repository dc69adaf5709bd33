//! Writes JSON anew with its secrets replaced, token by token.

use std::borrow::Cow;
use std::collections::HashSet;

use super::clean::{Look, unless_clean};
use super::facts::{self, Facts};
use super::tokens::{Token, Tokens};
use super::words::{Program, Words};
use super::{Redactor, names, uri, value};
use crate::event::Key;
use crate::json::{Json, Kind, lossy};

/// Where in an event a value stands, and what follows from it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    area: Area,
    /// Whether what stands behind `data` is that of a Secret.
    is_secret: bool,
    /// Whether it stands in an object that is called like a credential.
    is_credential: bool,
    treatment: Treatment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Area {
    /// What the API server writes about the request.
    Report,
    /// What somebody sent or was sent.
    Body,
}

/// What is done with a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Treatment {
    /// Credentials in its text are replaced.
    Plain,
    /// Only what is a credential by its own shape is replaced: it says who did what.
    Identity,
    /// It is the address of a request.
    Address,
    /// It, or each element of the list that it is, is a word of a command.
    Command(Program),
    /// It, or each element of the list that it is, is a credential.
    Credential,
    /// Everything in it is a credential.
    Sealed,
}

impl Scope {
    /// A body of which nothing is known.
    pub(super) const BODY: Self =
        Self { area: Area::Body, is_secret: false, is_credential: false, treatment: Treatment::Plain };

    /// A part of an event. Whatever the API server does not write is a body.
    fn of_part(key: &str, is_about_secrets: bool) -> Self {
        let (area, treatment) = match Key::from_name(key) {
            _ if names::is_last_applied(key) => (Area::Body, Treatment::Sealed),
            None | Some(Key::RequestObject | Key::ResponseObject) => (Area::Body, Treatment::Plain),
            Some(Key::RequestUri) => (Area::Report, Treatment::Address),
            // Words of a client, of a refusal, of what webhooks changed.
            Some(Key::UserAgent | Key::ResponseStatus | Key::Annotations) => (Area::Report, Treatment::Plain),
            Some(_) => (Area::Report, Treatment::Identity),
        };
        Self { area, treatment, is_secret: is_about_secrets, ..Self::BODY }
    }

    /// What a text holds that is JSON itself.
    pub(super) fn inside(self) -> Self {
        Self { is_secret: self.is_secret, ..Self::BODY }
    }

    fn with(self, treatment: Treatment) -> Self {
        Self { treatment, ..self }
    }

    /// What holds for an element of a list.
    fn of_element(self) -> Self {
        let Treatment::Command(_) = self.treatment else { return self };
        self.with(Treatment::Plain)
    }

    /// What holds for an object, before its keys are looked at.
    fn of_object(self, facts: Facts) -> Self {
        let treatment = match self.treatment {
            kept @ (Treatment::Sealed | Treatment::Identity) => kept,
            _ => Treatment::Plain,
        };
        let is_credential = self.treatment == Treatment::Credential;
        Self { is_secret: self.is_secret || facts.has(Facts::SECRET), is_credential, treatment, ..self }
    }

    /// What holds for the value behind a key of an object.
    fn behind(self, key: &str, facts: Facts) -> Self {
        if self.treatment == Treatment::Sealed || names::is_last_applied(key) {
            return self.with(Treatment::Sealed);
        }
        match self.area {
            Area::Report => self,
            Area::Body => self.with(self.in_body(key, facts)),
        }
    }

    /// How a part of a report is looked at; nothing for a body, where what is secret elsewhere in the event is too.
    fn look(self) -> Option<Look> {
        match (self.area, self.treatment) {
            (Area::Report, Treatment::Plain) => Some(Look::part(false, self.is_secret)),
            (Area::Report, Treatment::Identity) => Some(Look::part(true, self.is_secret)),
            _ => None,
        }
    }

    fn in_body(self, key: &str, facts: Facts) -> Treatment {
        let is = |name: &str| key.eq_ignore_ascii_case(name);
        let patches_sealed =
            facts.has(Facts::PATCHES_SEALED) || self.is_secret && facts.has(Facts::PATCHES_DATA);
        if is("stringData") || self.is_secret && is("data") || is("value") && patches_sealed {
            Treatment::Sealed
        } else if is("value") && facts.has(Facts::PATCHES_CREDENTIAL)
            || facts.has(Facts::NAMED) && (is("value") || is("values") || is("default"))
        {
            Treatment::Credential
        } else if is("command") || is("args") || is("cmd") || is("value") && facts.has(Facts::PATCHES_COMMAND)
        {
            Treatment::Command(facts.program())
        } else if names::is_credential(key) || self.is_credential && names::is_content(key) {
            Treatment::Credential
        } else {
            Treatment::Plain
        }
    }
}

/// JSON written anew.
pub(super) struct Rewritten {
    pub(super) text: String,
    /// How many values were replaced, wholly or in part.
    pub(super) count: usize,
    /// What was replaced wholly because of where it stands.
    pub(super) sealed: Sealed,
}

/// Hashes of secrets.
pub(super) type Sealed = HashSet<[u8; 32]>;

/// Shorter secrets are not looked for elsewhere: they may be words such as `kube-system`.
const SEALED_BYTES_MIN: usize = 16;

/// An object or array that is open.
struct Frame {
    scope: Scope,
    facts: Facts,
    /// What the words so far of a command say about the next.
    words: Option<Words>,
}

struct Walk<'r, 'a> {
    redactor: &'r Redactor,
    bytes: &'a [u8],
    level: usize,
    facts: std::vec::IntoIter<Facts>,
    open: Vec<Frame>,
    /// What holds for the next value.
    next: Scope,
    /// How far the bytes have been taken over.
    copied: usize,
    text: String,
    count: usize,
    sealed: Sealed,
    /// Secrets that are redacted wherever they stand in a body.
    known: Option<&'r Sealed>,
}

/// Writes valid JSON anew; `level` is how many texts it is within.
pub(super) fn rewrite(redactor: &Redactor, bytes: &[u8], scope: Scope, level: usize) -> Rewritten {
    Walk::new(redactor, bytes, scope, level, None).rewritten()
}

/// Writes an event anew, part by part; secrets that are `known` are redacted wherever they stand in a body.
pub(super) fn rewrite_event(
    redactor: &Redactor,
    event: &[u8],
    is_about_secrets: bool,
    known: Option<&Sealed>,
) -> Rewritten {
    let mut tokens = Tokens::new(event);
    let mut walk = Walk::new(redactor, event, Scope::BODY, 0, known);
    // The brace of the event itself.
    tokens.next();
    while let Some(token) = tokens.next() {
        match token {
            Token::Object | Token::Array => {
                let Some(part) = tokens.whole() else { break };
                walk.take_part(part, tokens.position());
            }
            Token::Key(key) => {
                walk.take(token, tokens.position());
                walk.next = Scope::of_part(&key.as_str().unwrap_or_default(), is_about_secrets);
            }
            Token::Scalar(_) | Token::Close => walk.take(token, tokens.position()),
        }
    }
    walk.close()
}

impl<'r, 'a> Walk<'r, 'a> {
    fn new(
        redactor: &'r Redactor,
        bytes: &'a [u8],
        scope: Scope,
        level: usize,
        known: Option<&'r Sealed>,
    ) -> Self {
        Self {
            redactor,
            bytes,
            level,
            facts: Vec::new().into_iter(),
            open: Vec::new(),
            next: scope,
            copied: 0,
            text: String::with_capacity(bytes.len()),
            count: 0,
            sealed: Sealed::new(),
            known,
        }
    }

    fn rewritten(mut self) -> Rewritten {
        self.facts = facts::collected(self.bytes).into_iter();
        let mut tokens = Tokens::new(self.bytes);
        while let Some(token) = tokens.next() {
            self.take(token, tokens.position());
        }
        self.close()
    }

    fn close(mut self) -> Rewritten {
        self.copy(self.bytes.len());
        Rewritten { text: self.text, count: self.count, sealed: self.sealed }
    }

    /// Takes an object or array of an event that ends at `end`.
    fn take_part(&mut self, part: Json<'_>, end: usize) {
        let scope = self.next;
        let rewrite = || {
            let rewritten = Walk::new(self.redactor, part.bytes(), scope, 0, self.known).rewritten();
            (rewritten.text.as_bytes() != part.bytes()).then_some(rewritten)
        };
        let rewritten = match scope.look() {
            Some(look) => unless_clean(look, part.bytes(), rewrite),
            None => rewrite(),
        };
        if let Some(Rewritten { text, count, sealed }) = rewritten {
            self.copy(end.saturating_sub(part.bytes().len()));
            self.text.push_str(&text);
            self.copied = end;
            self.count += count;
            self.sealed.extend(sealed);
        }
    }

    /// Takes the token that ends at `end`.
    fn take(&mut self, token: Token<'_>, end: usize) {
        match token {
            Token::Object => {
                let facts = self.facts.next().unwrap_or_default();
                let scope = self.next.of_object(facts);
                self.open.push(Frame { scope, facts, words: None });
            }
            Token::Array => {
                let words = match self.next.treatment {
                    Treatment::Command(program) => Some(Words::after(program)),
                    // Any list may be a command, whatever a custom resource calls it.
                    Treatment::Plain => Some(Words::default()),
                    _ => None,
                };
                self.next = self.next.of_element();
                self.open.push(Frame { scope: self.next, facts: Facts::default(), words });
            }
            Token::Close => {
                self.open.pop();
                self.expect_element();
            }
            Token::Key(key) => {
                let name = key.as_str().unwrap_or_default();
                // What is borrowed has no escape.
                if matches!(name, Cow::Owned(_)) {
                    self.mend(key, end);
                }
                if let Some(frame) = self.open.last() {
                    self.next = frame.scope.behind(&name, frame.facts);
                }
            }
            Token::Scalar(scalar) => {
                let text = scalar.text();
                match text.as_ref().and_then(|text| self.redacted(scalar, text)) {
                    Some(redacted) => {
                        self.count += 1;
                        self.put(&redacted, scalar.bytes().len(), end);
                    }
                    None if matches!(text, Some(Cow::Owned(_))) => self.mend(scalar, end),
                    None => {}
                }
                self.expect_element();
            }
        }
    }

    /// What comes next is an element of the innermost array, or a key, which decides anew.
    fn expect_element(&mut self) {
        if let Some(frame) = self.open.last() {
            self.next = frame.scope;
        }
    }

    /// The text that takes the place of a scalar, if any does.
    fn redacted(&mut self, scalar: Json<'_>, text: &str) -> Option<String> {
        if super::is_mark(text) {
            return None;
        }
        if self.is_known(text) {
            return Some(self.redactor.mark(text));
        }
        match self.next.treatment {
            Treatment::Sealed => {
                if text.len() >= SEALED_BYTES_MIN {
                    self.sealed.insert(*blake3::hash(text.as_bytes()).as_bytes());
                }
                (!text.is_empty()).then(|| self.redactor.mark(text))
            }
            Treatment::Credential if is_credential(scalar, text) => Some(self.redactor.mark(text)),
            _ if scalar.kind() != Kind::String => None,
            Treatment::Identity => unless_clean(Look::SHAPES, text.as_bytes(), || self.redactor.shapes(text)),
            Treatment::Address => {
                let look = Look::address(self.level);
                unless_clean(look, text.as_bytes(), || uri::redacted(self.redactor, text, self.level))
            }
            Treatment::Command(program) => self.word(&mut Words::after(program), text),
            Treatment::Plain | Treatment::Credential => {
                let words = self.open.last_mut().and_then(|frame| frame.words.take());
                let Some(mut words) = words else { return self.string(text) };
                let redacted = self.word(&mut words, text);
                if let Some(frame) = self.open.last_mut() {
                    frame.words = Some(words);
                }
                redacted
            }
        }
    }

    /// Whether a text of a body is a secret that stands elsewhere too.
    fn is_known(&self, text: &str) -> bool {
        let Some(known) = self.known.filter(|_| self.next.area == Area::Body) else { return false };
        text.len() >= SEALED_BYTES_MIN && known.contains(blake3::hash(text.as_bytes()).as_bytes())
    }

    fn string(&self, text: &str) -> Option<String> {
        let look = Look::text(self.next.is_secret, self.level);
        unless_clean(look, text.as_bytes(), || self.redactor.string(text, self.next, self.level))
    }

    /// A word of a command: what the words before it say of it counts before its own text.
    fn word(&self, words: &mut Words, text: &str) -> Option<String> {
        match words.read(text) {
            Some(span) => Some(self.redactor.replaced(text, &[span])),
            None => self.string(text),
        }
    }

    /// Writes a text in the place of what was `length` bytes long and ended at `end`.
    fn put(&mut self, text: &str, length: usize, end: usize) {
        self.copy(end.saturating_sub(length));
        // Invariant: a text can always be written.
        self.text.push_str(&serde_json::to_string(text).unwrap_or_default());
        self.copied = end;
    }

    /// Takes over the bytes up to `end` as they are.
    fn copy(&mut self, end: usize) {
        let bytes = self.bytes.get(self.copied..end).unwrap_or_default();
        self.text.push_str(&lossy(bytes));
        self.copied = end;
    }

    /// Writes a string with lone surrogates, which many readers of JSON refuse, as it is understood.
    fn mend(&mut self, json: Json<'_>, end: usize) {
        let bytes = json.bytes();
        let has_surrogate = memchr::memmem::find_iter(bytes, b"\\u")
            .any(|at| bytes.get(at + 2).is_some_and(|digit| digit.eq_ignore_ascii_case(&b'd')));
        if let Some(text) = json.as_str().filter(|_| has_surrogate) {
            self.put(&text, bytes.len(), end);
        }
    }
}

/// Whether a scalar in the place of a credential is one.
fn is_credential(scalar: Json<'_>, text: &str) -> bool {
    match scalar.kind() {
        Kind::String => !value::is_public(text),
        Kind::Number => true,
        _ => false,
    }
}
