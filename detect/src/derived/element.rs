//! The elements of a list, one by one, whatever shape the list is written in.
//!
//! In an event and in most patches an element is one value. A JSON Patch may write one
//! element in several operations, so an element is a set of trees: what the operations put
//! in one position, each on its own and all of them together. Several ways to put the
//! operations together are several elements: none of them may hide another.

use std::collections::BTreeMap;

use super::pod::{each_container_list, each_spec};
use super::written::{Listed, Tree, Written, is_deletion};
use super::{Derived, Known, container, find, rbac};
use crate::event::Key;
use crate::field::{Field, Sight, Value, View, follow, sight_of};
use crate::json::Kind;
use crate::kept::Node;

/// A list as a rule names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum List {
    /// `container`: the containers of all three lists.
    Containers,
    /// `rbac.subject`: who a binding names.
    Subjects,
    /// `rbac.rule`: what a role allows.
    Rules,
    /// What stands in a field.
    Field(Field),
}

/// What an element is, which decides what names mean in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ElementKind {
    /// A value of the event.
    Plain,
    /// A value that the request writes.
    Written,
    /// A container: `image.registry` and the like are computed.
    Container,
}

/// A part of an element as a rule names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// A dotted path; empty for the element itself.
    Path(String),
    /// A field computed from a container.
    Computed(Derived),
}

/// One element of a list.
#[derive(Clone, Debug)]
pub struct Element<'a, 't>(Content<'a, 't>);

#[derive(Clone, Debug)]
enum Content<'a, 't> {
    Value(Value<'a>),
    Tree(Tree<'a, 't>),
    Trees(Vec<Tree<'a, 't>>),
}

/// The elements that an event shows.
#[derive(Debug)]
pub struct Elements<'a, 't> {
    /// In the order of the event.
    pub all: Vec<Element<'a, 't>>,
    /// Whether there may be more.
    pub sight: Sight,
}

impl List {
    /// Understands the name of a list in an event.
    pub fn parse(name: &str) -> Self {
        match name {
            "container" => List::Containers,
            "rbac.subject" => List::Subjects,
            "rbac.rule" => List::Rules,
            name => List::Field(Field::parse(name)),
        }
    }

    /// What its elements are.
    pub fn kind(&self) -> ElementKind {
        match self {
            List::Containers => ElementKind::Container,
            List::Field(Field::Path(_)) => ElementKind::Plain,
            List::Subjects | List::Rules | List::Field(Field::Derived(..)) => ElementKind::Written,
        }
    }

    /// Shows the elements to `look`: all of them, or of each list the one at a position,
    /// which counts from the end if it is negative.
    pub fn read<'a, R>(
        &self,
        position: Option<i64>,
        view: View<'a>,
        look: impl FnOnce(&Elements<'a, '_>) -> R,
    ) -> R {
        look(&self.elements(position, &Known::new(view)))
    }

    /// The same elements, of an event of which something may be known already.
    pub(crate) fn elements<'a, 't>(&self, position: Option<i64>, known: &'t Known<'a>) -> Elements<'a, 't> {
        let mut lists = Lists::new(position, self.kind());
        lists.sight = match self {
            List::Field(Field::Path(path)) => raw(path, known, &mut lists),
            List::Field(Field::Derived(Derived::Pod, path)) => {
                each_spec(known, |spec| lists.below(0, spec, path))
            }
            List::Field(Field::Derived(Derived::Written, path)) => {
                let written = known.written();
                written.trees().fold(written.sight, |sight, tree| sight.and(lists.below(0, tree, path)))
            }
            List::Field(Field::Derived(Derived::Container, path)) => {
                each_container_list(known, |number, list| {
                    list.elements().fold(list.sight(), |sight, one| sight.and(lists.below(number, one, path)))
                })
            }
            List::Field(Field::Derived(Derived::RbacRule, path)) if rbac::is_role(known) => {
                lists.each_of("rules", path, known.written())
            }
            List::Field(field) => {
                let mut values = Vec::new();
                let sight = field.read_known(known, &mut values);
                lists.values(values);
                sight
            }
            List::Containers => each_container_list(known, |number, list| {
                lists.add(number, list);
                list.sight()
            }),
            List::Subjects if rbac::is_binding(known) => lists.all_of("subjects", known.written()),
            List::Rules if rbac::is_role(known) => lists.all_of("rules", known.written()),
            List::Subjects | List::Rules => Sight::Clear,
        };
        lists.finish()
    }
}

impl Part {
    /// Understands a name within an element; `.` is the element itself.
    pub fn parse(name: &str, kind: ElementKind) -> Self {
        if name == "." {
            return Part::Path(String::new());
        }
        let computed = match kind {
            ElementKind::Container => find(&format!("container.{name}")),
            ElementKind::Plain | ElementKind::Written => None,
        };
        match computed {
            Some(Field::Derived(Derived::Container, path)) => Part::Path(path),
            Some(Field::Derived(derived, _)) => Part::Computed(derived),
            Some(Field::Path(_)) | None => Part::Path(name.replace('"', "")),
        }
    }
}

impl ElementKind {
    /// What the elements of a list within such an element are.
    #[must_use]
    pub fn inner(self) -> Self {
        if self == ElementKind::Plain { self } else { ElementKind::Written }
    }
}

impl<'a, 't> Element<'a, 't> {
    /// Appends the values of a part of the element to `values`.
    pub fn read(&self, part: &Part, values: &mut Vec<Value<'a>>) -> Sight {
        let one = |tree: &Tree<'a, 't>, values: &mut Vec<Value<'a>>| match part {
            Part::Path(path) => tree.follow(path, values),
            Part::Computed(derived) => container::of_one(*derived, *tree, values),
        };
        match (&self.0, part) {
            (Content::Value(Value::Json(json)), Part::Path(path)) => follow(*json, path, values),
            (Content::Value(text), Part::Path(path)) if path.is_empty() => values.push(text.clone()),
            (Content::Value(_), _) => {}
            (Content::Tree(tree), _) => return one(tree, values),
            (Content::Trees(trees), _) => {
                return trees.iter().fold(Sight::Clear, |sight, tree| sight.and(one(tree, values)));
            }
        }
        Sight::Clear
    }

    /// The elements of a list within the element; of each list the one at `position`, if
    /// that is given.
    pub fn elements(&self, part: &Part, kind: ElementKind, position: Option<i64>) -> Elements<'a, 't> {
        let mut lists = Lists::new(position, kind.inner());
        match (part, &self.0) {
            (Part::Computed(_), _) => {
                let mut values = Vec::new();
                lists.sight = self.read(part, &mut values);
                lists.values(values);
            }
            (Part::Path(path), Content::Tree(tree)) => lists.sight = lists.below(0, *tree, path),
            (Part::Path(path), Content::Trees(trees)) => {
                lists.sight =
                    trees.iter().fold(Sight::Clear, |sight, tree| sight.and(lists.below(0, *tree, path)));
            }
            (Part::Path(path), Content::Value(Value::Json(json))) => {
                lists.sight = lists.below(0, Tree::of(Node::Loose(*json)), path);
            }
            (Part::Path(path), Content::Value(text)) if path.is_empty() => lists.values(vec![text.clone()]),
            (Part::Path(_), Content::Value(_)) => {}
        }
        lists.finish()
    }
}

/// Lists on their way to becoming elements.
struct Lists<'a, 't> {
    position: Option<i64>,
    kind: ElementKind,
    elements: Vec<Element<'a, 't>>,
    /// The lists that are written whole.
    whole: Vec<(usize, Node<'a, 't>)>,
    /// What patches put in one position of one list, or in one that cannot be told.
    patched: BTreeMap<(usize, Option<usize>), Patched<'a, 't>>,
    sight: Sight,
    hides_position: bool,
}

#[derive(Default)]
struct Patched<'a, 't> {
    wholes: Vec<Tree<'a, 't>>,
    parts: Vec<Tree<'a, 't>>,
}

impl<'a, 't> Lists<'a, 't> {
    fn new(position: Option<i64>, kind: ElementKind) -> Self {
        Self {
            position,
            kind,
            elements: Vec::new(),
            whole: Vec::new(),
            patched: BTreeMap::new(),
            sight: Sight::Clear,
            hides_position: false,
        }
    }

    /// Adds what stands below a tree.
    fn below(&mut self, number: usize, tree: Tree<'a, 't>, path: &str) -> Sight {
        let mut ends = Vec::new();
        tree.ends(path, &mut ends);
        ends.into_iter().fold(Sight::Clear, |sight, end| {
            self.add(number, end);
            sight.and(end.sight())
        })
    }

    fn all_of(&mut self, key: &str, written: &'t Written<'a>) -> Sight {
        written.trees().filter_map(|tree| tree.get(key)).fold(written.sight, |sight, list| {
            self.add(0, list);
            sight.and(list.sight())
        })
    }

    fn each_of(&mut self, key: &str, path: &str, written: &'t Written<'a>) -> Sight {
        written.trees().filter_map(|tree| tree.get(key)).fold(written.sight, |sight, list| {
            let sight = sight.and(list.sight());
            list.elements().fold(sight, |sight, one| sight.and(self.below(0, one, path)))
        })
    }

    /// Values that are elements by themselves.
    fn values(&mut self, values: Vec<Value<'a>>) {
        let values = values.into_iter().filter(
            |value| !matches!(value, Value::Json(json) if json.is_null() || json.kind() == Kind::Array),
        );
        let elements = values.map(|value| Element(Content::Value(value)));
        match self.position {
            None => self.elements.extend(elements),
            Some(position) => self.elements.extend(at(elements, position)),
        }
    }

    /// Adds a list; `number` tells lists of one kind apart.
    fn add(&mut self, number: usize, list: Tree<'a, 't>) {
        match (list.listed(), self.position) {
            (Listed::Nothing, _) | (Listed::Single(_), Some(_)) => {}
            (Listed::Single(tree), None) => self.elements.push(Element(Content::Tree(tree))),
            (Listed::Whole(list), Some(position)) => {
                let element = at(list.elements(), position).filter(|element| !self.is_left_out(*element));
                self.elements.extend(element.map(|element| Element(Content::Tree(Tree::of(element)))));
            }
            (Listed::Whole(list), None) => {
                let is_plain = self.kind == ElementKind::Plain;
                let kept = list.elements().filter(|element| is_plain || !is_deletion(*element));
                self.elements.extend(kept.map(|element| Element(Content::Tree(Tree::of(element)))));
                self.whole.push((number, list));
            }
            // Where in the list it ends up depends on what was there before.
            (Listed::Patched(..), Some(_)) => self.hides_position = true,
            (Listed::Patched(position, tree), None) => match tree.value() {
                Some(element) if self.is_left_out(Node::Loose(element)) => {}
                Some(_) => {
                    self.elements.push(Element(Content::Tree(tree)));
                    self.patched.entry((number, position)).or_default().wholes.push(tree);
                }
                None => self.patched.entry((number, position)).or_default().parts.push(tree),
            },
        }
    }

    fn is_left_out(&self, element: Node<'_, '_>) -> bool {
        self.kind != ElementKind::Plain && is_deletion(element)
    }

    /// Puts together what patches change of lists that they write whole as well.
    fn join_wholes(&mut self) {
        if self.patched.values().all(|patched| patched.parts.is_empty()) {
            return;
        }
        for (number, list) in std::mem::take(&mut self.whole) {
            for (position, element) in list.elements().enumerate() {
                if let Some(patched) = self.patched.get_mut(&(number, Some(position)))
                    && !(self.kind != ElementKind::Plain && is_deletion(element))
                {
                    patched.wholes.push(Tree::of(element));
                }
            }
        }
    }

    fn finish(mut self) -> Elements<'a, 't> {
        self.join_wholes();
        let mut loose: BTreeMap<usize, Loose<'a, 't>> = BTreeMap::new();
        for ((number, position), Patched { wholes, parts }) in self.patched {
            let loose = loose.entry(number).or_default();
            loose.is_placeless |= position.is_none();
            loose.has_parts |= !parts.is_empty();
            loose.trees.extend(&parts);
            if position.is_none() {
                loose.trees.extend(&wholes);
            }
            if parts.is_empty() {
                continue;
            }
            if !wholes.is_empty() {
                self.elements.push(Element(Content::Trees([parts.as_slice(), &wholes].concat())));
            }
            self.elements.push(Element(Content::Trees(parts)));
        }
        // What is put at the end or counted from there may be what other operations change.
        for loose in loose.into_values().filter(|loose| loose.is_placeless && loose.has_parts) {
            self.elements.push(Element(Content::Trees(loose.trees)));
        }
        let sight = if self.hides_position { Sight::Hidden } else { self.sight };
        Elements { all: self.elements, sight }
    }
}

/// What a patch puts into one list without saying, or while changing, where it ends up.
#[derive(Default)]
struct Loose<'a, 't> {
    is_placeless: bool,
    has_parts: bool,
    trees: Vec<Tree<'a, 't>>,
}

fn raw<'a, 't>(path: &str, known: &'t Known<'a>, lists: &mut Lists<'a, 't>) -> Sight {
    let event = known.event();
    let (root, rest) = path.split_once('.').unwrap_or((path, ""));
    let Some(key) = Key::from_name(root) else {
        return lists.below(0, Tree::of(Node::Loose(event.json())), path);
    };
    match known.top_level_for(key, rest) {
        Some(value) => lists.below(0, Tree::of(value), rest),
        None => sight_of(event, key),
    }
}

/// The element at a position, which counts from the end if it is negative.
fn at<T>(mut elements: impl Iterator<Item = T>, position: i64) -> Option<T> {
    if let Ok(position) = usize::try_from(position) {
        return elements.nth(position);
    }
    let mut all: Vec<T> = elements.collect();
    let back = usize::try_from(position.unsigned_abs()).ok()?;
    let from_start = all.len().checked_sub(back)?;
    Some(all.swap_remove(from_start))
}
