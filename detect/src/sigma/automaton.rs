//! Says whether an expression finds something in a text, and nothing else.
//!
//! Where it finds something would take a second automaton that runs backwards, and what makes the
//! search of long texts faster takes most of the time to build: values are short.

use std::panic::{RefUnwindSafe, UnwindSafe};

use regex_automata::hybrid::dfa::{self, DFA};
use regex_automata::nfa::thompson::pikevm::{self, PikeVM};
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_automata::util::pool::Pool;
use regex_automata::util::syntax;
use regex_automata::{Input, MatchKind};

/// How little an automaton may gain from what it remembers: after as many new beginnings, with
/// fewer bytes for each of its states, it gives up.
const CLEARS_MAX: usize = 3;
const STATE_BYTES_MIN: usize = 10;

/// What searches write to, one for each thread that searches at once.
type Caches<T> = Pool<T, Box<dyn Fn() -> T + Send + Sync + UnwindSafe + RefUnwindSafe>>;

/// A compiled expression. Its states are made when a text leads to them.
pub(super) struct Automaton {
    /// Nothing where its states would not fit.
    fast: Option<(DFA, Caches<dfa::Cache>)>,
    /// For texts in which the other gives up.
    slow: (PikeVM, Caches<pikevm::Cache>),
}

impl Automaton {
    /// Compiles an expression; nothing if it is wrong or larger than `bytes_max`.
    pub(super) fn new(text: &str, syntax: syntax::Config, bytes_max: usize) -> Option<Self> {
        let config =
            thompson::Config::new().which_captures(WhichCaptures::None).nfa_size_limit(Some(bytes_max));
        let nfa = thompson::Compiler::new().syntax(syntax).configure(config).build(text).ok()?;
        Some(Self { fast: fast(nfa.clone()), slow: slow(nfa)? })
    }

    /// Whether the expression finds something in the text.
    pub(super) fn is_match(&self, text: &str) -> bool {
        let input = Input::new(text).earliest(true);
        let fast = self.fast.as_ref().map(|(dfa, caches)| dfa.try_search_fwd(&mut caches.get(), &input));
        if let Some(Ok(found)) = fast {
            return found.is_some();
        }
        let (vm, caches) = &self.slow;
        vm.is_match(&mut caches.get(), input)
    }
}

fn fast(nfa: NFA) -> Option<(DFA, Caches<dfa::Cache>)> {
    let config = DFA::config()
        .match_kind(MatchKind::LeftmostFirst)
        .unicode_word_boundary(true)
        .minimum_cache_clear_count(Some(CLEARS_MAX))
        .minimum_bytes_per_state(Some(STATE_BYTES_MIN));
    let dfa = DFA::builder().configure(config).build_from_nfa(nfa).ok()?;
    let of_caches = dfa.clone();
    Some((dfa, Pool::new(Box::new(move || of_caches.create_cache()))))
}

fn slow(nfa: NFA) -> Option<(PikeVM, Caches<pikevm::Cache>)> {
    let vm = PikeVM::new_from_nfa(nfa).ok()?;
    let of_caches = vm.clone();
    Some((vm, Pool::new(Box::new(move || of_caches.create_cache()))))
}
