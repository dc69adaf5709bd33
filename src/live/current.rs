//! The rules in force, which a reload replaces as a whole.

use std::sync::Mutex;
use std::thread::{self, ThreadId};

use detect::alert::RawEvent;
use detect::field::Settings;
use detect::redact::Redactor;
use detect::sigma::Rule;
use detect::{Engine, Scratch};

use crate::examiner::Detection;

/// How many scratches wait for work: as many as there are processors, but so many at least and at most. With fewer,
/// some threads begin with nothing again and again; each remembers up to 70 MiB where clients make up all that they say.
const SCRATCHES_MIN: usize = 8;
const SCRATCHES_MAX: usize = 16;

/// Rules, compiled, and what is kept to evaluate with them.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) detection: Detection,
    /// What threads left behind that evaluated before: contexts they know, which are still in the caches of the
    /// processor that each runs on.
    scratches: Mutex<Vec<(ThreadId, Scratch)>>,
    /// How many of them are kept.
    scratches_max: usize,
}

impl Current {
    /// Compiles rules, expressions included, so that no event waits for that.
    pub(crate) fn new(rules: Vec<Rule>, settings: Settings, redactor: Redactor) -> Self {
        let detection =
            Detection::new(Engine::new(rules, settings), "", RawEvent::Include).redacted_by(redactor);
        detection.engine.prepare();
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let scratches_max = processors.clamp(SCRATCHES_MIN, SCRATCHES_MAX);
        Self { detection, scratches: Mutex::default(), scratches_max }
    }

    /// Evaluates events, which takes a scratch: however that ends, it is kept for whoever is next, unless the
    /// evaluation panics. What it counted is for `evaluate` to note.
    pub(crate) fn with_scratch<T>(&self, evaluate: impl FnOnce(&mut Scratch) -> T) -> T {
        let mut scratch = self.scratch();
        let result = evaluate(&mut scratch);
        scratch.blind_counts.fill(0);
        self.give_back(scratch);
        result
    }

    /// What the same thread left behind, if that is there.
    fn scratch(&self) -> Scratch {
        let own = thread::current().id();
        let kept = self.scratches.lock().ok().and_then(|mut scratches| {
            // Otherwise one that has lain for long: whose it is may be busy elsewhere.
            let index = scratches.iter().position(|(of, _)| *of == own).unwrap_or(0);
            (!scratches.is_empty()).then(|| scratches.remove(index).1)
        });
        kept.unwrap_or_else(|| self.detection.engine.scratch())
    }

    fn give_back(&self, scratch: Scratch) {
        if let Ok(mut scratches) = self.scratches.lock()
            && scratches.len() < self.scratches_max
        {
            scratches.push((thread::current().id(), scratch));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn current() -> Current {
        Current::new(Vec::new(), Settings::default(), Redactor::new([7; 32]))
    }

    /// A scratch that can be told from others.
    fn marked(current: &Current, mark: u64) -> Scratch {
        let mut scratch = current.detection.engine.scratch();
        scratch.blind_counts.push(mark);
        scratch
    }

    #[test]
    fn a_thread_has_again_what_it_left_behind_and_otherwise_what_is_there() {
        let current = current();
        current.give_back(marked(&current, 1));
        thread::scope(|scope| {
            scope.spawn(|| {
                current.give_back(marked(&current, 2));
            });
        });
        assert_eq!(current.scratch().blind_counts, [1]);
        assert_eq!(current.scratch().blind_counts, [2]);
        assert!(current.scratch().blind_counts.is_empty());
    }

    #[test]
    fn a_scratch_is_kept_however_an_evaluation_ends_unless_it_panics() {
        let current = current();
        let mark = |scratch: &mut Scratch| scratch.blind_counts.push(3);
        let refused: Result<(), &str> = current.with_scratch(|scratch| {
            mark(scratch);
            Err("the body broke off")
        });
        assert!(refused.is_err());
        assert_eq!(current.scratch().blind_counts, [0], "what it counted is nobody else's");
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            current.with_scratch(|scratch| {
                mark(scratch);
                panic!("on purpose")
            })
        }));
        assert!(panicked.is_err());
        assert!(current.scratch().blind_counts.is_empty());
    }
}
