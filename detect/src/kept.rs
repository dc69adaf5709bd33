//! JSON that several fields are read from: what one of them found in an object or array is kept
//! for the others, so that it is walked once.
//!
//! **Invariant:** what is kept of a value is what a walk over its bytes gives: all entries and
//! elements in their order, duplicates included. Only what a rule's path leads to is looked into,
//! so values are kept no deeper than paths are long.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::slice;

use crate::json::{self, Json, Key, Kind};

/// How long an object or array may be for what is in it to be kept, in bytes; longer ones are
/// walked each time. Kept, they take up to 80 times as much. Bodies of pods and roles have a few KiB.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// A value that remembers what was found in it.
#[derive(Debug)]
pub(crate) struct Kept<'a> {
    json: Json<'a>,
    inside: OnceCell<Inside<'a>>,
}

#[derive(Debug)]
enum Inside<'a> {
    /// Of an object.
    Entries(Vec<(Key<'a>, Kept<'a>)>),
    /// Of an array.
    Elements(Vec<Kept<'a>>),
    /// Of a scalar, or of what is too long.
    NotKept,
}

impl<'a> Kept<'a> {
    /// A value that nobody has looked into.
    pub(crate) fn new(json: Json<'a>) -> Self {
        Self { json, inside: OnceCell::new() }
    }

    fn inside(&self) -> &Inside<'a> {
        self.inside.get_or_init(|| match self.json.kind() {
            _ if self.json.bytes().len() > KEPT_BYTES_MAX => Inside::NotKept,
            Kind::Object => {
                Inside::Entries(self.json.entries().map(|(key, value)| (key, Self::new(value))).collect())
            }
            Kind::Array => Inside::Elements(self.json.elements().map(Self::new).collect()),
            Kind::Null | Kind::Bool | Kind::Number | Kind::String => Inside::NotKept,
        })
    }
}

/// A value to look into.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Node<'a, 'k> {
    /// One that is walked each time.
    Loose(Json<'a>),
    /// One that remembers.
    Kept(&'k Kept<'a>),
}

impl<'a, 'k> Node<'a, 'k> {
    /// The value itself.
    pub(crate) fn json(self) -> Json<'a> {
        match self {
            Node::Loose(json) => json,
            Node::Kept(kept) => kept.json,
        }
    }

    /// What the value is.
    pub(crate) fn kind(self) -> Kind {
        self.json().kind()
    }

    /// As [`Json::entries`].
    pub(crate) fn entries(self) -> Entries<'a, 'k> {
        match self.inside() {
            Some(Inside::Entries(entries)) => Entries::Kept(entries.iter()),
            _ => Entries::Loose(self.json().entries()),
        }
    }

    /// As [`Json::elements`].
    pub(crate) fn elements(self) -> Elements<'a, 'k> {
        match self.inside() {
            Some(Inside::Elements(elements)) => Elements::Kept(elements.iter()),
            _ => Elements::Loose(self.json().elements()),
        }
    }

    /// As [`Json::get`].
    pub(crate) fn get(self, key: &str) -> Option<Self> {
        self.entries().filter(|(name, _)| name.is(key)).last().map(|(_, value)| value)
    }

    /// The string behind `key`, decoded.
    pub(crate) fn str_at(self, key: &str) -> Option<Cow<'a, str>> {
        self.get(key)?.json().as_str()
    }

    /// The values behind some keys of an object, found in one pass.
    pub(crate) fn get_all<const COUNT: usize>(self, keys: [&str; COUNT]) -> [Option<Self>; COUNT] {
        let mut found = [None; COUNT];
        for (name, value) in self.entries() {
            for (key, found) in keys.iter().zip(&mut found) {
                if name.is(key) {
                    *found = Some(value);
                }
            }
        }
        found
    }

    fn inside(self) -> Option<&'k Inside<'a>> {
        match self {
            Node::Loose(_) => None,
            Node::Kept(kept) => Some(kept.inside()),
        }
    }
}

/// The entries of an object; see [`Node::entries`].
pub(crate) enum Entries<'a, 'k> {
    Loose(json::Entries<'a>),
    Kept(slice::Iter<'k, (Key<'a>, Kept<'a>)>),
}

impl<'a, 'k> Iterator for Entries<'a, 'k> {
    type Item = (Key<'a>, Node<'a, 'k>);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Entries::Loose(entries) => entries.next().map(|(key, value)| (key, Node::Loose(value))),
            Entries::Kept(entries) => entries.next().map(|(key, value)| (*key, Node::Kept(value))),
        }
    }
}

/// The elements of an array; see [`Node::elements`].
pub(crate) enum Elements<'a, 'k> {
    Loose(json::Elements<'a>),
    Kept(slice::Iter<'k, Kept<'a>>),
}

impl<'a, 'k> Iterator for Elements<'a, 'k> {
    type Item = Node<'a, 'k>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Elements::Loose(elements) => elements.next().map(Node::Loose),
            Elements::Kept(elements) => elements.next().map(Node::Kept),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::{Inside, KEPT_BYTES_MAX, Kept, Node};
    use crate::field::{Value, ends, follow_node};
    use crate::json::Json;

    /// What is found in a value: keys and bytes of its entries, elements, and of all that a path leads to.
    fn found(node: Node<'_, '_>, path: &str) -> String {
        let entries: Vec<_> = node.entries().map(|(key, value)| (key.text(), value.json())).collect();
        let elements: Vec<_> = node.elements().map(Node::json).collect();
        let [first, second] = node.get_all(["a", "b"]).map(|value| value.map(Node::json));
        let (mut values, mut lists) = (Vec::<Value<'_>>::new(), Vec::new());
        follow_node(node, path, &mut values);
        ends(node, path, &mut lists);
        let lists: Vec<_> = lists.into_iter().map(|list| (list.json(), list.elements().count())).collect();
        let got = node.get("a").map(Node::json);
        format!(
            "{entries:?} {elements:?} {got:?} {first:?} {second:?} {values:?} {lists:?} {:?}",
            node.str_at("b")
        )
    }

    fn json() -> impl Strategy<Value = String> {
        let key = select(&["a", "b", "a.b", "", "\\u0061", "b.", ".a", "a.a.b"][..]);
        let scalar = select(&["1", "null", "\"b\"", "[]", "{}", "\"}\\\"\""][..]).prop_map(str::to_owned);
        scalar.prop_recursive(5, 48, 5, move |inner| {
            let entry = (key.clone(), inner.clone()).prop_map(|(key, value)| format!("\"{key}\" : {value}"));
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(|values| format!("[{}]", values.join(" ,"))),
                prop::collection::vec(entry, 0..5).prop_map(|entries| format!("{{ {}}}", entries.join(","))),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_kept_is_what_a_walk_finds(
            json in json(),
            paths in prop::collection::vec(select(&["", "a", "b", "a.b", "a.a.b", "a.b.a.b", "b..a"][..]), 4),
        ) {
            let json = Json::new(json.as_bytes());
            let kept = Kept::new(json);
            for path in paths {
                prop_assert_eq!(found(Node::Kept(&kept), path), found(Node::Loose(json), path), "{}", path);
            }
        }
    }

    #[test]
    fn what_is_too_long_is_walked_each_time() {
        for (length, is_kept) in [(KEPT_BYTES_MAX, true), (KEPT_BYTES_MAX + 1, false)] {
            for (before, after) in [(r#"{"a":1,"b":""#, r#""}"#), (r#"["a",{"b":""#, r#""}]"#)] {
                let text = "x".repeat(length - before.len() - after.len());
                let json = format!("{before}{text}{after}");
                let kept = Kept::new(Json::new(json.as_bytes()));
                let (node, loose) = (Node::Kept(&kept), Node::Loose(kept.json));
                assert_eq!(found(node, "b"), found(loose, "b"));
                assert_eq!(!matches!(kept.inside(), Inside::NotKept), is_kept, "{length}");
                let below = node.entries().map(|(_, value)| value).chain(node.elements());
                assert!(below.into_iter().all(|value| matches!(value, Node::Kept(_)) == is_kept));
            }
        }
    }
}
