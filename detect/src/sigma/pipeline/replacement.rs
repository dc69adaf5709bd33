//! Replacement of parts of texts: what `replace_string` does.

use regex::{Captures, Regex};

use super::super::Place;
use super::super::error::RuleErrorKind as Kind;
use super::super::placeholder::EXPANDED_BYTES_MAX;
use super::super::text::{Piece, Pieces, Text};

/// An expression, and what its matches are replaced by.
#[derive(Clone, Debug)]
pub(super) struct Replacement {
    pub(super) regex: Regex,
    pub(super) template: Template,
    /// Whether wildcards and placeholders are left alone.
    pub(super) skips_special: bool,
    /// Whether wildcards in what was replaced are wildcards, if they are left alone.
    pub(super) reads_special: bool,
}

/// A replacement text with references to groups of the expression.
#[derive(Clone, Debug, Default)]
pub(super) struct Template(Vec<Insert>);

#[derive(Clone, Debug)]
enum Insert {
    Literal(String),
    Group(usize),
}

impl Template {
    /// Reads `\1`, `\g<1>`, `\g<name>` and the escapes of control characters.
    ///
    /// # Errors
    ///
    /// In words, what is wrong.
    pub(super) fn parse(text: &str, regex: &Regex) -> Result<Self, String> {
        let mut inserts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('\\') {
            literal.push_str(before);
            let Some(escape) = after.chars().next() else { return Err("it ends in a backslash".to_owned()) };
            rest = after.get(escape.len_utf8()..).unwrap_or_default();
            let group = match escape {
                'g' => {
                    let named = rest.strip_prefix('<').and_then(|rest| rest.split_once('>'));
                    let Some((name, after)) = named else { return Err(r"`\g` needs `<name>`".to_owned()) };
                    rest = after;
                    name.to_owned()
                }
                '1'..='9' => {
                    let width = 1 + usize::from(rest.starts_with(|next: char| next.is_ascii_digit()));
                    let number = after.get(..width).unwrap_or_default();
                    rest = after.get(width..).unwrap_or_default();
                    number.to_owned()
                }
                other => {
                    literal.push_str(&escaped(other)?);
                    continue;
                }
            };
            inserts.push(Insert::Literal(std::mem::take(&mut literal)));
            inserts.push(Insert::Group(group_of(&group, regex)?));
        }
        literal.push_str(rest);
        inserts.push(Insert::Literal(literal));
        Ok(Self(inserts))
    }

    fn expand(&self, captures: &Captures<'_>, into: &mut String) -> Result<(), Kind> {
        for insert in &self.0 {
            let text = match insert {
                Insert::Literal(text) => text,
                Insert::Group(index) => captures.get(*index).map_or("", |group| group.as_str()),
            };
            if into.len() + text.len() > EXPANDED_BYTES_MAX {
                return Err(Kind::Limit { what: "the size of a replaced text", max: EXPANDED_BYTES_MAX });
            }
            into.push_str(text);
        }
        Ok(())
    }
}

fn group_of(name: &str, regex: &Regex) -> Result<usize, String> {
    let by_number = name.parse().ok().filter(|number| *number < regex.captures_len());
    let by_name = || regex.capture_names().position(|known| known == Some(name));
    by_number.or_else(by_name).ok_or_else(|| format!("the expression has no group `{name}`"))
}

fn escaped(escape: char) -> Result<String, String> {
    Ok(match escape {
        'n' => "\n".to_owned(),
        't' => "\t".to_owned(),
        'r' => "\r".to_owned(),
        'a' => "\u{7}".to_owned(),
        'b' => "\u{8}".to_owned(),
        'f' => "\u{c}".to_owned(),
        'v' => "\u{b}".to_owned(),
        '0' => "\0".to_owned(),
        '\\' => "\\".to_owned(),
        letter if letter.is_ascii_alphabetic() => return Err(format!("`\\{letter}` means nothing")),
        other => format!("\\{other}"),
    })
}

impl Replacement {
    /// The text with every match replaced.
    pub(super) fn apply(&self, text: &Text) -> Result<Text, Kind> {
        let pieces = if self.skips_special { self.in_literals(text)? } else { self.in_written(text)? };
        Ok(Text { pieces: pieces.0, ..text.clone() })
    }

    fn in_literals(&self, text: &Text) -> Result<Pieces, Kind> {
        let mut pieces = Pieces::default();
        for piece in &text.pieces {
            let Piece::Literal(literal) = piece else {
                pieces.push(piece.clone());
                continue;
            };
            let mut replaced = String::new();
            let mut at = 0;
            for captures in matches(&self.regex, literal) {
                let Some(whole) = captures.get(0) else { continue };
                replaced.push_str(literal.get(at..whole.start()).unwrap_or_default());
                self.template.expand(&captures, &mut replaced)?;
                at = whole.end();
            }
            replaced.push_str(literal.get(at..).unwrap_or_default());
            if self.reads_special {
                pieces.append(&Text::parse(&replaced).pieces);
            } else {
                pieces.literal(&replaced);
            }
        }
        Ok(pieces)
    }

    /// Replaces in the text as Sigma writes it. What is not replaced keeps its meaning; a
    /// backslash before a wildcard is written like an escaped wildcard and yet is none.
    fn in_written(&self, text: &Text) -> Result<Pieces, Kind> {
        let written = Written::new(text);
        let mut rewriting = Rewriting {
            written: &written,
            placeholder: text.placeholder().map(|placeholder| placeholder.place),
            pieces: Pieces::default(),
            pending: String::new(),
            next: 0,
        };
        let mut at = 0;
        for captures in matches(&self.regex, &written.text) {
            let Some(whole) = captures.get(0) else { continue };
            rewriting.keep(at, whole.start());
            self.template.expand(&captures, &mut rewriting.pending)?;
            at = whole.end();
        }
        rewriting.keep(at, written.text.len());
        rewriting.flush();
        Ok(rewriting.pieces)
    }
}

/// Every match; as in pySigma an empty one may follow directly on another.
fn matches<'t>(regex: &Regex, text: &'t str) -> impl Iterator<Item = Captures<'t>> {
    let mut at = Some(0);
    std::iter::from_fn(move || {
        let captures = regex.captures_at(text, at?)?;
        let end = captures.get(0)?.end();
        // An empty match at the end is the last.
        let after = |end: usize| text.get(end..)?.chars().next().map(|next| end + next.len_utf8());
        at = if captures.get(0)?.is_empty() { after(end) } else { Some(end) };
        Some(captures)
    })
}

/// A text as Sigma writes it, and which of its characters are what.
struct Written {
    text: String,
    /// Where a unit ends, and what it is: a character, a wildcard or a placeholder.
    units: Vec<(usize, Piece)>,
}

impl Written {
    fn new(text: &Text) -> Self {
        let mut written = Self { text: String::new(), units: Vec::new() };
        for piece in &text.pieces {
            match piece {
                Piece::Literal(literal) => {
                    for character in literal.chars() {
                        written.unit(Piece::Literal(character.to_string()));
                    }
                }
                other => written.unit(other.clone()),
            }
        }
        written
    }

    fn unit(&mut self, piece: Piece) {
        self.text.push_str(&piece.to_plain());
        self.units.push((self.text.len(), piece));
    }
}

struct Rewriting<'w> {
    written: &'w Written,
    /// Where the text has its first placeholder, if any: then there may be new ones.
    placeholder: Option<Place>,
    pieces: Pieces,
    /// What was replaced and is still to be read.
    pending: String,
    /// The first unit that does not end before where the last call ended.
    next: usize,
}

impl Rewriting<'_> {
    /// Takes what stands between two positions as it is; of units that stand there only in
    /// part, that part is read anew.
    fn keep(&mut self, start: usize, end: usize) {
        while let Some((unit_end, piece)) = self.written.units.get(self.next) {
            let before = self.next.checked_sub(1).and_then(|before| self.written.units.get(before));
            let unit_start = before.map_or(0, |(end, _)| *end);
            if unit_start >= end {
                return;
            }
            if unit_start >= start && *unit_end <= end {
                self.flush();
                self.pieces.append(std::slice::from_ref(piece));
            } else if *unit_end > start {
                let part = unit_start.max(start)..(*unit_end).min(end);
                self.pending.push_str(self.written.text.get(part).unwrap_or_default());
            }
            if *unit_end > end {
                return;
            }
            self.next += 1;
        }
    }

    /// Reads what was replaced: a backslash is one unless a wildcard follows.
    fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let mut escaped = String::with_capacity(self.pending.len());
        let mut characters = self.pending.chars().peekable();
        while let Some(character) = characters.next() {
            let is_literal = character == '\\' && !matches!(characters.peek(), Some('*' | '?'));
            if is_literal {
                escaped.push(character);
            }
            escaped.push(character);
        }
        self.pending.clear();
        let mut text = Text::parse(&escaped);
        if let Some(place) = self.placeholder {
            text = text.with_placeholders(|_| place);
        }
        self.pieces.append(&text.pieces);
    }
}
