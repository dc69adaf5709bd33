//! Credentials in texts: those that show by their own shape, and those that a name announces.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::value;

/// What is a credential by its shape; where there is a group, it is the group.
const SHAPES: &str = concat!(
    // Private keys, also those that are cut off.
    r"(?s:-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\z))",
    r"|AGE-SECRET-KEY-1[0-9A-Z]{20,}",
    // JSON Web Tokens.
    r"|eyJ[A-Za-z0-9_=-]{10,}(?:\.[A-Za-z0-9_=-]*)+",
    // What providers give out, by its prefix.
    r"|(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}",
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|gl[a-z]{2,5}-[A-Za-z0-9_-]{20,}",
    r"|xox[a-z]-[A-Za-z0-9-]{8,}|xapp-[A-Za-z0-9-]{8,}|hooks\.slack\.com/services/[A-Za-z0-9/]+",
    r"|AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{20,}",
    r"|(?-u:\b)[srp]k_(?:live|test)_[A-Za-z0-9]{16,}|(?-u:\b)sk-[A-Za-z0-9_-]{20,}|(?-u:\b)npm_[A-Za-z0-9]{30,}|(?-u:\b)pypi-[A-Za-z0-9_-]{16,}",
    r"|(?-u:\b)hv[sbr]\.[A-Za-z0-9_-]{20,}|(?-u:\b)do[opr]_v1_[a-f0-9]{64}|(?-u:\b)SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
    r"|dckr_pat_[A-Za-z0-9_-]{20,}|(?-u:\b)hf_[A-Za-z0-9]{30,}|(?-u:\b)sha256~[A-Za-z0-9_-]{43}",
    // Hashes of passwords.
    r"|\$(?:1|2[abxy]|5|6|7|y|argon2[id]{1,2})\$[./A-Za-z0-9$=,+-]{20,}",
    // What is given to a program by a pipe.
    r#"|(?-u:\b)echo[ \t]+(?:-n[ \t]+)?["']?([^\s"'|]+)["']?[ \t]*\|[^|\n]*(?:--password-stdin|--stdin|chpasswd)"#,
    r"|jdbc:oracle:[a-z]+:[^\s/:@]+/([^\s/@]+)@",
    // Settings of `.netrc`, Redis and XML, which put no sign between name and value.
    r"|(?i:(?-u:\b)machine[ \t]+\S+\s+login[ \t]+\S+\s+password[ \t]+(\S+)|(?-u:\b)(?:requirepass|masterauth)[ \t]+(\S+))",
    r#"|(?i:(?-u:\b)(?:key|name)="[^"]*(?:password|token|secret|api_?key|connectionstring)"\s+value="([^"]+)")"#,
    r"|(?i:(?-u:\b)bearer[ \t]+([A-Za-z0-9+/=_.~-]{16,}))",
);

/// The shortest credential that [`SHAPES`] finds, in bytes.
const SHAPE_BYTES_MIN: usize = 12;

/// What else is: `https://user:password@host`, `https://token@host`.
const ADDRESSES: &str = r#"://[^\s/@:"']*:([^\s/"'?\#]+)@|://([^\s/@:"']{16,})@"#;

/// A name that announces a credential, and what stands between it and the value. Header names
/// come first: their values may hold spaces.
const ASSIGNMENT: &str = concat!(
    r"(?:(?P<header>(?i:authorization|cookie))",
    r"|(?i:password|passwd|passphrase|passcode|passwordhash|pwd|token|secret|credentials?|creds|passwords|connection[_-]?string",
    r"|(?:api|access|secret|private|signing|encryption|shared|account|auth|session|master|ssh)[_-]?key(?:[_-]?id)?",
    r"|key[_-]data|dockerconfigjson|dockercfg|jwt)",
    r"|(?:^|[^A-Za-z])(?i:pass|pw|dsn|sas|sig)|[a-z](?:Pass|Pw|Dsn)|_KEY)",
    r#"(?:[_-]?[0-9]{1,3})?["'`\\\])]{0,16}[ \t]{0,16}(?P<sign>:?=>?|:|>)[ \t]{0,64}[\[(]?[ \t]{0,16}"#,
);

/// How many commands that give credentials may lie in one another; what is deeper is redacted
/// whole, since each is read to its end.
const COMMANDS_MAX: usize = 8;

static PATTERNS: LazyLock<Option<(Regex, Regex)>> = LazyLock::new(|| {
    let shapes = Regex::new(&format!("{SHAPES}|{ADDRESSES}"));
    Some((shapes.ok()?, Regex::new(ASSIGNMENT).ok()?))
});

/// What is a credential by its own shape, whatever stands around it.
pub(super) fn shapes(text: &str) -> Vec<Range<usize>> {
    // Invariant: the patterns compile, as tests show; if they did not, nothing would be shown.
    let Some((shapes, _)) = PATTERNS.as_ref() else { return std::iter::once(0..text.len()).collect() };
    // Groups take memory, and hardly any text has one.
    let is_too_short = text.len() < SHAPE_BYTES_MIN && !text.contains("://");
    if is_too_short || !shapes.is_match(text) {
        return Vec::new();
    }
    let found = shapes.captures_iter(text).filter_map(|found| found.iter().flatten().last());
    found.map(|found| found.range()).collect()
}

/// What a name before it makes a credential.
pub(super) fn assigned(text: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let Some((_, assignment)) = PATTERNS.as_ref() else { return spans };
    // What has no sign assigns nothing; groups take memory, and hardly any text has one.
    if memchr::memchr3(b'=', b':', b'>', text.as_bytes()).is_none() || !assignment.is_match(text) {
        return spans;
    }
    let last_tag = text.rfind('<').unwrap_or(0);
    let mut at = 0;
    // How far the command goes that is looked into, and how many there are in it.
    let (mut command_end, mut command_count) = (0, 0);
    while let Some(found) = assignment.captures_at(text, at) {
        let Some(whole) = found.get(0) else { break };
        let sign = found.name("sign").map_or("", |sign| sign.as_str());
        at = whole.end();
        if is_part_of_name(text, whole.as_str(), at) || is_prose(text, whole.as_str(), at) {
            continue;
        }
        let span = if sign == ">" {
            // Only an element of XML ends so; a comparison has no end.
            if at < last_tag { value::span(text, at, |letter| letter == '<') } else { at..at }
        } else if found.name("header").is_some() {
            header(text, at)
        } else {
            announced(text, whole.range(), sign == ":")
        };
        let found = text.get(span.clone()).unwrap_or_default();
        let mut is_secret = !value::is_public(found);
        if value::is_command(found) {
            command_count = if at < command_end { command_count + 1 } else { 0 };
            command_end = command_end.max(span.end);
            // What is run there is read on from here.
            if command_count < COMMANDS_MAX {
                continue;
            }
            is_secret = true;
        }
        at = span.end.max(at);
        if is_secret {
            spans.push(span);
        }
    }
    spans
}

/// Whether the colon separates parts of a name, as in `system:serviceaccount:external-secrets:x`
/// and `vault-token:v1`, rather than a name from a value.
fn is_part_of_name(text: &str, announced: &str, at: usize) -> bool {
    let bare = announced.ends_with(':') && !announced.contains(['"', '\'', '`']);
    let quoted = text.get(at..).is_some_and(|rest| rest.starts_with(['"', '\'', '`', '\\', '\r', '\n']));
    let lower = announced.to_ascii_lowercase();
    bare && !quoted && !lower.contains("pass") && !lower.contains("key")
}

/// Whether a sentence goes on behind the colon, as in `failed to fetch token: pod not found`.
fn is_prose(text: &str, announced: &str, at: usize) -> bool {
    const WORD_BYTES_MAX: usize = 20;
    let mut words = text.get(at..).unwrap_or_default().split(' ');
    let is_word = |word: &str| {
        let word = word.split(['\r', '\n', ';', ',', '.']).next().unwrap_or_default();
        (1..=WORD_BYTES_MAX).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_lowercase())
    };
    let lower = announced.to_ascii_lowercase();
    lower.ends_with(": ")
        && ["token: ", "secret: ", "credentials: ", "authorization: "]
            .iter()
            .any(|name| lower.ends_with(name))
        && words.next().is_some_and(|word| is_word(word) && !word.contains('\n'))
        && words.next().is_some_and(is_word)
}

/// The value of a header, without the name of the scheme before it.
fn header(text: &str, at: usize) -> Range<usize> {
    const SCHEMES: &[&str] = &["bearer", "basic", "token", "digest", "negotiate", "apikey"];
    let span = value::span(text, at, |letter| "\r\n\"'`".contains(letter));
    let value = text.get(span.clone()).unwrap_or_default();
    let scheme = SCHEMES.iter().find(|scheme| {
        value.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            && value[scheme.len()..].starts_with([' ', '\t', '\u{a0}'])
    });
    let skipped = scheme.map_or(0, |scheme| {
        let rest = &value[scheme.len()..];
        scheme.len() + rest.len() - rest.trim_start().len()
    });
    span.start + skipped..span.end
}

/// The value that a name announces: in a file of settings the rest of its line, elsewhere a word.
fn announced(text: &str, announced: Range<usize>, is_colon: bool) -> Range<usize> {
    let at = announced.end;
    let Some(indent) = indent_of_setting(text, announced.start) else {
        let ends = if is_colon { "\"'`" } else { "\"'`&;" };
        return value::span(text, at, |letter| letter.is_whitespace() || ends.contains(letter));
    };
    if !is_colon {
        return value::span(text, at, char::is_whitespace);
    }
    let span = value::span(text, at, |letter| matches!(letter, '\r' | '\n'));
    let value = text.get(span.clone()).unwrap_or_default().trim();
    // What YAML writes over the lines below.
    if value.is_empty() || value.starts_with(['|', '>']) {
        let below = text.get(span.end..).unwrap_or_default().trim_start();
        let is_mapping = value.is_empty() && below.lines().next().is_some_and(|line| line.contains(':'));
        return if is_mapping { span } else { value::lines_below(text, span.end, indent) };
    }
    span
}

/// How far the line is indented whose first word is the name at `at`; nothing where other
/// words stand before it.
fn indent_of_setting(text: &str, at: usize) -> Option<usize> {
    let before = text.get(..at)?;
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || "_.-\"'/".contains(letter);
    let before = before.trim_end_matches(is_name);
    let line = before.trim_end_matches([' ', '\t']);
    // An item of a list in YAML begins a line too.
    let line = line.strip_suffix('-').unwrap_or(line).trim_end_matches([' ', '\t']);
    let is_start = line.is_empty() || line.ends_with(['\n', '\r']);
    is_start.then_some(before.len() - line.len())
}

#[cfg(test)]
mod tests {
    use super::{SHAPE_BYTES_MIN, SHAPES, shapes};

    #[test]
    fn what_is_too_short_for_a_shape_is_no_credential() {
        let shortest = regex_syntax::parse(SHAPES).unwrap().properties().minimum_len();
        assert_eq!(shortest, Some(SHAPE_BYTES_MIN));
        assert_eq!(shapes("masterauth x").first(), Some(&(11..12)));
        assert_eq!(shapes("a://:b@c").first(), Some(&(5..6)));
    }
}
