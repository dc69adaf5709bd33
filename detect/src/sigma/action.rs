//! Documents with an `action`: parts that several rules of a file share.
//!
//! `global` adds its keys to every rule that follows, `reset` ends that, `repeat` is the rule
//! before with other values. Sigma's first version had them; collections still do.

use std::collections::HashMap;

use super::context::Context;
use super::error::RuleErrorKind as Kind;
use super::nearest::nearest;
use super::yaml::{Content, Document, Node};

const ACTIONS: [&str; 3] = ["global", "reset", "repeat"];
/// How many nodes all rules of a file may take over from others.
const SHARED_NODES_MAX: usize = 1_000_000;
/// How much text they may take over, in bytes.
const SHARED_BYTES_MAX: usize = 16 << 20;

/// What the documents of a file take over from those before.
pub(super) struct Shared {
    global: Option<Document>,
    before: Option<Document>,
    left: Left,
    /// False in most files: then nothing is remembered.
    is_needed: bool,
}

/// What may still be taken over; nothing at all once that was not enough.
#[derive(Clone, Copy, Default)]
struct Left {
    nodes: usize,
    bytes: usize,
}

impl Shared {
    /// What these documents will share.
    pub(super) fn of(documents: &[Document]) -> Self {
        let is_needed = documents.iter().any(|document| document.root.get("action").is_some());
        let left = Left { nodes: SHARED_NODES_MAX, bytes: SHARED_BYTES_MAX };
        Self { global: None, before: None, left, is_needed }
    }

    /// The document with what it takes over; nothing if it is none by itself.
    pub(super) fn complete(&mut self, document: Document, context: &mut Context<'_>) -> Option<Document> {
        let Some(node) = document.root.get("action") else { return self.plain(document, context) };
        let action = node.scalar_text().unwrap_or_default();
        match action {
            "global" => {
                self.before = None;
                self.global = Some(without_action(document));
                None
            }
            "reset" => {
                for (key, _) in document.root.entries() {
                    if let Some(key_text) = key.scalar_text().filter(|text| *text != "action") {
                        let kind = Kind::IgnoredKey { key: key_text.to_owned(), closest: None };
                        context.report(key.place, kind);
                    }
                }
                self.global = None;
                None
            }
            "repeat" => {
                let before = self.before.as_ref().or(self.global.as_ref());
                let repeated = merge(&mut self.left, before, without_action(document), context)?;
                self.before = Some(repeated.clone());
                Some(repeated)
            }
            _ => {
                let (value, closest) = (action.to_owned(), nearest(action, ACTIONS));
                let known = ACTIONS.join(", ");
                context.report(node.place, Kind::UnknownValue { key: "action", value, closest, known });
                None
            }
        }
    }

    fn plain(&mut self, document: Document, context: &mut Context<'_>) -> Option<Document> {
        let is_of_its_own = ["correlation", "filter"].iter().any(|key| document.root.get(key).is_some());
        let global = self.global.as_ref().filter(|_| !is_of_its_own);
        let document = merge(&mut self.left, global, document, context)?;
        self.before = (self.is_needed && !is_of_its_own).then(|| document.clone());
        Some(document)
    }
}

/// A document with the entries of another added; nothing when that would be too large.
fn merge(
    left: &mut Left,
    into: Option<&Document>,
    from: Document,
    context: &mut Context<'_>,
) -> Option<Document> {
    let Some(into) = into else { return Some(from) };
    // Has been reported.
    if left.nodes == 0 {
        return None;
    }
    let (nodes, bytes) = into.root.size();
    let (nodes, bytes) = (left.nodes.checked_sub(nodes), left.bytes.checked_sub(bytes));
    let (what, max) = match (nodes, bytes) {
        (Some(nodes), Some(bytes)) => {
            *left = Left { nodes, bytes };
            let mut into = into.clone();
            into.is_sound &= from.is_sound;
            into.root.place = from.root.place;
            update(&mut into.root, from.root);
            return Some(into);
        }
        (None, _) => ("the number of values that rules share", SHARED_NODES_MAX),
        (_, None) => ("the number of bytes that rules share", SHARED_BYTES_MAX),
    };
    *left = Left::default();
    context.report(from.root.place, Kind::Limit { what, max });
    None
}

fn without_action(mut document: Document) -> Document {
    if let Content::Map(entries) = &mut document.root.content {
        entries.retain(|(key, _)| key.scalar_text() != Some("action"));
    }
    document
}

/// Puts the entries of one mapping into another, mappings in them likewise.
fn update(into: &mut Node, from: Node) {
    let place = from.place;
    match (&mut into.content, from) {
        (Content::Map(entries), Node { content: Content::Map(more), .. }) => {
            let names = entries.iter().map(|(key, _)| key.scalar_text().unwrap_or_default().to_owned());
            let numbers: HashMap<String, usize> = names.zip(0..).collect();
            for (key, value) in more {
                let number = key.scalar_text().and_then(|name| numbers.get(name));
                match number.and_then(|number| entries.get_mut(*number)) {
                    Some((known_key, known)) => {
                        *known_key = key;
                        update(known, value);
                    }
                    None => entries.push((key, value)),
                }
            }
        }
        (_, from) => *into = from,
    }
    into.place = place;
}
