//! The query parameters of a request URI, decoded as the API server decodes them.

use std::borrow::Cow;

use crate::event::{Event, Key};

/// The path of the request URI, still encoded, and its query.
fn split(uri: &str) -> (&str, &str) {
    uri.split_once('?').unwrap_or((uri, ""))
}

/// The decoded path of the request URI.
pub(crate) fn path(event: &Event<'_>) -> String {
    let uri = event.str(Key::RequestUri).unwrap_or_default();
    decode(&split(&uri).0.replace('+', "%2B")).into_owned()
}

/// The decoded values of every query parameter of this name, in their order.
///
/// What the API server skips is skipped: a parameter with a raw semicolon or an escape that
/// is none.
pub(crate) fn parameters(event: &Event<'_>, name: &str) -> Vec<String> {
    read(event, &['&'], name)
}

/// The same as API servers before 1.23 read it: a semicolon begins the next parameter.
pub(super) fn parameters_before_1_23(event: &Event<'_>, name: &str) -> Vec<String> {
    read(event, &['&', ';'], name)
}

fn read(event: &Event<'_>, separators: &[char], name: &str) -> Vec<String> {
    let uri = event.str(Key::RequestUri).unwrap_or_default();
    let pairs = split(&uri).1.split(separators);
    let named = pairs.filter(|pair| decode(pair.split_once('=').map_or(*pair, |(key, _)| key)) == name);
    let read = named.filter(|pair| !pair.contains(';') && is_escaped_well(pair));
    read.map(|pair| decode(pair.split_once('=').map_or("", |(_, value)| value)).into_owned()).collect()
}

fn is_escaped_well(text: &str) -> bool {
    text.split('%').skip(1).all(|escape| hex_byte(escape.as_bytes()).is_some())
}

/// Decodes `%41` and `+`; what is no escape stays, what is not UTF-8 becomes U+FFFD.
pub(crate) fn decode(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = if first == b'%' { hex_byte(after) } else { None };
        bytes.push(match first {
            b'+' => b' ',
            other => escaped.unwrap_or(other),
        });
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let digits = digits.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn escapes_decode_and_what_is_none_stays() {
        for (text, expected) in [
            ("plain", "plain"),
            ("a+b%20c", "a b c"),
            ("%63%61%74", "cat"),
            ("100%", "100%"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz%+1", "%zz% 1"),
            ("%ff%C3%A9", "\u{FFFD}é"),
            ("%é", "%é"),
        ] {
            assert_eq!(decode(text), expected, "{text}");
        }
    }
}
