//! Shows every thread that evaluates some events before the first are posted.
//!
//! What a thread does for the first time takes it several times as long: code is read in, expressions build
//! their tables, memory is taken. The examples beside the built-in rules are what rules are about.
//!
//! **Invariant:** nobody is told of what they give, and nothing of it is counted.

use detect::Event;

use super::Current;
use super::evaluators::Evaluators;
use super::part::Part;
use crate::examples::{Example, Shown};
use crate::files::{self, Origin};

/// How many examples are shown: a batch of the usual size, which takes about a tenth of a second. Fewer where
/// nothing is optimised: that is a build for tests, which is slow, begins often and is not measured.
const EXAMPLES_MAX: usize = if cfg!(debug_assertions) { 20 } else { 400 };

/// Has every thread evaluate examples. Blocks until all have.
pub(crate) fn rehearse(evaluators: &Evaluators, current: &Current) {
    let examples = examples();
    let gap = examples.len().div_ceil(EXAMPLES_MAX).max(1);
    evaluators.on_all(|| {
        current.with_scratch(|scratch| {
            let mut part = Part::new(current, "", "", None);
            for event in examples.iter().step_by(gap).filter_map(|raw| Event::parse(raw).ok()) {
                part.add(&event, scratch);
            }
        });
    });
}

/// The events of all examples that are about single ones.
fn examples() -> Vec<&'static [u8]> {
    let texts = files::embedded().into_iter().filter_map(|file| match file.origin {
        Origin::Embedded(events) => events,
        Origin::Disk => None,
    });
    let shown = texts.flat_map(str::lines).filter_map(|line| Example::parse(line).ok()?.shown().ok());
    let events = shown.filter_map(|shown| match shown {
        Shown::One(event) => Some(event.as_bytes()),
        Shown::Several(_) => None,
    });
    events.collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use detect::field::Settings;
    use detect::redact::Redactor;
    use detect::sigma;

    use super::*;

    #[test]
    fn there_is_something_to_show() {
        let events = examples();
        assert!(events.len() > EXAMPLES_MAX, "{} events", events.len());
        assert!(events.iter().all(|raw| Event::parse(raw).is_ok()));
    }

    #[test]
    fn nothing_of_it_is_counted() {
        let rule = "
title: A
id: 6c3b8f0a-0a70-4a53-9b50-5d0e7f6f0a01
logsource: { product: kubernetes, service: audit }
detection: { a: { requestObject.spec.x: y }, condition: a }
level: high
";
        let rules = sigma::parse(Path::new("rule.yml"), rule).rules;
        let current = Current::new(rules, Settings::default(), Redactor::new([7; 32]));
        rehearse(&Evaluators::start().unwrap(), &current);
        current.with_scratch(|scratch| assert_eq!(scratch.blind_counts, [0]));
    }
}
