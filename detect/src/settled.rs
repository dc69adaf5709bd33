//! What the contexts of events settle about the rules, remembered.

use core::hash::BuildHasher;
use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

use crate::condition::Condition;
use crate::presence::{Needed, Ways};

/// How much memory one generation may take. The rules leave something open in some contexts
/// only, so this is room for tens of thousands of them; a cluster has a few thousand.
const GENERATION_BYTES_MAX: usize = 16 << 20;

/// How many contexts that have come once are told from new ones.
const ONCE_MAX: usize = 1 << 14;

/// How many contexts are worked out when they come for the first time: those of a cluster, not
/// those of a client that calls itself something else each time.
const AT_ONCE_MAX: usize = 1 << 12;

/// How long a context may be to be worth remembering: those of real clients take less than 1 KiB.
const CONTEXT_BYTES_MAX: usize = 16 << 10;

/// A rule that the context does not rule out, and what is left of its condition.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) rule: usize,
    pub(crate) condition: Condition,
    /// What the body must have for the condition not to be false.
    pub(crate) ways: Ways,
}

/// What is left to ask of events, by their context.
///
/// Two generations, of which the older one is forgotten when the younger is full: contexts
/// that are in use stay, and memory is bounded whatever clients send.
///
/// What is open is worked out when a context comes for the second time once there are many: that
/// costs several times what asking about one event does, and clients may make up new ones each time.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// Hashes of contexts that have come, most of them once.
    once: HashSet<u64, RandomState>,
    young: Generation,
    old: Generation,
}

#[derive(Debug, Default)]
struct Generation {
    numbers: HashMap<Box<[u8]>, usize, RandomState>,
    opens: Vec<Box<[Open]>>,
    bytes: usize,
}

impl Settled {
    /// What is open in a context, worked out by `settle` if need be; nothing where that is not
    /// worth it yet.
    pub(crate) fn of(&mut self, context: &[u8], settle: impl FnOnce() -> Vec<Open>) -> Option<&[Open]> {
        let number = match self.young.numbers.get(context).copied() {
            Some(number) => number,
            None if context.len() > CONTEXT_BYTES_MAX => return None,
            None if self.has_seen_many() && self.is_first(context) => return None,
            None => self.add(context, settle),
        };
        self.young.opens.get(number).map(|open| &**open)
    }

    fn has_seen_many(&self) -> bool {
        !self.old.opens.is_empty() || self.young.opens.len() >= AT_ONCE_MAX
    }

    fn is_first(&mut self, context: &[u8]) -> bool {
        if self.old.numbers.contains_key(context) {
            return false;
        }
        if self.once.len() == ONCE_MAX {
            self.once.clear();
        }
        self.once.insert(self.once.hasher().hash_one(context))
    }

    fn add(&mut self, context: &[u8], settle: impl FnOnce() -> Vec<Open>) -> usize {
        let open = self.old.take(context).unwrap_or_else(|| settle().into());
        let bytes = context.len() + open.iter().map(Open::bytes).sum::<usize>() + ENTRY_BYTES;
        if self.young.bytes + bytes > GENERATION_BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        let number = self.young.opens.len();
        self.young.bytes += bytes;
        self.young.opens.push(open);
        self.young.numbers.insert(context.into(), number);
        number
    }
}

/// What an entry takes besides its context and what is open.
const ENTRY_BYTES: usize = 64;

impl Generation {
    fn take(&mut self, context: &[u8]) -> Option<Box<[Open]>> {
        let number = self.numbers.remove(context)?;
        Some(std::mem::take(&mut self.opens[number]))
    }
}

impl Open {
    fn bytes(&self) -> usize {
        let ways = self.ways.iter().map(|way| size_of::<Needed>() + size_of_val(&**way));
        size_of::<Self>() + self.condition.bytes() + ways.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::truth::Truth;

    fn open() -> Vec<Open> {
        vec![Open { rule: 0, condition: Condition::Known(Truth::Unknown), ways: Ways::new() }]
    }

    fn number_of_open(settled: &mut Settled, context: &[u8]) -> Option<usize> {
        settled.of(context, open).map(<[_]>::len)
    }

    /// As it is once it has seen many.
    fn full() -> Settled {
        let mut settled = Settled::default();
        for number in 0..AT_ONCE_MAX as u64 {
            assert_eq!(number_of_open(&mut settled, &[&[b'-'][..], &number.to_le_bytes()].concat()), Some(1));
        }
        settled
    }

    #[test]
    fn contexts_that_never_come_again_are_not_remembered() {
        let mut settled = full();
        for number in 0..2 * ONCE_MAX {
            assert!(settled.of(&number.to_le_bytes(), || panic!("nothing to gain")).is_none());
        }
        assert!(settled.once.len() <= ONCE_MAX);
        assert_eq!(number_of_open(&mut settled, b"a"), None);
        assert_eq!(number_of_open(&mut settled, b"a"), Some(1));
        assert_eq!(settled.of(b"a", || panic!("known")).map(<[_]>::len), Some(1));
    }

    #[test]
    fn what_is_in_use_stays_however_much_comes() {
        let mut settled = full();
        let mut context = vec![0; CONTEXT_BYTES_MAX];
        let _ = (number_of_open(&mut settled, b"a"), number_of_open(&mut settled, b"a"));
        for number in 0..3000_u16 {
            context[..2].copy_from_slice(&number.to_le_bytes());
            assert_eq!(number_of_open(&mut settled, &context), None);
            assert_eq!(number_of_open(&mut settled, &context), Some(1));
            assert_eq!(settled.of(b"a", || panic!("forgotten")).map(<[_]>::len), Some(1));
            for generation in [&settled.young, &settled.old] {
                let number = generation.numbers.len();
                assert!(generation.bytes <= GENERATION_BYTES_MAX, "{number}");
                assert!(number <= GENERATION_BYTES_MAX / CONTEXT_BYTES_MAX + 1 + AT_ONCE_MAX);
            }
        }
        assert!(!settled.old.numbers.is_empty());
    }

    #[test]
    fn a_context_of_any_length_is_not_remembered() {
        let mut settled = Settled::default();
        let context = vec![0; CONTEXT_BYTES_MAX + 1];
        for _ in 0..3 {
            assert!(settled.of(&context, || panic!("not worth it")).is_none());
        }
        assert!(settled.once.is_empty() && settled.young.numbers.is_empty());
    }
}
