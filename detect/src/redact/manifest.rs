//! Secrets in texts that are manifests: YAML in a `ConfigMap`, JSON in a command.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::value;

/// That a text holds a Secret somewhere.
const KIND: &str = r#"(?i)(?-u:\b)kind["'\\]{0,16}[ \t]{0,16}:\s{0,16}["'\\]{0,16}Secret(?:List)?(?-u:\b)"#;

/// A key whose mapping is that of a Secret: in YAML at the end of its line, in JSON before a brace.
const DATA: &str =
    r#"(?i)(?-u:\b)(?P<key>data|stringData)["'\\]{0,16}[ \t]{0,16}:[ \t]{0,64}(?P<brace>\s{0,64}\{|\r?\n)"#;

static PATTERNS: LazyLock<Option<(Regex, Regex)>> =
    LazyLock::new(|| Some((Regex::new(KIND).ok()?, Regex::new(DATA).ok()?)));

/// The values of Secrets in a text.
pub(super) fn secrets(text: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let Some((kind, data)) = PATTERNS.as_ref() else { return spans };
    // Either has a colon; groups take memory, and hardly any text has one.
    if memchr::memchr(b':', text.as_bytes()).is_none() || !data.is_match(text) {
        return spans;
    }
    let has_secret = kind.is_match(text);
    let mut at = 0;
    while let Some(found) = data.captures_at(text, at) {
        let (Some(whole), Some(key)) = (found.get(0), found.name("key")) else { break };
        at = whole.end();
        if !has_secret && !key.as_str().eq_ignore_ascii_case("stringData") {
            continue;
        }
        if whole.as_str().ends_with('{') {
            let end = brace_end(text, at);
            spans.push(at..end);
            at = end;
        } else {
            at = of_lines(text, key.start(), &mut spans);
        }
    }
    spans
}

/// The position of the brace that closes the one before `start`.
fn brace_end(text: &str, start: usize) -> usize {
    let mut depth = 1_usize;
    for (at, byte) in text.bytes().enumerate().skip(start) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// Adds the values in the lines below a key, and gives where they end.
fn of_lines(text: &str, key: usize, spans: &mut Vec<Range<usize>>) -> usize {
    let line = text[..key].rfind('\n').map_or(0, |end| end + 1);
    let indent = value::indent_of(&text[line..]).min(key - line);
    let lines = value::lines_below(text, key, indent);
    let mut at = lines.start;
    while at < lines.end {
        let end = text[at..lines.end].find('\n').map_or(lines.end, |end| at + end);
        let line = &text[at..end];
        match line.split_once(':') {
            Some((name, value)) if value.trim().starts_with(['|', '>']) || value.trim().is_empty() => {
                let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
                let below = value::lines_below(text, at + name.len(), value::indent_of(&text[start..]));
                let below = below.start..below.end.min(lines.end);
                at = below.end.max(end) + 1;
                spans.push(below);
                continue;
            }
            Some((name, value)) => {
                let start = at + name.len() + 1 + (value.len() - value.trim_start().len());
                spans.push(start..at + line.trim_end().len());
            }
            None => spans.push(at..end),
        }
        at = end + 1;
    }
    lines.end.max(key)
}
