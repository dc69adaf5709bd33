//! Namespaces, told apart by what rules make of them and by nothing else: they come and go,
//! and rules know few by name.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::event::{Event, Key};
use crate::json::{Json, Kind};
use crate::truth::Truth;

/// How many namespaces are remembered; all are forgotten when there are more.
const REMEMBERED_MAX: usize = 1 << 14;

/// How long a namespace may be, as it is written, to be remembered: Kubernetes takes 63 characters.
const WRITTEN_BYTES_MAX: usize = 256;

/// How many classes are told apart: few rules name a namespace, and most of them the same.
const CLASSES_MAX: usize = 1 << 10;

/// The classes of namespaces.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    /// By namespace, as it is written: the number of its class.
    numbers: HashMap<Box<[u8]>, usize, RandomState>,
    /// By number: whether each item that asks about namespaces holds.
    classes: Vec<Box<[Truth]>>,
}

impl Namespaces {
    /// The number of the class that the namespace of an event is in. `ask` says whether items hold;
    /// nothing if there are too many classes.
    pub(crate) fn class_of(
        &mut self,
        event: &Event<'_>,
        ask: impl FnOnce() -> Box<[Truth]>,
    ) -> Option<usize> {
        self.class_of_written(written(event), ask)
    }

    fn class_of_written(
        &mut self,
        written: Option<&[u8]>,
        ask: impl FnOnce() -> Box<[Truth]>,
    ) -> Option<usize> {
        let written = written.filter(|written| written.len() <= WRITTEN_BYTES_MAX);
        if let Some(number) = written.and_then(|written| self.numbers.get(written)) {
            return Some(*number);
        }
        let number = self.number(ask())?;
        if let Some(written) = written {
            if self.numbers.len() == REMEMBERED_MAX {
                self.numbers.clear();
            }
            self.numbers.insert(written.into(), number);
        }
        Some(number)
    }

    /// Whether items hold in the namespaces of a class.
    pub(crate) fn truths(&self, class: usize) -> &[Truth] {
        self.classes.get(class).map_or(&[], |truths| truths)
    }

    fn number(&mut self, truths: Box<[Truth]>) -> Option<usize> {
        let known = self.classes.iter().position(|class| *class == truths);
        if known.is_none() && self.classes.len() < CLASSES_MAX {
            self.classes.push(truths);
            return Some(self.classes.len() - 1);
        }
        known
    }
}

/// The namespace as it is written, or nothing written; nothing where it is not in its usual place.
fn written<'a>(event: &Event<'a>) -> Option<&'a [u8]> {
    let Some(object) = event.get(Key::ObjectRef) else { return Some(b"") };
    (object.kind() == Kind::Object).then(|| object.get("namespace").map_or(&b""[..], Json::bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class_of(namespaces: &mut Namespaces, written: &[u8], truth: Truth) -> Option<usize> {
        namespaces.class_of_written(Some(written), || [truth].into())
    }

    #[test]
    fn namespaces_of_which_the_same_holds_are_one() {
        let mut namespaces = Namespaces::default();
        assert_eq!(class_of(&mut namespaces, b"a", Truth::False), Some(0));
        assert_eq!(class_of(&mut namespaces, b"b", Truth::True), Some(1));
        assert_eq!(class_of(&mut namespaces, b"c", Truth::False), Some(0));
        assert_eq!(namespaces.class_of_written(Some(b"b"), || panic!("known")), Some(1));
        assert_eq!(namespaces.class_of_written(None, || [Truth::Unknown].into()), Some(2));
        assert_eq!(namespaces.truths(1), [Truth::True]);
    }

    #[test]
    fn memory_is_bounded_whatever_namespaces_there_are() {
        let mut namespaces = Namespaces::default();
        for number in 0..2 * REMEMBERED_MAX {
            let _ = class_of(&mut namespaces, &number.to_le_bytes(), Truth::False);
            let bits = (0..usize::BITS).map(|bit| Truth::from(number >> bit & 1 == 1));
            let class = namespaces.class_of_written(None, || bits.collect());
            assert_eq!(class.is_some(), number < CLASSES_MAX - 1);
        }
        assert!(namespaces.numbers.len() <= REMEMBERED_MAX && namespaces.classes.len() == CLASSES_MAX);
        let long = [b'x'; WRITTEN_BYTES_MAX + 1];
        assert_eq!(class_of(&mut namespaces, &long, Truth::False), Some(0));
        assert!(!namespaces.numbers.contains_key(&long[..]));
    }
}
