//! From the text of a configuration to the configuration, or to all of its mistakes.
//!
//! A value that is refused is taken out and the rest is read again, so that nobody is shown
//! one mistake at a time. What the values mean together is checked once all are right.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use detect::sigma::{Place, Severity};
use serde::Deserialize;

use super::Config;
use super::check;
use super::mistake::{MISTAKES_MAX, Mistake, MistakeKind, Mistakes, nearest};
use super::reader::{Fault, Reader};
use super::secret::is_secret_name;
use super::sink;
use super::tree::{self, Content, Map, Node, Spot};

/// How long a configuration may be, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Reads a file and checks it with everything that it names. What is doubtful is part of the
/// configuration; what is wrong makes it none.
pub(super) fn load(path: &Path) -> Result<Config, Mistakes> {
    let text = match read_text(path) {
        Ok(text) => text,
        Err(source) => {
            let mut mistakes = Mistakes::new(path, String::new());
            let kind = MistakeKind::Unreadable { path: path.to_path_buf(), source };
            mistakes.list.push(Mistake::new(Place { line: 1, column: 1, width: 1 }, kind));
            return Err(mistakes);
        }
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut mistakes = Mistakes::new(path, text);
    let config = understand(folder, &mut mistakes);
    mistakes.blot();
    mistakes.list.sort_by_key(|mistake| (mistake.place.line, mistake.place.column));
    match config {
        Some(mut config) if mistakes.count(Severity::Error) == 0 => {
            config.doubts = Some(Arc::new(mistakes));
            Ok(config)
        }
        _ => Err(mistakes),
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// The key of headers that a sink sends.
const HEADERS: &str = "headers";

/// Understands the text in `mistakes` and adds to these.
pub(super) fn understand(folder: &Path, mistakes: &mut Mistakes) -> Option<Config> {
    let tree = tree::read(&mistakes.text, &mut mistakes.list)?;
    if matches!(tree.content, Content::Nothing) {
        return mistakes.list.is_empty().then(Config::default);
    }
    blot_out_secrets(mistakes, &tree);
    let config = settle(tree.clone(), folder, mistakes)?;
    let config = config.with_defaults();
    if mistakes.list.is_empty() {
        check::check(&config, Spot::root(&tree), mistakes);
    }
    Some(config)
}

/// Takes out what is refused until the rest is a configuration.
fn settle(mut tree: Node, base: &Path, mistakes: &mut Mistakes) -> Option<Config> {
    while mistakes.list.len() < MISTAKES_MAX {
        let fault = match Config::deserialize(Reader { node: &tree, base }) {
            Ok(config) => return Some(config),
            Err(fault) => fault,
        };
        let id = fault.id.unwrap_or(tree.id);
        let Some(found) = find(&tree, id) else {
            mistakes.list.push(Mistake::new(tree.place, fault.kind));
            return None;
        };
        if !found.is_consequence(&fault) {
            if let Some(secret) = found.secret(&fault) {
                blot_out(mistakes, secret);
            }
            mistakes.list.push(Mistake::new(found.place, fault.kind));
        }
        if !take_out(&mut tree, id) {
            return None;
        }
    }
    None
}

/// A node or key that was refused.
struct Found<'n> {
    place: Place,
    /// The node, or the value of the key.
    node: &'n Node,
}

impl<'n> Found<'n> {
    /// True if something is missing only because it was taken out before, right or misspelt.
    fn is_consequence(&self, fault: &Fault) -> bool {
        let Content::Map(Map { entries, removed }) = &self.node.content else { return false };
        let is_missed = match &fault.kind {
            MistakeKind::MissingKey { name } => removed.iter().any(|key| nearest(key, &[name]).is_some()),
            _ => false,
        };
        is_missed || (entries.is_empty() && !removed.is_empty())
    }

    /// What must not be drawn.
    fn secret(&self, fault: &Fault) -> Option<&'n Node> {
        let is_secret = match &fault.kind {
            MistakeKind::LiteralSecret { .. } => true,
            MistakeKind::Invalid { message } => message == sink::LITERAL_SECRET,
            _ => false,
        };
        is_secret.then_some(self.node)
    }
}

fn find(node: &Node, id: usize) -> Option<Found<'_>> {
    if node.id == id {
        return Some(Found { place: node.place, node });
    }
    match &node.content {
        Content::Nothing | Content::Scalar(_) => None,
        Content::List(nodes) => nodes.iter().find_map(|node| find(node, id)),
        Content::Map(map) => map.entries.iter().find_map(|entry| {
            let key = (entry.id == id).then_some(Found { place: entry.place, node: &entry.value });
            key.or_else(|| find(&entry.value, id))
        }),
    }
}

/// Takes a node, or the entry of a key, out of the tree; false for the root.
fn take_out(node: &mut Node, id: usize) -> bool {
    match &mut node.content {
        Content::Nothing | Content::Scalar(_) => false,
        Content::List(nodes) => {
            let count = nodes.len();
            nodes.retain(|node| node.id != id);
            nodes.len() < count || nodes.iter_mut().any(|node| take_out(node, id))
        }
        Content::Map(Map { entries, removed }) => {
            match entries.iter().position(|entry| entry.id == id || entry.value.id == id) {
                Some(at) => {
                    removed.push(entries.remove(at).name);
                    true
                }
                None => entries.iter_mut().any(|entry| take_out(&mut entry.value, id)),
            }
        }
    }
}

/// Keeps from being drawn what is secret by its name, whatever else may be wrong.
fn blot_out_secrets(mistakes: &mut Mistakes, node: &Node) {
    match &node.content {
        Content::Nothing | Content::Scalar(_) => {}
        Content::List(nodes) => nodes.iter().for_each(|node| blot_out_secrets(mistakes, node)),
        Content::Map(map) => {
            for entry in &map.entries {
                let is_scalar = matches!(entry.value.content, Content::Scalar(_));
                if is_scalar && is_secret_name(&entry.name) {
                    blot_out(mistakes, &entry.value);
                } else if entry.name == HEADERS {
                    blot_out_values(mistakes, &entry.value);
                } else {
                    blot_out_secrets(mistakes, &entry.value);
                }
            }
        }
    }
}

/// Keeps the values of headers from being drawn: many are keys, whatever their names are.
fn blot_out_values(mistakes: &mut Mistakes, headers: &Node) {
    let Content::Map(map) = &headers.content else { return blot_out(mistakes, headers) };
    for entry in &map.entries {
        match &entry.value.content {
            // Where a secret is to be read from is none.
            Content::Map(_) => blot_out_secrets(mistakes, &entry.value),
            _ => blot_out(mistakes, &entry.value),
        }
    }
}

/// Keeps a value, and all that is in it, from being drawn.
fn blot_out(mistakes: &mut Mistakes, node: &Node) {
    match &node.content {
        Content::Nothing => {}
        Content::List(nodes) => nodes.iter().for_each(|node| blot_out(mistakes, node)),
        Content::Map(map) => map.entries.iter().for_each(|entry| blot_out(mistakes, &entry.value)),
        Content::Scalar(scalar) => mistakes.blotted.push(scalar.written.clone()),
    }
}
