//! YAML as a tree in which everything knows its place.
//!
//! **Invariant:** depth, nodes and text of a tree are bounded, aliases included.

use std::fmt;
use std::ops::Range;

use detect::sigma::Place;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Error, Location, Spanned, UserMessageFormatter};

use super::mistake::{Mistake, MistakeKind};

/// How deep a configuration may nest; the deepest key lies at six.
const DEPTH_MAX: usize = 32;
/// How many values a configuration may have, aliases expanded: thousands of clusters with a token each.
const NODES_MAX: usize = 200_000;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Different for each node and key of a tree.
    pub(super) id: usize,
    pub(super) place: Place,
    pub(super) content: Content,
}

/// What a [`Node`] holds.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Nothing,
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Map),
}

/// A scalar as written.
#[derive(Clone, Debug)]
pub(super) struct Scalar {
    pub(super) text: String,
    /// The bytes of the file that it is written in.
    pub(super) written: Range<usize>,
    pub(super) sort: Sort,
}

/// What a scalar is where nothing says what it ought to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Text,
    Number,
    Truth(bool),
}

/// The entries of a mapping, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Map {
    pub(super) entries: Vec<Entry>,
    /// Keys whose entries were taken out because of a mistake.
    pub(super) removed: Vec<String>,
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) id: usize,
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) value: Node,
}

impl Node {
    /// What the node is, in words.
    pub(super) fn found(&self) -> &'static str {
        match &self.content {
            Content::Nothing => "nothing",
            Content::List(_) => "a list",
            Content::Map(_) => "a mapping",
            Content::Scalar(Scalar { sort: Sort::Text, .. }) => "a text",
            Content::Scalar(Scalar { sort: Sort::Number, .. }) => "a number",
            Content::Scalar(Scalar { sort: Sort::Truth(_), .. }) => "a boolean",
        }
    }

    /// The entries of a mapping; none for anything else.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Map(map) => &map.entries,
            _ => &[],
        }
    }
}

/// Where a check stands in the tree: it falls back on what is around where nothing is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot<'t> {
    node: Option<&'t Node>,
    /// Where the value is.
    pub(super) place: Place,
    /// Where its key is.
    pub(super) key: Place,
}

impl<'t> Spot<'t> {
    /// The whole document.
    pub(super) fn root(node: &'t Node) -> Self {
        Self { node: Some(node), place: node.place, key: node.place }
    }

    /// What is behind a key.
    pub(super) fn at(self, name: &str) -> Self {
        match self.node.and_then(|node| node.entries().iter().find(|entry| entry.name == name)) {
            Some(entry) => Self { node: Some(&entry.value), place: entry.value.place, key: entry.place },
            None => Self { node: None, place: self.key, key: self.key },
        }
    }

    /// Whether a key is given.
    pub(super) fn has(self, name: &str) -> bool {
        self.node.is_some_and(|node| node.entries().iter().any(|entry| entry.name == name))
    }

    /// The item of a list; a single value is its own only item.
    pub(super) fn item(self, index: usize) -> Self {
        match self.node.map(|node| &node.content) {
            Some(Content::List(nodes)) => match nodes.get(index) {
                Some(node) => Self { node: Some(node), place: node.place, key: node.place },
                None => self,
            },
            _ => self,
        }
    }
}

/// Reads a document. Mistakes that it can be read in spite of are noted; nothing if it cannot.
pub(super) fn read(text: &str, mistakes: &mut Vec<Mistake>) -> Option<Node> {
    let parse = |duplicate_keys| {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! { max_depth: DEPTH_MAX, max_nodes: NODES_MAX },
            duplicate_keys: duplicate_keys,
            strict_booleans: true,
            with_snippet: false,
        };
        serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options)
    };
    let root = parse(DuplicateKeyPolicy::Error).or_else(|error| {
        let is_duplicate = matches!(error.without_snippet(), Error::DuplicateMappingKey { .. });
        mistakes.push(mistake(text, &error));
        // With the first of equal keys the rest can be understood too.
        if is_duplicate { parse(DuplicateKeyPolicy::FirstWins) } else { Err(error) }
    });
    let mut planter = Planter { text, id_count: 0 };
    root.ok().map(|root| planter.node(root, None))
}

fn mistake(text: &str, error: &Error) -> Mistake {
    let place =
        error.location().map_or(Place { line: 1, column: 1, width: 1 }, |location| place(text, location));
    let kind = match error.without_snippet() {
        Error::DuplicateMappingKey { key, .. } => {
            MistakeKind::DuplicateKey { key: key.clone().unwrap_or_default() }
        }
        error => {
            let message = error.render_with_formatter(&UserMessageFormatter);
            let line = message.lines().next().unwrap_or_default();
            // The place is drawn; it need not be told as well.
            let line = line.split(" at line ").next().unwrap_or_default();
            MistakeKind::Yaml { message: line.trim_end_matches('.').to_lowercase() }
        }
    };
    Mistake::new(place, kind)
}

fn place(text: &str, location: Location) -> Place {
    let number = |count: u64| u32::try_from(count).unwrap_or(u32::MAX).max(1);
    let written = slice(text, location).unwrap_or_default();
    let width = written.lines().next().unwrap_or_default().trim_end().chars().count();
    Place { line: number(location.line()), column: number(location.column()), width: number(width as u64) }
}

fn slice(text: &str, location: Location) -> Option<&str> {
    text.get(range(location)?)
}

fn range(location: Location) -> Option<Range<usize>> {
    let start = usize::try_from(location.span().byte_offset()?).ok()?;
    let length = usize::try_from(location.span().byte_len()?).ok()?;
    Some(start..start.checked_add(length)?)
}

/// A value as the parser gives it.
enum Raw {
    Nothing,
    Truth(bool),
    Number(String),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Nothing)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Raw, E> {
        Ok(Raw::Truth(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Raw, E> {
        Ok(Raw::Number(number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Raw, E> {
        Ok(Raw::Number(number.to_string()))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Raw, E> {
        Ok(Raw::Number(number.to_string()))
    }

    fn visit_u128<E>(self, number: u128) -> Result<Raw, E> {
        Ok(Raw::Number(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Raw, E> {
        Ok(Raw::Number(number.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = items.next_element()? {
            nodes.push(node);
        }
        Ok(Raw::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

/// Gives each node its number, its place and its text.
struct Planter<'t> {
    text: &'t str,
    id_count: usize,
}

impl Planter<'_> {
    fn next_id(&mut self) -> usize {
        self.id_count += 1;
        self.id_count
    }

    fn node(&mut self, raw: Spanned<Raw>, key: Option<Place>) -> Node {
        let id = self.next_id();
        let written = slice(self.text, raw.defined);
        let mut place = place(self.text, raw.referenced);
        // Of what cannot be told, nothing of the file is shown.
        let range = range(raw.defined).unwrap_or(0..self.text.len());
        let scalar = |text: String, sort| Content::Scalar(Scalar { text, sort, written: range });
        // Numbers may stand where texts belong: what counts is how they are written.
        let as_written = |text: String| written.map_or(text, |written| written.trim().to_owned());
        let content = match raw.value {
            Raw::Nothing => {
                place = key.unwrap_or(place);
                Content::Nothing
            }
            Raw::Truth(truth) => scalar(as_written(truth.to_string()), Sort::Truth(truth)),
            Raw::Number(number) => scalar(as_written(number), Sort::Number),
            Raw::Text(text) => scalar(text, Sort::Text),
            Raw::List(items) => {
                place.width = 1;
                Content::List(items.into_iter().map(|item| self.node(item, None)).collect())
            }
            Raw::Map(entries) => {
                let entries: Vec<Entry> = entries.into_iter().map(|entry| self.entry(entry)).collect();
                place = entries.first().map_or(Place { width: 1, ..place }, |entry| entry.place);
                Content::Map(Map { entries, removed: Vec::new() })
            }
        };
        Node { id, place, content }
    }

    fn entry(&mut self, (key, value): (Spanned<String>, Spanned<Raw>)) -> Entry {
        let place = place(self.text, key.referenced);
        let id = self.next_id();
        Entry { id, name: key.value, place, value: self.node(value, Some(place)) }
    }
}
