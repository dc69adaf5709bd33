//! What pipelines change: a rule or a correlation on its way to being understood.

use std::borrow::Cow;

use chrono::NaiveDate;

use super::super::draft::{Draft, DraftItem, DraftSelection};
use super::super::yaml::{Content, Node};
use super::super::{Level, Logsource, Place};
use super::conditions;

/// A document on its way through pipelines.
pub(in super::super) struct Subject<'n> {
    /// The document as written, for conditions about its keys.
    pub(in super::super) document: &'n Node,
    pub(in super::super) logsource: Logsource,
    /// Keys that Sigma does not define.
    pub(in super::super) custom: Vec<(String, serde_json::Value)>,
    pub(in super::super) tags: Vec<String>,
    /// The fields that it lists for whoever reads an alert.
    pub(in super::super) fields: Vec<String>,
    pub(in super::super) kind: Kind,
}

/// What pipelines change in documents of either kind.
pub(in super::super) enum Kind {
    Rule {
        selections: Vec<DraftSelection>,
        /// Where `detection` stands.
        place: Place,
        /// Selections that must hold besides the condition, and whether they must not.
        added: Vec<(String, bool)>,
    },
    /// How a correlation names fields, and the log sources of the rules that it relates.
    Correlation { names: Names, logsources: Vec<Logsource> },
}

/// The fields that a correlation names.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Names {
    /// Fields and aliases by which matches are grouped; one may become several.
    pub(in super::super) group_by: Vec<String>,
    /// Which of them are aliases, and stay as they are.
    pub(in super::super) aliases: Vec<String>,
    /// Fields behind aliases and in conditions; one must stay one.
    pub(in super::super) singles: Vec<String>,
}

/// A key of a document, for comparison.
pub(super) enum Attribute<'a> {
    Value(Cow<'a, serde_json::Value>),
    List(Vec<serde_json::Value>),
    Level(Level),
    Status(usize),
    Date(NaiveDate),
}

impl Subject<'_> {
    /// The log sources that the document is about.
    pub(super) fn logsources(&self) -> &[Logsource] {
        match &self.kind {
            Kind::Rule { .. } => std::slice::from_ref(&self.logsource),
            Kind::Correlation { logsources, .. } => logsources,
        }
    }

    /// Whether any item of a rule satisfies a test.
    pub(super) fn any_item(&self, test: &dyn Fn(&DraftItem) -> bool) -> bool {
        match &self.kind {
            Kind::Rule { selections, .. } => conditions::any_item(selections, test),
            Kind::Correlation { .. } => false,
        }
    }

    /// The value behind a key: one that Sigma defines, else a custom one.
    pub(super) fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        let text = || self.document.get(name).filter(|node| !node.is_null()).and_then(Node::scalar_text);
        let value = |text: String| Some(Attribute::Value(Cow::Owned(text.into())));
        match name {
            "level" => conditions::level(text()?).map(Attribute::Level),
            "status" => conditions::status(text()?).map(Attribute::Status),
            "date" | "modified" => text()?.replace('/', "-").parse().ok().map(Attribute::Date),
            "tags" => Some(Attribute::List(self.tags.iter().cloned().map(Into::into).collect())),
            "fields" => Some(Attribute::List(self.fields.iter().cloned().map(Into::into).collect())),
            "references" | "falsepositives" | "scope" => {
                Some(Attribute::List(texts(self.document, name).map(Into::into).collect()))
            }
            "id" => value(text()?.to_lowercase()),
            "taxonomy" => value(text().unwrap_or("sigma").to_owned()),
            "title" | "name" | "description" | "author" | "license" => value(text()?.to_owned()),
            custom => match &self.custom.iter().find(|(name, _)| name == custom)?.1 {
                serde_json::Value::Array(values) => Some(Attribute::List(values.clone())),
                value => Some(Attribute::Value(Cow::Borrowed(value))),
            },
        }
    }

    /// Sets a key that Sigma does not define.
    pub(super) fn set_custom(&mut self, name: &str, value: &serde_json::Value) {
        match self.custom.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value.clone(),
            None => self.custom.push((name.to_owned(), value.clone())),
        }
    }
}

/// The texts behind a key, be it a list or one text.
pub(in super::super) fn texts<'n>(document: &'n Node, key: &str) -> impl Iterator<Item = &'n str> {
    let node = document.get(key).filter(|node| !node.is_null());
    let nodes = match node.map(|node| (node, &node.content)) {
        None => &[],
        Some((_, Content::List(nodes))) => nodes.as_slice(),
        Some((node, _)) => std::slice::from_ref(node),
    };
    nodes.iter().filter_map(Node::scalar_text)
}

impl Draft {
    /// Whether any item satisfies a test.
    pub(super) fn any_item(&self, test: &dyn Fn(&DraftItem) -> bool) -> bool {
        match self {
            Draft::Item(item) => test(item),
            other => other.parts().into_iter().any(|part| part.any_item(test)),
        }
    }

    /// Visits every item, from left to right.
    pub(super) fn visit_items(&mut self, visit: &mut dyn FnMut(&mut DraftItem)) {
        match self {
            Draft::Item(item) => visit(item),
            other => other.parts_mut().into_iter().for_each(|part| part.visit_items(visit)),
        }
    }

    /// Replaces items, from left to right; what an item is replaced by is not visited.
    pub(super) fn change_items<E>(
        &mut self,
        change: &mut dyn FnMut(&mut DraftItem) -> Result<Option<Draft>, E>,
    ) -> Result<(), E> {
        match self {
            Draft::Item(item) => {
                if let Some(replacement) = change(item)? {
                    *self = replacement;
                }
                Ok(())
            }
            other => other.parts_mut().into_iter().try_for_each(|part| part.change_items(change)),
        }
    }
}
