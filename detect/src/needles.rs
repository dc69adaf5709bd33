//! The texts that many items look for in one field, found in one pass over its values: what
//! a field costs hardly depends on how many rules ask about it.
//!
//! Of expressions, the texts are looked for without which they find nothing: few are ever asked.

use std::collections::HashMap;
use std::sync::OnceLock;

use aho_corasick::AhoCorasick;

use crate::matcher::{Sought, Values};
use crate::sigma::Regex;

/// Fewer items than this are asked one by one, unless one has an expression.
const ITEMS_MIN: usize = 2;

/// Texts, and the numbers of the items that look for them.
#[derive(Debug, Default)]
pub(crate) struct Needles {
    whole: HashMap<Box<str>, Vec<usize>, foldhash::fast::RandomState>,
    contained: HashMap<Box<str>, Vec<usize>, foldhash::fast::RandomState>,
    expressions: Vec<(usize, Regex)>,
    item_count: usize,
    search: OnceLock<Option<Search>>,
}

#[derive(Debug)]
struct Search {
    automaton: AhoCorasick,
    /// By the number of a text in the automaton.
    items: Vec<Vec<usize>>,
    /// Items with an expression that needs no text.
    free: Vec<usize>,
}

impl Needles {
    /// Takes what an item looks for.
    pub(crate) fn add(&mut self, item: usize, sought: Sought<'_>) {
        let Sought { whole, contained, expressions, .. } = sought;
        self.item_count += 1;
        for text in whole {
            self.whole.entry(text.into()).or_default().push(item);
        }
        for text in contained {
            self.contained.entry(text.into()).or_default().push(item);
        }
        self.expressions.extend(expressions.into_iter().map(|regex| (item, regex.clone())));
    }

    /// Shows every item that may find something in the values to `found`, and every item that
    /// finds a text; false where items are to be asked one by one.
    pub(crate) fn find(&self, values: &Values<'_>, mut found: impl FnMut(usize)) -> bool {
        let Some(search) = self.search() else { return false };
        values.each_text(|text, folded| {
            self.whole.get(folded).into_iter().flatten().for_each(|item| found(*item));
            for hit in search.automaton.find_overlapping_iter(folded) {
                search.items[hit.pattern().as_usize()].iter().for_each(|item| found(*item));
            }
            if text.is_ascii() {
                search.free.iter().for_each(|item| found(*item));
            } else {
                self.expressions.iter().for_each(|(item, _)| found(*item));
            }
        });
        true
    }

    /// Whether there is so much that it is looked for together.
    pub(crate) fn are_used(&self) -> bool {
        self.item_count >= ITEMS_MIN || !self.expressions.is_empty()
    }

    /// Makes ready what the first search would.
    pub(crate) fn prepare(&self) {
        let _ = self.search();
    }

    fn search(&self) -> Option<&Search> {
        let build = || Search::new(&self.contained, &self.expressions);
        if self.are_used() { self.search.get_or_init(build).as_ref() } else { None }
    }
}

impl Search {
    /// Nothing for more texts than one automaton can look for.
    fn new<S>(contained: &HashMap<Box<str>, Vec<usize>, S>, expressions: &[(usize, Regex)]) -> Option<Self> {
        let mut items: HashMap<&str, Vec<usize>, foldhash::fast::RandomState> =
            contained.iter().map(|(text, items)| (&**text, items.clone())).collect();
        let mut free = Vec::new();
        for (item, regex) in expressions {
            match regex.necessary_texts() {
                Some(texts) => texts.iter().for_each(|text| items.entry(text).or_default().push(*item)),
                None => free.push(*item),
            }
        }
        items.values_mut().for_each(Vec::dedup);
        let automaton = AhoCorasick::new(items.keys()).ok()?;
        Some(Self { automaton, items: items.into_values().collect(), free })
    }
}
