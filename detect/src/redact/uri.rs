//! Credentials in addresses: query parameters, and the commands that are sent in them.

use std::fmt::Write as _;

use super::words::Words;
use super::{Redactor, Scope, names, value};
use crate::derived::decoded;

/// Whether a text might be an address with a query.
pub(super) fn looks_like_one(text: &str) -> bool {
    memchr::memchr(b'?', text.as_bytes())
        .is_some_and(|at| memchr::memchr(b'=', &text.as_bytes()[at..]).is_some())
        && !text.contains(char::is_whitespace)
}

/// The address with its credentials replaced; nothing if it has none.
///
/// Parameters end at `&` and at `;`, as one or the other API server reads them.
pub(super) fn redacted(redactor: &Redactor, uri: &str, level: usize) -> Option<String> {
    let (path, query) = uri.split_once('?').map_or((uri, None), |(path, query)| (path, Some(query)));
    let mut address = String::with_capacity(uri.len());
    let mut is_redacted = false;
    match in_path(redactor, path, level + 1) {
        Some(path) => {
            is_redacted = true;
            address.push_str(&path);
        }
        None => address.push_str(path),
    }
    let mut words = Words::default();
    for (number, pair) in query.into_iter().flat_map(|query| query.split_inclusive(['&', ';'])).enumerate() {
        if number == 0 {
            address.push('?');
        }
        let bare = pair.strip_suffix(['&', ';']).unwrap_or(pair);
        match parameter(redactor, bare, &mut words, level + 1) {
            Some(redacted) => {
                is_redacted = true;
                address.push_str(&redacted);
                address.push_str(&pair[bare.len()..]);
            }
            None => address.push_str(pair),
        }
    }
    is_redacted.then_some(address)
}

fn in_path(redactor: &Redactor, path: &str, level: usize) -> Option<String> {
    let text = decoded(&path.replace('+', "%2B")).into_owned();
    let redacted = redactor.plain(&text, Scope::BODY, level)?;
    Some(if text == path { redacted } else { encoded(&redacted) })
}

/// The parameter with its credential replaced.
fn parameter(redactor: &Redactor, pair: &str, words: &mut Words, level: usize) -> Option<String> {
    let (name, value) = pair.split_once('=').unwrap_or(("", pair));
    let (key, text) = (decoded(name), decoded(value));
    let redacted = match key.as_ref() {
        "command" => match words.read(&text) {
            Some(span) => Some(redactor.replaced(&text, &[span])),
            None => redactor.string(&text, Scope::BODY, level),
        },
        "cmd" => redactor.plain(&text, Scope::BODY, level),
        key if names::is_credential_variable(key) && !value::is_public(&text) => Some(redactor.mark(&text)),
        _ => redactor.string(&text, Scope::BODY, level),
    }?;
    let separator = if name.len() < pair.len() && pair.contains('=') { "=" } else { "" };
    Some(format!("{name}{separator}{}", encoded(&redacted)))
}

/// Encodes all but what may stand anywhere in an address.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' | b'@' => {
                encoded.push(char::from(byte));
            }
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}
