//! What many fields of one event begin with: what it writes to, and what it writes.

use std::cell::OnceCell;

use super::pod::Target;
use super::written::Written;
use crate::event::{Event, Key};
use crate::field::View;
use crate::json::Kind;
use crate::kept::Node;

/// An event, and what has been found out about it since the first field was read.
///
/// Who watches an event begins anew for each field: what is known already is not asked for again.
pub(crate) struct Known<'a> {
    view: View<'a>,
    target: OnceCell<Target<'a>>,
    written: OnceCell<Written<'a>>,
}

impl<'a> Known<'a> {
    /// An event of which nothing is known.
    pub(crate) fn new(view: View<'a>) -> Self {
        Self { view, target: OnceCell::new(), written: OnceCell::new() }
    }

    /// The event and its surroundings.
    pub(crate) fn view(&self) -> View<'a> {
        self.view
    }

    /// The event.
    pub(crate) fn event(&self) -> &'a Event<'a> {
        self.view.event
    }

    /// What the event writes to.
    pub(super) fn target(&self) -> &Target<'a> {
        self.target.get_or_init(|| Target::of(self.event()))
    }

    /// What the event writes.
    pub(super) fn written(&self) -> &Written<'a> {
        self.written.get_or_init(|| Written::by(self.event()))
    }

    /// The value of a top-level key, of which only what a dotted path spells is read.
    pub(crate) fn top_level_for(&self, key: Key, path: &str) -> Option<Node<'a, '_>> {
        let value = self.event().top_level_for(key, path)?;
        let is_object = key == Key::RequestObject && value.kind() == Kind::Object;
        let kept = if is_object { self.written().whole.as_ref() } else { None };
        Some(kept.map_or(Node::Loose(value), Node::Kept))
    }
}
