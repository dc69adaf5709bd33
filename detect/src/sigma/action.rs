//! Documents with an `action`: parts that several rules of a file share.
//!
//! `global` adds its keys to every rule that follows, `reset` ends that, `repeat` is the rule
//! before with other values. Sigma's first version had them; collections still do.

use super::context::Context;
use super::error::RuleErrorKind as Kind;
use super::nearest::nearest;
use super::yaml::{Content, Document, Node};

const ACTIONS: [&str; 3] = ["global", "reset", "repeat"];
/// How many nodes all rules of a file may take over from others.
const SHARED_NODES_MAX: usize = 1_000_000;

/// What the documents of a file take over from those before.
pub(super) struct Shared {
    global: Option<Document>,
    before: Option<Document>,
    nodes_left: usize,
    /// False in most files: then nothing is remembered.
    is_needed: bool,
}

impl Shared {
    /// What these documents will share.
    pub(super) fn of(documents: &[Document]) -> Self {
        let is_needed = documents.iter().any(|document| document.root.get("action").is_some());
        Self { global: None, before: None, nodes_left: SHARED_NODES_MAX, is_needed }
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
                self.global = None;
                None
            }
            "repeat" => {
                let before = self.before.clone().or_else(|| self.global.clone());
                let repeated = self.merge(before, without_action(document), context)?;
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
        let document = match &self.global {
            Some(global) if !is_of_its_own => self.merge(Some(global.clone()), document, context)?,
            _ => document,
        };
        self.before = (self.is_needed && !is_of_its_own).then(|| document.clone());
        Some(document)
    }

    fn merge(
        &mut self,
        into: Option<Document>,
        from: Document,
        context: &mut Context<'_>,
    ) -> Option<Document> {
        let Some(mut into) = into else { return Some(from) };
        let (nodes, _) = into.root.size();
        let Some(left) = self.nodes_left.checked_sub(nodes) else {
            let kind = Kind::Limit { what: "the size of what rules share", max: SHARED_NODES_MAX };
            context.report(from.root.place, kind);
            return None;
        };
        self.nodes_left = left;
        into.is_sound &= from.is_sound;
        into.root.place = from.root.place;
        update(&mut into.root, from.root);
        Some(into)
    }
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
            for (key, value) in more {
                let known = entries.iter_mut().find(|(known, _)| known.scalar_text() == key.scalar_text());
                match known {
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
