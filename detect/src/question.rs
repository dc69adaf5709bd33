//! What is asked of an event, wherever it is written: rules that ask the same share the answer.

use core::hash::{Hash, Hasher};
use core::mem::discriminant;
use std::sync::Arc;

use crate::sigma::{Block, Expr, Item, Test};

/// How many tests of an item count for its hash: lists that begin with the same values and are as
/// long are few.
const HASHED_TESTS_MAX: usize = 4;

/// An item or a block without its place and without the names of selections.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Question<'r> {
    /// Of one field, or of every key and value.
    Item(&'r Item),
    /// Of the elements of a list.
    Block(&'r Block),
}

impl PartialEq for Question<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Item(left), Self::Item(right)) => is_same_item(left, right),
            (Self::Block(left), Self::Block(right)) => is_same_block(left, right),
            (Self::Item(_), Self::Block(_)) | (Self::Block(_), Self::Item(_)) => false,
        }
    }
}

// A number that equals nothing, itself included, makes a question that nobody shares.
impl Eq for Question<'_> {}

impl Hash for Question<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Item(item) => hash_item(item, state),
            Self::Block(block) => hash_block(block, state),
        }
    }
}

fn is_same_item(left: &Item, right: &Item) -> bool {
    left.field == right.field && (Arc::ptr_eq(&left.tests, &right.tests) || left.tests == right.tests)
}

fn is_same_block(left: &Block, right: &Block) -> bool {
    left.list == right.list && left.quantifier == right.quantifier && is_same(&left.body, &right.body)
}

fn is_same(left: &Expr, right: &Expr) -> bool {
    match (without_name(left), without_name(right)) {
        (Expr::All(left), Expr::All(right)) | (Expr::Any(left), Expr::Any(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| is_same(left, right))
        }
        (Expr::Not(left), Expr::Not(right)) => is_same(left, right),
        (Expr::Item(left), Expr::Item(right)) => is_same_item(left, right),
        (Expr::Block(left), Expr::Block(right)) => is_same_block(left, right),
        _ => false,
    }
}

fn without_name(mut expr: &Expr) -> &Expr {
    while let Expr::Named(_, part) = expr {
        expr = part;
    }
    expr
}

fn hash_item<H: Hasher>(item: &Item, state: &mut H) {
    item.field.hash(state);
    item.tests.len().hash(state);
    item.tests.iter().take(HASHED_TESTS_MAX).for_each(|test| hash_test(test, state));
}

fn hash_block<H: Hasher>(block: &Block, state: &mut H) {
    block.list.hash(state);
    hash_expr(&block.body, state);
}

fn hash_expr<H: Hasher>(expr: &Expr, state: &mut H) {
    let expr = without_name(expr);
    discriminant(expr).hash(state);
    match expr {
        Expr::All(parts) | Expr::Any(parts) => parts.iter().for_each(|part| hash_expr(part, state)),
        Expr::Not(part) | Expr::Named(_, part) => hash_expr(part, state),
        Expr::Item(item) => hash_item(item, state),
        Expr::Block(block) => hash_block(block, state),
    }
}

/// What is left out is compared where all else is the same.
fn hash_test<H: Hasher>(test: &Test, state: &mut H) {
    discriminant(test).hash(state);
    match test {
        Test::Text(pattern) => pattern.hash(state),
        Test::Number(text) | Test::FieldRef(text, _) => text.hash(state),
        Test::Regex(regex) => regex.as_str().hash(state),
        Test::Cidr(network) => network.hash(state),
        Test::Time(_, number) => number.hash(state),
        Test::Exists(expected) => expected.hash(state),
        Test::Null | Test::Compare(..) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::sigma::parse;

    /// Whether two selections ask the same, and have the same hash if they do.
    fn is_shared(left: &str, right: &str) -> bool {
        let [left, right] = [left, right].map(condition_of);
        let hash = |question: Question<'_>| {
            let mut hasher = std::hash::DefaultHasher::new();
            question.hash(&mut hasher);
            hasher.finish()
        };
        let (left, right) = (question(&left), question(&right));
        assert!(left != right || hash(left) == hash(right));
        left == right
    }

    fn condition_of(selection: &str) -> Expr {
        let rule = format!(
            "{{title: t, id: 7c0b6f0e-5f0e-4c1e-9d0f-2f1b0f6cc0ff, level: low, \
             logsource: {{product: kubernetes, service: audit}}, \
             detection: {{{selection}, condition: 1 of them}}}}"
        );
        let parsed = parse(Path::new("r.yml"), &rule);
        let condition = parsed.rules.first().and_then(|rule| rule.condition());
        condition.unwrap_or_else(|| panic!("{selection}: {:?}", parsed.problems)).clone()
    }

    fn question(expr: &Expr) -> Question<'_> {
        match without_name(expr) {
            Expr::Item(item) => Question::Item(item),
            Expr::Block(block) => Question::Block(block),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_asks_the_same_is_shared_whatever_it_is_called() {
        assert!(is_shared("a: {verb: [get, list]}", "  b: {verb: [get, list]}"));
        assert!(is_shared("a: {verb|re: 'x+'}", "b: {verb|re: 'x+'}"));
        assert!(is_shared(
            "a: {'container[any]': {image|contains: x, name: [y, z]}}",
            "b: {'container[any]': {image|contains: x,   name: [y, z]}}"
        ));
    }

    #[test]
    fn what_asks_something_else_is_not() {
        let fields = [
            "verb: get",
            "verb: list",
            "verb: [get, list]",
            "verb|cased: get",
            "verb|contains: get",
            "verb|startswith: get",
            "verb|re: get",
            "stage: get",
            "responseStatus.code: 1",
            "responseStatus.code|gt: 1",
            "responseStatus.code|lt: 1",
            "responseStatus.code|gt: 2",
            "verb|fieldref: stage",
            "verb|fieldref|endswith: stage",
            "verb|exists: true",
            "verb|exists: false",
            "verb: null",
            "'container[any]': {name: x}",
            "'container[all]': {name: x}",
            "'container[any]': {name: y}",
            "'container[any]': {name: x, image: y}",
            "'container[any]': {name: x, image: x}",
        ];
        for (number, left) in fields.iter().enumerate() {
            for (other, right) in fields.iter().enumerate() {
                let [left, right] = [left, right].map(|field| format!("a: {{{field}}}"));
                assert_eq!(is_shared(&left, &right), number == other, "{left} {right}");
            }
        }
    }
}
