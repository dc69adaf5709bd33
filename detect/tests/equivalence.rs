//! Equivalence is law: for any rules and any events the engine gives the verdicts of the
//! obvious one in `reference`, the undecidable ones included.

// The functions around the tests are tests as well.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod reference;

use detect::Engine;
use detect::field::Settings;
use proptest::prelude::*;
use reference::random::{condition, event, siblings};
use reference::{rule, verdicts};

const RULES: usize = 10;
const EVENTS: usize = 8;
/// 160 pairs a case: 1,000 cases are 160,000 pairs of a rule and an event.
const CASES: u32 = 1000;

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_agrees_with_the_reference(
        conditions in prop::collection::vec(condition(), RULES),
        events in prop::collection::vec(event(), EVENTS),
        siblings in siblings(EVENTS),
    ) {
        let engine = Engine::new(conditions.iter().enumerate().map(rule).collect(), Settings::default());
        let mut scratch = engine.scratch();
        // What one of the siblings teaches the engine is there for the others.
        for json in events.iter().chain(&siblings) {
            let expected: Vec<_> = conditions.iter().map(|condition| reference::truth(condition, json)).collect();
            let verdicts = verdicts(&engine, &mut scratch, json);
            for (number, condition) in conditions.iter().enumerate() {
                prop_assert_eq!(verdicts[number], expected[number], "{:#?}\n{}", condition, json);
            }
        }
    }
}
