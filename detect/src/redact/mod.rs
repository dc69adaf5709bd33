//! Takes secrets out of what is stored and sent: rules see the original, nobody else does.
//!
//! A secret becomes `redacted:b3:1f3a5c7e9b2d4f60:24`: sixteen hexadecimal digits of its keyed
//! BLAKE3 hash, then its length in bytes, so that it still shows where two are the same. The
//! construction gives what HMAC-SHA256 would (nobody without the key can try out guesses) and
//! needs no library that is not used already.
//!
//! **Invariants:** what is put out has the keys and the shape of what came in; work and memory
//! are linear in the event; nothing recurses but texts within texts, [`NESTED_MAX`] deep. An
//! alert is composed of the redacted event, so it cannot show what that does not ([`Redacted`]).

mod alert;
mod clean;
mod encoded;
mod facts;
mod manifest;
mod names;
mod text;
mod tokens;
mod uri;
mod value;
mod walk;
mod words;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;

use crate::event::{Event, Key};
use crate::json::Json;
use crate::scan;
pub use alert::Redacted;
pub(crate) use alert::without_brackets;
use walk::Scope;

/// What every redacted value begins with.
pub const MARK: &str = "redacted:b3:";

/// How much of a hash a mark shows.
const HASH_DIGITS: usize = 16;

/// How many digits the length in a mark may have: events are shorter than ten gigabytes.
const LENGTH_DIGITS_MAX: usize = 10;

/// How deep texts within texts are looked into: JSON in a string, Base64, and both in turn.
/// Each level of real data has a reason (a manifest in an annotation, a configuration in a
/// manifest); JSON that is deeper is redacted whole.
pub const NESTED_MAX: usize = 4;

/// Replaces secrets by marks that only the holder of the key can work out.
#[derive(Clone)]
pub struct Redactor {
    key: [u8; 32],
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Redactor").finish_non_exhaustive()
    }
}

impl Redactor {
    /// A redactor with a key, which has to stay the same for equal secrets to look equal.
    pub fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// The event on one line of JSON, with every secret replaced.
    pub fn event(&self, event: &Event<'_>) -> String {
        let is_about_secrets = is_about_secrets(event);
        let first = walk::rewrite_event(self, event.raw(), is_about_secrets, None);
        let text = if first.sealed.is_empty() {
            first.text
        } else {
            // What a Secret holds may stand elsewhere too: a patch can copy it into a label.
            walk::rewrite_event(self, event.raw(), is_about_secrets, Some(&first.sealed)).text
        };
        match memchr::memchr2(b'\n', b'\r', text.as_bytes()) {
            Some(_) => text.replace(['\n', '\r'], " "),
            None => text,
        }
    }

    /// The event redacted, ready for alerts to be composed of it.
    pub fn redact(&self, event: &Event<'_>) -> Redacted<'_> {
        Redacted::new(self, self.event(event), event)
    }

    /// A value of a field, with what is secret in it replaced: for what is known of a request
    /// without its event, such as the values that correlations compare. Equal values stay equal.
    ///
    /// The field alone says less than the event, so what only might be a secret, as every value
    /// in the `data` of a body might, is replaced too.
    pub fn text<'t>(&self, field: &str, value: &'t str) -> Cow<'t, str> {
        if is_mark(value) {
            return Cow::Borrowed(value);
        }
        if names::is_secret_field(field) {
            return if value.is_empty() { Cow::Borrowed(value) } else { Cow::Owned(self.mark(value)) };
        }
        self.string(value, Scope::BODY, 0).map_or(Cow::Borrowed(value), Cow::Owned)
    }

    /// The beginning of what could not be read as an event, with what is secret in it replaced
    /// as far as it shows without its structure: every string of a body is, and every string at
    /// all where no body can be told.
    pub fn fragment(&self, bytes: &[u8]) -> Vec<u8> {
        let text = String::from_utf8_lossy(bytes);
        let begins_anywhere =
            !text.trim_start_matches(|c: char| c == '\0' || c.is_whitespace()).starts_with(['{', '[']);
        if begins_anywhere && !text.is_empty() {
            // It may begin within a string: what is inside and what outside cannot be told.
            return self.mark(&text).into_bytes();
        }
        let mut spans = self.spans(&text, Scope::BODY, 0);
        spans.extend(value::of_bodies(&text));
        self.replaced(&text, &merged(spans)).into_bytes()
    }

    /// What stands for a secret.
    fn mark(&self, secret: &str) -> String {
        let hash = blake3::keyed_hash(&self.key, secret.as_bytes()).to_hex();
        format!("{MARK}{}:{}", hash.get(..HASH_DIGITS).unwrap_or_default(), secret.len())
    }

    /// A text with its secrets replaced; nothing if it has none.
    fn string(&self, text: &str, scope: Scope, level: usize) -> Option<String> {
        if let Some(inner) = whole_json(text) {
            if level >= NESTED_MAX {
                return Some(self.mark(text));
            }
            let rewritten = walk::rewrite(self, inner.as_bytes(), scope.inside(), level + 1);
            return (rewritten.count > 0).then_some(rewritten.text);
        }
        let is_uri = level < NESTED_MAX && uri::looks_like_one(text);
        let as_uri = is_uri.then(|| uri::redacted(self, text, level)).flatten();
        as_uri.or_else(|| self.plain(text, scope, level))
    }

    /// The same for a text that is neither JSON nor an address.
    fn plain(&self, text: &str, scope: Scope, level: usize) -> Option<String> {
        let spans = merged(self.spans(text, scope, level));
        (!spans.is_empty()).then(|| self.replaced(text, &spans))
    }

    /// A text with what is a credential by its own shape replaced; nothing if it has none.
    fn shapes(&self, text: &str) -> Option<String> {
        let spans = merged(text::shapes(text));
        (!spans.is_empty()).then(|| self.replaced(text, &spans))
    }

    /// Where the secrets of a text that is neither JSON nor an address lie.
    fn spans(&self, text: &str, scope: Scope, level: usize) -> Vec<Range<usize>> {
        let mut spans = text::shapes(text);
        spans.extend(text::assigned(text));
        spans.extend(words::secrets(text));
        spans.extend(manifest::secrets(text));
        if level < NESTED_MAX {
            spans.extend(encoded::secrets(text, |inner| self.string(inner, scope, level + 1).is_some()));
        }
        spans
    }

    /// The text with spans, which lie in order and apart, replaced.
    fn replaced(&self, text: &str, spans: &[Range<usize>]) -> String {
        let mut redacted = String::with_capacity(text.len());
        let mut at = 0;
        for span in spans {
            redacted.push_str(text.get(at..span.start).unwrap_or_default());
            redacted.push_str(&self.mark(text.get(span.clone()).unwrap_or_default()));
            at = span.end;
        }
        redacted.push_str(text.get(at..).unwrap_or_default());
        redacted
    }
}

/// Whether a text is what stands for a secret already: it stays as it is, so that what is redacted
/// twice still shows where two are the same.
fn is_mark(text: &str) -> bool {
    let Some((hash, length)) = text.strip_prefix(MARK).and_then(|rest| rest.split_once(':')) else {
        return false;
    };
    hash.len() == HASH_DIGITS
        && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
        && (1..=LENGTH_DIGITS_MAX).contains(&length.len())
        && length.bytes().all(|byte| byte.is_ascii_digit())
}

/// Spans in order, those that overlap as one, without empty ones.
fn merged(mut spans: Vec<Range<usize>>) -> Vec<Range<usize>> {
    spans.retain(|span| span.start < span.end);
    spans.sort_unstable_by_key(|span| (span.start, span.end));
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(spans.len());
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.start < last.end => last.end = last.end.max(span.end),
            _ => merged.push(span),
        }
    }
    merged
}

/// The JSON that a text is, white space around it left out; nothing for numbers and words.
fn whole_json(text: &str) -> Option<&str> {
    let inner = text.trim_ascii();
    if !inner.starts_with(['{', '[', '"']) {
        return None;
    }
    (scan::value_end(inner.as_bytes(), 0) == Ok(inner.len())).then_some(inner)
}

/// Whether the request is about Secrets, or the event says so of itself, whatever its bodies call themselves.
fn is_about_secrets(event: &Event<'_>) -> bool {
    let is_secrets = |value: Json<'_>| value.text().is_some_and(|text| text.eq_ignore_ascii_case("secrets"));
    let object = event.get(Key::ObjectRef).into_iter().flat_map(Json::entries);
    let named = object.filter(|(key, _)| key.is("resource")).any(|(_, value)| is_secrets(value));
    let uri = event.str(Key::RequestUri).unwrap_or_default();
    let path = uri.split(['?', '#']).next().unwrap_or_default();
    named
        || path.split('/').any(|segment| segment.eq_ignore_ascii_case("secrets"))
        || facts::is_secret(event.json())
}
