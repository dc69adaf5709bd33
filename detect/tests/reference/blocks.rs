//! Conditions on the elements of lists, as plainly as they can be said.
//!
//! Lists at raw paths are taken out of the parsed event. What a request writes is listed by
//! the computed lists, which have tests of their own; what is asked of it is decided here.

use detect::Truth;
use detect::derived::{Element, ElementKind, List, Part};
use detect::event::{Event, Key};
use detect::field::{Field, Settings, Sight, View};
use detect::sigma::{Block, Expr, Quantifier};

use super::{Dom, doms, follow, is_hidden, tests_hold};

pub(super) fn holds(block: &Block, dom: &Dom, json: &str) -> Truth {
    let list = List::parse(&block.list);
    if let List::Field(Field::Path(path)) = &list {
        let (elements, hidden) = raw(path, block.quantifier, dom, json);
        return quantified(
            block,
            hidden,
            elements.iter().map(|element| plain(&block.body, element)).collect(),
        );
    }
    let event = Event::parse(json.as_bytes()).unwrap();
    let settings = Settings::default();
    list.read(block.quantifier.position(), View { event: &event, settings: &settings }, |elements| {
        let truths = elements.all.iter().map(|element| written(&block.body, element, list.kind())).collect();
        quantified(block, elements.sight == Sight::Hidden, truths)
    })
}

/// Counts what is true, false and unknown, an unseen element being unknown.
fn quantified(block: &Block, hidden: bool, mut truths: Vec<Truth>) -> Truth {
    if hidden {
        truths.push(Truth::Unknown);
    }
    let has = |truth: Truth| truths.contains(&truth);
    let some = if has(Truth::True) {
        Truth::True
    } else if has(Truth::Unknown) {
        Truth::Unknown
    } else {
        Truth::False
    };
    let every = if has(Truth::False) {
        Truth::False
    } else if has(Truth::Unknown) {
        Truth::Unknown
    } else {
        Truth::True
    };
    match block.quantifier {
        Quantifier::Any | Quantifier::At(_) => some,
        Quantifier::None => !some,
        Quantifier::All if truths.is_empty() => Truth::False,
        Quantifier::All | Quantifier::AllOrEmpty => every,
    }
}

fn raw(path: &str, quantifier: Quantifier, dom: &Dom, json: &str) -> (Vec<Dom>, bool) {
    let (root, rest) = path.split_once('.').unwrap_or((path, ""));
    if Key::from_name(root).is_none() {
        return (elements(dom, path, quantifier), false);
    }
    match dom.get(root) {
        Some(value) => (elements(value, rest, quantifier), false),
        None => (Vec::new(), is_hidden(root, dom, json)),
    }
}

/// The elements of every list at the end of a path.
fn elements(dom: &Dom, path: &str, quantifier: Quantifier) -> Vec<Dom> {
    let mut lists = Vec::new();
    ends(dom, path, &mut lists);
    let chosen = |list: Dom| match (list, quantifier) {
        (Dom::List(elements), Quantifier::At(position)) => {
            let count = elements.len() as i128;
            let position = i128::from(position) + if position < 0 { count } else { 0 };
            let at = |number: usize| number as i128 == position;
            elements.into_iter().enumerate().filter(|(number, _)| at(*number)).map(|(_, one)| one).collect()
        }
        (Dom::List(elements), _) => elements,
        (Dom::Null, _) | (_, Quantifier::At(_)) => vec![],
        (single, _) => vec![single],
    };
    lists.into_iter().flat_map(chosen).collect()
}

fn ends(dom: &Dom, path: &str, found: &mut Vec<Dom>) {
    match dom {
        _ if path.is_empty() => found.push(dom.clone()),
        Dom::List(elements) => elements.iter().for_each(|element| ends(element, path, found)),
        Dom::Map(entries) => {
            let mut keys: Vec<&str> = entries.iter().map(|(key, _)| key.as_str()).collect();
            keys.sort_unstable();
            keys.dedup();
            for key in keys {
                match path.strip_prefix(key) {
                    Some("") => ends(dom.get(key).unwrap(), "", found),
                    Some(rest) if rest.starts_with('.') => ends(dom.get(key).unwrap(), &rest[1..], found),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

/// What is asked of a value of the event.
fn plain(expr: &Expr, element: &Dom) -> Truth {
    let own = |name: &str| if name == "." { String::new() } else { name.replace('"', "") };
    match expr {
        Expr::All(parts) => parts.iter().fold(Truth::True, |truth, part| truth.and(plain(part, element))),
        Expr::Any(parts) => parts.iter().fold(Truth::False, |truth, part| truth.or(plain(part, element))),
        Expr::Not(part) => !plain(part, element),
        Expr::Named(_, part) => plain(part, element),
        Expr::Item(item) => tests_hold(&item.tests, item.field.as_deref().unwrap(), |name| {
            let mut values = Vec::new();
            follow(element, &own(name), &mut values);
            (values, false)
        }),
        Expr::Block(block) => {
            let inner = elements(element, &own(&block.list), block.quantifier);
            quantified(block, false, inner.iter().map(|one| plain(&block.body, one)).collect())
        }
    }
}

/// What is asked of something that a request writes.
fn written(expr: &Expr, element: &Element<'_, '_>, kind: ElementKind) -> Truth {
    let each =
        |parts: &[Expr]| -> Vec<Truth> { parts.iter().map(|part| written(part, element, kind)).collect() };
    match expr {
        Expr::All(parts) => each(parts).into_iter().fold(Truth::True, Truth::and),
        Expr::Any(parts) => each(parts).into_iter().fold(Truth::False, Truth::or),
        Expr::Not(part) => !written(part, element, kind),
        Expr::Named(_, part) => written(part, element, kind),
        Expr::Item(item) => tests_hold(&item.tests, item.field.as_deref().unwrap(), |name| {
            let mut values = Vec::new();
            let sight = element.read(&Part::parse(name, kind), &mut values);
            (doms(&values), sight == Sight::Hidden)
        }),
        Expr::Block(block) => {
            let part = Part::parse(&block.list, kind);
            let inner = element.elements(&part, kind, block.quantifier.position());
            let truths = inner.all.iter().map(|one| written(&block.body, one, kind.inner())).collect();
            quantified(block, inner.sight == Sight::Hidden, truths)
        }
    }
}
