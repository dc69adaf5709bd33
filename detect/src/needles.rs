//! The texts that many items look for in one field, found in one pass over its values: what
//! a field costs hardly depends on how many rules ask about it.

use std::collections::HashMap;
use std::sync::OnceLock;

use aho_corasick::AhoCorasick;

use crate::matcher::{Matcher, Values};

/// Fewer items than this are asked one by one.
const ITEMS_MIN: usize = 2;

/// Texts, and the numbers of the items that look for them.
#[derive(Debug, Default)]
pub(crate) struct Needles {
    whole: HashMap<Box<str>, Vec<usize>, foldhash::fast::RandomState>,
    contained: HashMap<String, Vec<usize>>,
    item_count: usize,
    search: OnceLock<Option<Search>>,
}

#[derive(Debug)]
struct Search {
    automaton: AhoCorasick,
    /// By the number of a text in the automaton.
    items: Vec<Vec<usize>>,
}

impl Needles {
    /// Takes the texts of an item, if they are all that it asks for.
    pub(crate) fn add(&mut self, item: usize, matcher: &Matcher) {
        let Some((whole, contained)) = matcher.plain_texts() else { return };
        self.item_count += 1;
        for text in whole {
            self.whole.entry(text.clone()).or_default().push(item);
        }
        for text in contained {
            self.contained.entry(text.clone()).or_default().push(item);
        }
    }

    /// Shows every item that finds a text in the values to `found`; false where items are to be
    /// asked one by one.
    pub(crate) fn find(&self, values: &Values<'_>, mut found: impl FnMut(usize)) -> bool {
        let Some(search) = self.search() else { return false };
        values.each_folded(|text| {
            self.whole.get(text).into_iter().flatten().for_each(|item| found(*item));
            for hit in search.automaton.find_overlapping_iter(text) {
                search.items[hit.pattern().as_usize()].iter().for_each(|item| found(*item));
            }
        });
        true
    }

    /// Whether there are so many items that their texts are looked for together.
    pub(crate) fn are_used(&self) -> bool {
        self.item_count >= ITEMS_MIN
    }

    /// Makes ready what the first search would.
    pub(crate) fn prepare(&self) {
        let _ = self.search();
    }

    fn search(&self) -> Option<&Search> {
        let build = || Search::new(&self.contained);
        if self.are_used() { self.search.get_or_init(build).as_ref() } else { None }
    }
}

impl Search {
    /// Nothing for more texts than one automaton can look for.
    fn new(contained: &HashMap<String, Vec<usize>>) -> Option<Self> {
        let automaton = AhoCorasick::new(contained.keys()).ok()?;
        Some(Self { automaton, items: contained.values().cloned().collect() })
    }
}
