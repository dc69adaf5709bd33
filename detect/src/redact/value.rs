//! Where a value in a text begins and ends, and which values give nothing away.

use std::ops::Range;

/// The value at `at`: what stands between its quotes, however often they are escaped, or
/// everything before a character that ends it.
pub(super) fn span(text: &str, at: usize, is_end: impl Fn(char) -> bool) -> Range<usize> {
    let rest = text.get(at..).unwrap_or_default();
    let slashes = rest.bytes().take_while(|byte| *byte == b'\\').count();
    match rest.as_bytes().get(slashes) {
        Some(&quote @ (b'"' | b'\'' | b'`')) => {
            let start = at + slashes + 1;
            start..quoted_end(text.as_bytes(), start, quote, slashes)
        }
        _ => at..at + rest.find(is_end).unwrap_or(rest.len()),
    }
}

/// The end of what a quote with so many backslashes before it has opened at `start`: the end of
/// the text if nothing closes it.
fn quoted_end(bytes: &[u8], start: usize, quote: u8, slashes: usize) -> usize {
    let mut from = start;
    while let Some(found) = memchr::memchr(quote, bytes.get(from..).unwrap_or_default()) {
        let at = from + found;
        let before = bytes[from..at].iter().rev().take_while(|byte| **byte == b'\\').count();
        let closes = match slashes {
            0 => quote == b'\'' || before.is_multiple_of(2),
            _ => before <= slashes,
        };
        if closes {
            return if slashes == 0 { at } else { at - before };
        }
        from = at + 1;
    }
    bytes.len()
}

/// Whether a value in the place of a credential is none: empty, a switch, a reference to a
/// variable or a path.
pub(super) fn is_public(value: &str) -> bool {
    const WORDS: &[&str] = &["true", "false", "null", "none", "nil", "~", "undefined", "-", "yes", "no"];
    const ROOTS: &[&str] = &[
        "/etc/",
        "/var/",
        "/run/",
        "/srv/",
        "/opt/",
        "/home/",
        "/root/",
        "/tmp/",
        "/usr/",
        "/mnt/",
        "/proc/",
        "/dev/",
        "/secrets/",
        "/certs/",
        "./",
        "../",
        "~/",
        "@/",
    ];
    let value = value.trim();
    let is_path = || {
        ROOTS.iter().any(|root| value.starts_with(root))
            && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-@~".contains(&byte))
    };
    value.is_empty()
        || WORDS.iter().any(|word| value.eq_ignore_ascii_case(word))
        || is_reference(value)
        // What a shell runs there says more than it hides, and is looked at on its own.
        || is_command(value)
        || is_path()
}

/// Whether a shell runs something to get the value.
pub(super) fn is_command(value: &str) -> bool {
    value.trim_start().starts_with("$(") || value.trim_start().starts_with('`')
}

/// `$(NAME)`, `${NAME}`, `$NAME`: what a shell or the kubelet puts a value in place of.
fn is_reference(value: &str) -> bool {
    let Some(name) = value.strip_prefix('$') else { return false };
    let inner = name.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
    let inner = inner.or_else(|| name.strip_prefix('(').and_then(|name| name.strip_suffix(')')));
    match inner {
        Some(name) => is_variable(name, |byte| byte.is_ascii_lowercase()),
        None => is_variable(name, |_| false),
    }
}

fn is_variable(name: &str, also: impl Fn(u8) -> bool) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_' || also(byte))
}

/// The lines behind the one that ends at `from` that are blank or further indented than `indent`.
pub(super) fn lines_below(text: &str, from: usize, indent: usize) -> Range<usize> {
    let rest = text.get(from..).unwrap_or_default();
    let skipped = rest.find('\n').map_or(rest.len(), |end| end + 1);
    let start = from + skipped;
    let mut end = start;
    for line in text.get(start..).unwrap_or_default().split_inclusive('\n') {
        if !line.trim().is_empty() && indent_of(line) <= indent {
            break;
        }
        end += line.len();
    }
    let kept = text.get(start..end).unwrap_or_default();
    start + (kept.len() - kept.trim_start().len())
        ..start + kept.trim_end().len().max(kept.len() - kept.trim_start().len())
}

/// How far a line is indented, in bytes.
pub(super) fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '\t']).len()
}

/// Every string that is no key, from the first body on, in text that need not be JSON.
pub(super) fn of_bodies(text: &str) -> Vec<Range<usize>> {
    let bodies = ["\"requestObject\"", "\"responseObject\""].iter().filter_map(|key| text.find(key)).min();
    // One that is quoted itself may be further ahead.
    let is_quoted = ["requestObject\\", "responseObject\\"].iter().any(|key| text.contains(key));
    let mut at = bodies.filter(|_| !is_quoted).unwrap_or(0);
    let mut spans = Vec::new();
    while let Some(quote) = text.get(at..).and_then(|rest| rest.find('"')) {
        let start = at + quote + 1;
        let end = quoted_end(text.as_bytes(), start, b'"', 0);
        let behind = text.get(end + 1..).unwrap_or_default().trim_start();
        if !behind.starts_with(':') {
            spans.push(start..end);
        }
        at = end + 1;
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::{is_public, span};

    #[test]
    fn values_end_where_their_quotes_do() {
        for (text, expected) in [
            ("abc def", "abc"),
            ("\"a b\" c", "a b"),
            ("\"a \\\" b\" c", "a \\\" b"),
            ("'a\\' c", "a\\"),
            ("\\\"a b\\\", c", "a b"),
            ("\\\"a \\\\\\\" b\\\", c", "a \\\\\\\" b"),
            ("\"never closed", "never closed"),
            ("\\", "\\"),
            ("", ""),
        ] {
            assert_eq!(&text[span(text, 0, char::is_whitespace)], expected, "{text}");
        }
    }

    #[test]
    fn switches_references_and_paths_are_public() {
        for value in [
            "",
            "true",
            "NONE",
            "$(DB_PASSWORD)",
            "${x}",
            "$TOKEN",
            "$(cat /x)",
            "/var/run/secrets/token",
            "~/.ssh/id",
        ] {
            assert!(is_public(value), "{value}");
        }
        for value in ["hunter2", "$ecret", "${X:-hunter2}", "/+x9hTq", "/etc/a=b", "0"] {
            assert!(!is_public(value), "{value}");
        }
    }
}
