//! What the contexts of events settle about the rules, remembered.

use std::collections::HashMap;

use crate::condition::Condition;
use crate::presence::{Needed, Ways};

/// How much memory one generation may take. The rules leave something open in some contexts
/// only, so this is room for tens of thousands of them; a cluster has a few thousand.
const GENERATION_BYTES_MAX: usize = 16 << 20;

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
#[derive(Debug, Default)]
pub(crate) struct Settled {
    young: Generation,
    old: Generation,
}

#[derive(Debug, Default)]
struct Generation {
    numbers: HashMap<Box<[u8]>, usize, foldhash::fast::RandomState>,
    opens: Vec<Box<[Open]>>,
    bytes: usize,
}

impl Settled {
    /// What is open in a context; worked out by `settle` if it is new.
    pub(crate) fn of(&mut self, context: &[u8], settle: impl FnOnce() -> Vec<Open>) -> &[Open] {
        let number = match self.young.numbers.get(context) {
            Some(number) => *number,
            None => self.add(context, settle),
        };
        &self.young.opens[number]
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
