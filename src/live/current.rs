//! The rules in force, which a reload replaces as a whole.

use std::sync::Mutex;

use detect::alert::RawEvent;
use detect::field::Settings;
use detect::redact::Redactor;
use detect::sigma::Rule;
use detect::{Engine, Scratch};

use crate::examiner::Detection;

/// How many scratches wait for work at most: each remembers some 32 MiB of contexts when full.
const SCRATCHES_MAX: usize = 8;

/// Rules, compiled, and what is kept to evaluate with them.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) detection: Detection,
    /// What threads left behind that evaluated before: contexts they know.
    scratches: Mutex<Vec<Scratch>>,
}

impl Current {
    /// Compiles rules, expressions included, so that no event waits for that.
    pub(crate) fn new(rules: Vec<Rule>, settings: Settings, redactor: Redactor) -> Self {
        let detection =
            Detection::new(Engine::new(rules, settings), "", RawEvent::Include).redacted_by(redactor);
        detection.engine.prepare();
        Self { detection, scratches: Mutex::default() }
    }

    /// Room to evaluate events in; to be given back.
    pub(crate) fn scratch(&self) -> Scratch {
        let kept = self.scratches.lock().ok().and_then(|mut scratches| scratches.pop());
        kept.unwrap_or_else(|| self.detection.engine.scratch())
    }

    /// Keeps a scratch for whoever is next.
    pub(crate) fn give_back(&self, scratch: Scratch) {
        if let Ok(mut scratches) = self.scratches.lock()
            && scratches.len() < SCRATCHES_MAX
        {
            scratches.push(scratch);
        }
    }
}
