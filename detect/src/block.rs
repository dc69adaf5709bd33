//! Conditions on the elements of a list, compiled: each element is looked at on its own.
//!
//! Nothing is remembered between elements. The rule bounds the depth, the event the number
//! of elements, and an element is walked at most once for each test of it.

use crate::derived::{Element, ElementKind, Elements, Known, List, Part};
use crate::field::{Field, Sight, Value};
use crate::matcher::{Matcher, Values};
use crate::presence::{self, Names, Needed, Ways};
use crate::sigma::{self, Expr, Item, Quantifier};
use crate::truth::Truth;

/// A condition on the elements of a list of the event.
#[derive(Debug)]
pub(crate) struct Block {
    list: List,
    each: Each,
}

/// What is asked of which elements.
#[derive(Debug)]
struct Each {
    kind: ElementKind,
    quantifier: Quantifier,
    body: Node,
}

#[derive(Debug)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Test(Box<Test>),
    Each(Part, Box<Each>),
}

#[derive(Debug)]
struct Test {
    name: String,
    part: Part,
    matcher: Matcher,
}

impl Block {
    /// Compiles a block that stands outside of others.
    pub(crate) fn new(block: &sigma::Block) -> Self {
        let list = List::parse(&block.list);
        let each = Each::new(block, list.kind(), "");
        Self { list, each }
    }

    /// What the body of a request must have for it not to be false.
    pub(crate) fn ways(&self, names: &mut Names) -> Ways {
        let list = match &self.list {
            List::Containers | List::Subjects | List::Rules => Needed::default(),
            List::Field(field) => match names.needed_by_field(field) {
                // It may lie elsewhere.
                needed if needed.is_empty() => return presence::free(),
                needed => needed,
            },
        };
        self.each.ways(list, names)
    }

    /// Makes ready what the first question would.
    pub(crate) fn prepare(&self) {
        self.each.body.prepare();
    }

    /// Whether its list is a part of pod specs.
    pub(crate) fn is_of_pods(&self) -> bool {
        match &self.list {
            List::Containers => true,
            List::Field(Field::Derived(derived, _)) => derived.is_of_pods(),
            List::Field(Field::Path(_)) | List::Subjects | List::Rules => false,
        }
    }

    /// The field that its list is, if it is one.
    pub(crate) fn field(&self) -> Option<&Field> {
        match &self.list {
            List::Field(field) => Some(field),
            List::Containers | List::Subjects | List::Rules => None,
        }
    }

    /// Whether it holds in an event that shows that there is no list.
    pub(crate) fn of_absence(&self) -> Truth {
        self.each.truth(&Elements { all: Vec::new(), sight: Sight::Clear })
    }

    /// Whether it holds in the event.
    pub(crate) fn truth(&self, known: &Known<'_>) -> Truth {
        self.each.truth(&self.list.elements(self.each.quantifier.position(), known))
    }

    /// Shows to `show` what made it hold: the values of the first element that suffices.
    pub(crate) fn evidence<'e>(&self, known: &Known<'e>, show: &mut dyn FnMut(&str, &Value<'e>)) {
        self.each.evidence(&self.list.elements(self.each.quantifier.position(), known), show);
    }
}

impl Each {
    fn new(block: &sigma::Block, kind: ElementKind, before: &str) -> Self {
        let name = format!("{before}{}[{}]", block.list, block.quantifier);
        let body = Node::new(&block.body, kind, &name);
        Self { kind, quantifier: block.quantifier, body }
    }

    fn ways(&self, list: Needed, names: &mut Names) -> Ways {
        match self.quantifier {
            Quantifier::AllOrEmpty | Quantifier::None => presence::free(),
            Quantifier::Any | Quantifier::All | Quantifier::At(_) => {
                presence::all_of([vec![list], self.body.ways(names)].into_iter())
            }
        }
    }

    fn truth(&self, elements: &Elements<'_, '_>) -> Truth {
        let truths = elements.all.iter().map(|element| self.body.truth(element, self.kind));
        self.quantifier.truth(elements.sight, truths)
    }

    fn evidence<'e>(&self, elements: &Elements<'e, '_>, show: &mut dyn FnMut(&str, &Value<'e>)) {
        if self.quantifier == Quantifier::None {
            return;
        }
        let holds = |element: &&Element<'e, '_>| self.body.truth(element, self.kind) == Truth::True;
        if let Some(element) = elements.all.iter().find(holds) {
            self.body.evidence(element, self.kind, show);
        }
    }
}

impl Node {
    fn new(expr: &Expr, kind: ElementKind, before: &str) -> Self {
        let nodes = |parts: &[Expr]| parts.iter().map(|part| Node::new(part, kind, before)).collect();
        match expr {
            Expr::All(parts) => Node::All(nodes(parts)),
            Expr::Any(parts) => Node::Any(nodes(parts)),
            Expr::Not(part) => Node::Not(Box::new(Node::new(part, kind, before))),
            Expr::Named(_, part) => Node::new(part, kind, before),
            Expr::Item(item) => Node::Test(Box::new(Test::new(item, kind, before))),
            Expr::Block(block) => {
                let each = Each::new(block, kind.inner(), &format!("{before}."));
                Node::Each(Part::parse(&block.list, kind), Box::new(each))
            }
        }
    }

    fn ways(&self, names: &mut Names) -> Ways {
        let path_of = |part: &Part| match part {
            Part::Path(path) => path.clone(),
            Part::Computed(derived) => presence::path_behind(*derived).to_owned(),
        };
        match self {
            Node::All(parts) => presence::all_of(parts.iter().map(|part| part.ways(names))),
            Node::Any(parts) => presence::any_of(parts.iter().map(|part| part.ways(names))),
            Node::Not(_) => presence::free(),
            Node::Test(test) if test.matcher.of_absence() != Truth::False => presence::free(),
            Node::Test(test) => vec![names.needed_by_path(&path_of(&test.part))],
            Node::Each(list, each) => {
                let list = names.needed_by_path(&path_of(list));
                each.ways(list, names)
            }
        }
    }

    fn prepare(&self) {
        match self {
            Node::All(parts) | Node::Any(parts) => parts.iter().for_each(Node::prepare),
            Node::Not(part) => part.prepare(),
            Node::Test(test) => test.matcher.prepare(),
            Node::Each(_, each) => each.body.prepare(),
        }
    }

    fn truth(&self, element: &Element<'_, '_>, kind: ElementKind) -> Truth {
        match self {
            Node::All(parts) => Truth::all(parts.iter().map(|part| part.truth(element, kind))),
            Node::Any(parts) => Truth::any(parts.iter().map(|part| part.truth(element, kind))),
            Node::Not(part) => !part.truth(element, kind),
            Node::Test(test) => test.truth(element, kind),
            Node::Each(list, each) => each.truth(&element.elements(list, kind, each.quantifier.position())),
        }
    }

    fn evidence<'e>(
        &self,
        element: &Element<'e, '_>,
        kind: ElementKind,
        show: &mut dyn FnMut(&str, &Value<'e>),
    ) {
        match self {
            Node::Not(_) => {}
            Node::All(parts) | Node::Any(parts) => {
                let holding = parts.iter().filter(|part| part.truth(element, kind) == Truth::True);
                holding.for_each(|part| part.evidence(element, kind, show));
            }
            Node::Test(test) => {
                let mut values = Vec::new();
                let _ = element.read(&test.part, &mut values);
                if let Some(value) = values.iter().find(|value| test.matcher.matches_value(value)) {
                    show(&test.name, value);
                }
            }
            Node::Each(list, each) => {
                let elements = element.elements(list, kind, each.quantifier.position());
                each.evidence(&elements, show);
            }
        }
    }
}

impl Test {
    fn new(item: &Item, kind: ElementKind, before: &str) -> Self {
        let field = item.field.as_deref().unwrap_or(".");
        let name = if field == "." { before.to_owned() } else { format!("{before}.{field}") };
        Self { name, part: Part::parse(field, kind), matcher: Matcher::new(&item.tests, false) }
    }

    fn truth(&self, element: &Element<'_, '_>, kind: ElementKind) -> Truth {
        let mut values = Vec::new();
        let sight = element.read(&self.part, &mut values);
        self.matcher.truth(&Values::new(values), sight, |other| {
            let mut others = Vec::new();
            let sight = element.read(&Part::parse(other, kind), &mut others);
            (others, sight)
        })
    }
}
