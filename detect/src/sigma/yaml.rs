//! Reads YAML into a small tree in which everything knows its place.
//!
//! Documents are separated before they are parsed, so a mistake in one costs only that one.
//!
//! **Invariant:** depth, nodes and text of a tree are bounded, aliases included.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};

use super::Place;
use super::context::Context;
use super::error::{Label, RuleErrorKind};

/// How large a rule file may be. The largest public collections of rules in one file stay
/// well below.
pub(super) const FILE_BYTES_MAX: usize = 4 << 20;
/// How deep lists and mappings may nest; rules seldom exceed 6.
pub(super) const DEPTH_MAX: usize = 64;
/// How many nodes one document may have after aliases are expanded.
pub(super) const NODES_MAX: usize = 100_000;
/// How much text one document may have after aliases are expanded.
pub(super) const TEXT_BYTES_MAX: usize = 8 << 20;

/// The root of a document.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) root: Node,
    /// False when something in it was left out because of a mistake.
    pub(super) is_sound: bool,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) content: Content,
    /// Position of the first character in the file, counted in characters.
    start: usize,
}

/// What a [`Node`] holds.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// A scalar as written.
#[derive(Clone, Debug)]
pub(super) struct Scalar {
    pub(super) text: String,
    /// True for quoted and block scalars and for those tagged `!!str`.
    pub(super) is_text: bool,
    style: ScalarStyle,
}

/// A scalar as YAML 1.2 understands it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Resolved<'n> {
    Null,
    Bool(bool),
    /// A number; hexadecimal and octal ones in decimal, others as written.
    Number(String),
    Text(&'n str),
}

impl Scalar {
    /// Applies the core schema of YAML 1.2.
    pub(super) fn resolved(&self) -> Resolved<'_> {
        if self.is_text {
            return Resolved::Text(&self.text);
        }
        match self.text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => Resolved::Null,
            "true" | "True" | "TRUE" => Resolved::Bool(true),
            "false" | "False" | "FALSE" => Resolved::Bool(false),
            text => number(text).map_or(Resolved::Text(text), Resolved::Number),
        }
    }
}

impl Node {
    /// What the node is, in words.
    pub(super) fn found(&self) -> &'static str {
        match &self.content {
            Content::List(_) => "a list",
            Content::Map(_) => "a mapping",
            Content::Scalar(scalar) => match scalar.resolved() {
                Resolved::Null => "nothing",
                Resolved::Bool(_) => "a boolean",
                Resolved::Number(_) => "a number",
                Resolved::Text(_) => "a text",
            },
        }
    }

    /// The text of a scalar, whatever its type.
    pub(super) fn scalar_text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }

    /// True for `null`, `~` and nothing at all.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.content, Content::Scalar(scalar) if scalar.resolved() == Resolved::Null)
    }

    /// The entries of a mapping; none for anything else.
    pub(super) fn entries(&self) -> &[(Node, Node)] {
        match &self.content {
            Content::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The value behind a key of a mapping.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(name, _)| name.scalar_text() == Some(key)).map(|(_, value)| value)
    }

    /// The same as JSON, for keys whose meaning is not ours.
    pub(super) fn to_json(&self) -> serde_json::Value {
        use serde_json::Value;
        match &self.content {
            Content::List(nodes) => nodes.iter().map(Node::to_json).collect(),
            Content::Map(entries) => Value::Object(
                entries
                    .iter()
                    .filter_map(|(key, value)| Some((key.scalar_text()?.to_owned(), value.to_json())))
                    .collect(),
            ),
            Content::Scalar(scalar) => match scalar.resolved() {
                Resolved::Null => Value::Null,
                Resolved::Bool(truth) => Value::Bool(truth),
                Resolved::Text(text) => Value::String(text.to_owned()),
                Resolved::Number(number) => number
                    .parse::<i64>()
                    .map(Value::from)
                    .or_else(|_| number.parse::<u64>().map(Value::from))
                    .or_else(|_| number.parse::<f64>().map(Value::from))
                    .unwrap_or(Value::String(number)),
            },
        }
    }

    /// How many levels there are below.
    fn height(&self) -> usize {
        let below = match &self.content {
            Content::Scalar(_) => None,
            Content::List(nodes) => nodes.iter().map(Node::height).max(),
            Content::Map(entries) => {
                entries.iter().flat_map(|(key, value)| [key, value]).map(Node::height).max()
            }
        };
        below.map_or(0, |height| height + 1)
    }

    /// How many nodes there are, and how many bytes of text.
    pub(super) fn size(&self) -> (usize, usize) {
        let add = |(nodes, bytes): (usize, usize), node: &Node| {
            let (more_nodes, more_bytes) = node.size();
            (nodes + more_nodes, bytes + more_bytes)
        };
        match &self.content {
            Content::Scalar(scalar) => (1, scalar.text.len()),
            Content::List(nodes) => nodes.iter().fold((1, 0), add),
            Content::Map(entries) => entries.iter().flat_map(|(key, value)| [key, value]).fold((1, 0), add),
        }
    }
}

/// A number of the core schema, in decimal.
fn number(text: &str) -> Option<String> {
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix).filter(|digits| !digits.starts_with('+')) {
            return u64::from_str_radix(digits, radix).ok().map(|number| number.to_string());
        }
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Some(text.to_owned());
    }
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    let is_number = are_digits(whole)
        && are_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && !exponent.is_empty()
        && are_digits(exponent);
    is_number.then(|| text.to_owned())
}

/// The text of a file, and where its lines begin.
pub(super) struct Source<'t> {
    text: &'t str,
    /// Nothing where every character is one byte.
    characters: Option<Vec<char>>,
    lines: Vec<Line>,
}

#[derive(Clone, Copy)]
struct Line {
    character: usize,
    byte: usize,
}

impl<'t> Source<'t> {
    /// Splits a text into lines; a byte order mark is no part of it.
    pub(super) fn new(text: &'t str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = vec![Line { character: 0, byte: 0 }];
        let (mut character, mut byte) = (0, 0);
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            character += line.chars().count();
            byte += line.len();
            lines.push(Line { character, byte });
        }
        let characters = (!text.is_ascii()).then(|| text.chars().collect());
        Self { text, characters, lines }
    }

    /// How many characters there are.
    fn length(&self) -> usize {
        self.characters.as_ref().map_or(self.text.len(), Vec::len)
    }

    fn character(&self, at: usize) -> Option<char> {
        match &self.characters {
            Some(characters) => characters.get(at).copied(),
            None => self.text.as_bytes().get(at).map(|byte| char::from(*byte)),
        }
    }

    /// The place of `width` characters from a position on, cut at the end of the line.
    pub(super) fn place(&self, start: usize, width: usize) -> Place {
        let line = self.lines.partition_point(|line| line.character <= start).saturating_sub(1);
        let first = self.lines.get(line).map_or(0, |line| line.character);
        let end = self.lines.get(line + 1).map_or(self.length(), |next| next.character - 1);
        let width = width.min(end.saturating_sub(start)).max(1);
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Place { line: number(line + 1), column: number(start - first + 1), width: number(width) }
    }

    /// The place of a part of a scalar's text, counted in characters of the value.
    ///
    /// White space of the value lines up with white space of the file, everything else
    /// character by character but for escapes, so folding and indentation need no care.
    pub(super) fn place_in(&self, node: &Node, from: usize, width: usize) -> Place {
        let Content::Scalar(scalar) = &node.content else { return node.place };
        let mut at = node.start;
        match scalar.style {
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => at += 1,
            ScalarStyle::Literal | ScalarStyle::Folded => at = self.block_start(at),
            ScalarStyle::Plain => {}
        }
        let mut value = scalar.text.chars().take(from).peekable();
        while let Some(character) = value.next() {
            if character.is_whitespace() {
                while value.next_if(|next| next.is_whitespace()).is_some() {}
                at = self.skip_space(at, scalar.style);
            } else {
                at = self.skip_indent(at, scalar.style);
                at += self.unit(at, scalar.style);
            }
        }
        let is_space = scalar.text.chars().nth(from).is_none_or(char::is_whitespace);
        if !is_space {
            at = self.skip_indent(at, scalar.style);
        }
        self.place(at.min(self.length()), width)
    }

    /// The line after a `|` or `>`, if the position is at one.
    fn block_start(&self, at: usize) -> usize {
        match self.character(at) {
            Some('|' | '>') => {
                let end = (at..self.length()).find(|&at| self.character(at) == Some('\n'));
                end.map_or(self.length(), |newline| newline + 1)
            }
            _ => at,
        }
    }

    fn skip_space(&self, mut at: usize, style: ScalarStyle) -> usize {
        loop {
            match (self.character(at), self.character(at + 1)) {
                (Some(found), _) if found.is_whitespace() => at += 1,
                (Some('\\'), Some('n' | 't' | 'r' | ' ' | '\n' | '\r'))
                    if style == ScalarStyle::DoubleQuoted =>
                {
                    at += 2;
                }
                _ => return at,
            }
        }
    }

    /// Skips what the file has and the value has not: indentation and folded lines.
    fn skip_indent(&self, at: usize, style: ScalarStyle) -> usize {
        match self.character(at) {
            Some(found) if found.is_whitespace() => self.skip_space(at, style),
            Some('\\') if matches!(self.character(at + 1), Some('\n' | '\r')) => self.skip_space(at, style),
            _ => at,
        }
    }

    /// How many characters of the file make one character of the value.
    fn unit(&self, at: usize, style: ScalarStyle) -> usize {
        match (style, self.character(at), self.character(at + 1)) {
            (ScalarStyle::SingleQuoted, Some('\''), Some('\'')) => 2,
            (ScalarStyle::DoubleQuoted, Some('\\'), Some(escape)) => match escape {
                'x' => 4,
                'u' => 6,
                'U' => 10,
                _ => 2,
            },
            _ => 1,
        }
    }

    /// The documents as ranges of lines: each `---` at the beginning of a line starts one.
    fn documents(&self) -> Vec<(Line, &'t str)> {
        let mut starts: Vec<Line> = vec![Line { character: 0, byte: 0 }];
        let mut is_prologue = true;
        let mut has_directive = false;
        for &line in &self.lines {
            // Invariant: lines begin after a newline, so the slices below are whole characters.
            let text = self.text[line.byte..].lines().next().unwrap_or_default();
            let is_marker = text
                .strip_prefix("---")
                .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r']));
            if is_marker && !(is_prologue && has_directive) {
                starts.push(line);
            }
            if is_marker {
                (is_prologue, has_directive) = (false, false);
            } else if text.trim_end() == "..." {
                is_prologue = true;
            } else if is_prologue && text.starts_with('%') {
                has_directive = true;
            } else if !text.trim().is_empty() && !text.starts_with('#') {
                is_prologue = false;
            }
        }
        let ends = starts.iter().skip(1).map(|line| line.byte).chain([self.text.len()]);
        starts.iter().zip(ends).map(|(&start, end)| (start, &self.text[start.byte..end])).collect()
    }
}

/// True for the key that merges another mapping into its own, a feature of YAML 1.1.
fn is_merge(key: &Node) -> bool {
    matches!(&key.content, Content::Scalar(scalar) if scalar.text == "<<" && !scalar.is_text)
}

/// Adds what is merged to the entries of a mapping; of equal keys the first counts.
fn merge(entries: &mut Vec<(Node, Node)>, merged: Vec<(Node, Node)>, mut places: HashMap<String, Place>) {
    for (key, value) in merged {
        let name = key.scalar_text().unwrap_or_default().to_owned();
        if places.insert(name, key.place).is_none() {
            entries.push((key, value));
        }
    }
}

/// Reads every document of a file; empty ones are left out, broken ones reported.
pub(super) fn read(context: &mut Context<'_>) -> Vec<Document> {
    let mut documents = Vec::new();
    for (start, text) in context.source.documents() {
        let loader = Loader {
            context,
            base: start.character,
            parser: Parser::new_from_str(text),
            anchors: HashMap::new(),
            nodes_left: NODES_MAX,
            bytes_left: TEXT_BYTES_MAX,
        };
        loader.load(&mut documents);
    }
    documents
}

/// Reading cannot go on; the reason has been reported.
struct Stopped;

struct Loader<'l, 't> {
    context: &'l mut Context<'t>,
    base: usize,
    parser: Parser<'t, StrInput<'t>>,
    anchors: HashMap<usize, Node>,
    nodes_left: usize,
    bytes_left: usize,
}

impl<'t> Loader<'_, 't> {
    fn load(mut self, documents: &mut Vec<Document>) {
        let before = self.context.error_count();
        while let Ok((event, span)) = self.next() {
            match event {
                Event::StreamEnd => return,
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
                event => match self.node(event, span, 0) {
                    Ok(node) if node.is_null() => {}
                    Ok(root) => {
                        let is_sound = self.context.error_count() == before;
                        documents.push(Document { root, is_sound });
                    }
                    Err(Stopped) => return,
                },
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Stopped> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            None => Ok((Event::StreamEnd, Span::default())),
            Some(Err(error)) => {
                let place = self.context.source.place(self.base + error.marker().index(), 1);
                let message = error.info().to_lowercase();
                Err(self.stop(place, RuleErrorKind::Yaml { message }))
            }
        }
    }

    fn stop(&mut self, place: Place, kind: RuleErrorKind) -> Stopped {
        self.context.report(place, kind);
        Stopped
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, Stopped> {
        let start = self.base + span.start.index();
        let mut place = self.context.source.place(start, span.len());
        if depth > DEPTH_MAX {
            return Err(self.stop(place, RuleErrorKind::Limit { what: "nesting", max: DEPTH_MAX }));
        }
        self.spend(place, 1, 0)?;
        let (anchor, content) = match event {
            Event::Alias(anchor) => return self.alias(anchor, depth, place),
            Event::Scalar(text, style, anchor, tag) => {
                self.spend(place, 0, text.len())?;
                (anchor, Content::Scalar(self.scalar(text.into_owned(), style, tag.as_deref(), place)))
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), "seq", place);
                place.width = 1;
                (anchor, Content::List(self.list(depth)?))
            }
            Event::MappingStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), "map", place);
                let entries = self.map(depth)?;
                place = entries.first().map_or(Place { width: 1, ..place }, |(key, _)| key.place);
                (anchor, Content::Map(entries))
            }
            _ => return Err(self.stop(place, RuleErrorKind::Yaml { message: "unexpected end".to_owned() })),
        };
        let node = Node { place, content, start };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Stopped> {
        let mut nodes = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(nodes),
                (event, span) => nodes.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Vec<(Node, Node)>, Stopped> {
        let mut entries: Vec<(Node, Node)> = Vec::new();
        let mut merged: Vec<(Node, Node)> = Vec::new();
        let mut places: HashMap<String, Place> = HashMap::new();
        loop {
            let key = match self.next()? {
                (Event::MappingEnd, _) => {
                    merge(&mut entries, merged, places);
                    return Ok(entries);
                }
                (event, span) => self.node(event, span, depth + 1)?,
            };
            let (event, span) = self.next()?;
            let mut value = self.node(event, span, depth + 1)?;
            if value.scalar_text() == Some("") && value.is_null() {
                value.place = key.place;
            }
            let Some(name) = key.scalar_text() else {
                self.context.report(key.place, RuleErrorKind::KeyNotText { found: key.found() });
                continue;
            };
            if let Some(&first) = places.get(name) {
                let label = Label { place: first, text: "first defined here".to_owned() };
                let kind = RuleErrorKind::DuplicateKey { key: name.to_owned() };
                self.context.report_with(key.place, kind, label);
                continue;
            }
            places.insert(name.to_owned(), key.place);
            if is_merge(&key) {
                merged.extend(self.mergeable(value));
            } else {
                entries.push((key, value));
            }
        }
    }

    /// The entries behind a merge key: of a mapping, or of each mapping of a list.
    fn mergeable(&mut self, value: Node) -> Vec<(Node, Node)> {
        let maps = match value.content {
            Content::List(nodes) => nodes,
            _ => vec![value],
        };
        let mut entries = Vec::new();
        for map in maps {
            let (place, found) = (map.place, map.found());
            if let Content::Map(more) = map.content {
                entries.extend(more);
                continue;
            }
            let expected = "a mapping or a list of mappings";
            self.context.report(place, RuleErrorKind::WrongType { key: "<<".to_owned(), expected, found });
        }
        entries
    }

    fn alias(&mut self, anchor: usize, depth: usize, place: Place) -> Result<Node, Stopped> {
        let Some(node) = self.anchors.get(&anchor) else {
            let message = "an alias must not refer to what it is a part of".to_owned();
            return Err(self.stop(place, RuleErrorKind::Yaml { message }));
        };
        if depth + node.height() > DEPTH_MAX {
            return Err(self.stop(place, RuleErrorKind::Limit { what: "nesting", max: DEPTH_MAX }));
        }
        let (nodes, bytes) = node.size();
        let node = node.clone();
        self.spend(place, nodes, bytes)?;
        Ok(node)
    }

    fn spend(&mut self, place: Place, nodes: usize, bytes: usize) -> Result<(), Stopped> {
        let left = (self.nodes_left.checked_sub(nodes), self.bytes_left.checked_sub(bytes));
        let (what, max) = match left {
            (Some(nodes), Some(bytes)) => {
                (self.nodes_left, self.bytes_left) = (nodes, bytes);
                return Ok(());
            }
            (None, _) => ("the number of values, aliases expanded,", NODES_MAX),
            (_, None) => ("the number of bytes, aliases expanded,", TEXT_BYTES_MAX),
        };
        Err(self.stop(place, RuleErrorKind::Limit { what, max }))
    }

    fn scalar(&mut self, text: String, style: ScalarStyle, tag: Option<&Tag>, place: Place) -> Scalar {
        let is_plain = style == ScalarStyle::Plain;
        let is_text = match tag {
            None => !is_plain,
            Some(tag) if tag.is_yaml_core_schema() => match tag.suffix.as_str() {
                "str" => true,
                "null" | "bool" | "int" | "float" => false,
                _ => self.unknown_tag(tag, place),
            },
            Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => true,
            Some(tag) => self.unknown_tag(tag, place),
        };
        Scalar { text, is_text, style }
    }

    fn unknown_tag(&mut self, tag: &Tag, place: Place) -> bool {
        let tag = if tag.is_yaml_core_schema() { format!("!!{}", tag.suffix) } else { tag.to_string() };
        self.context.report(place, RuleErrorKind::UnknownTag { tag });
        true
    }

    fn check_tag(&mut self, tag: Option<&Tag>, expected: &str, place: Place) {
        if let Some(tag) = tag.filter(|tag| !(tag.is_yaml_core_schema() && tag.suffix == expected)) {
            self.unknown_tag(tag, place);
        }
    }
}
