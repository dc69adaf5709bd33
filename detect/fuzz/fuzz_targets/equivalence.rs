//! The engine and the obvious one agree on every random rule and events that the bytes seed.

#![no_main]

#[path = "../../tests/reference/mod.rs"]
mod reference;

use detect::Engine;
use detect::field::Settings;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use reference::random::{condition, siblings};

/// How many events alike each rule is asked about, one after the other.
const EVENTS: usize = 4;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // Bytes used as the random numbers themselves run out: drawing a tree halves them at each fork.
    let seed = TestRng::from_seed(RngAlgorithm::ChaCha, blake3::hash(bytes).as_bytes());
    let mut runner = TestRunner::new_with_rng(Config::default(), seed);
    let Ok(drawn) = (condition(), siblings(EVENTS)).new_tree(&mut runner) else { return };
    let (condition, events) = drawn.current();
    let engine = Engine::new(vec![reference::rule((0, &condition))], Settings::default());
    let mut scratch = engine.scratch();
    for json in events {
        let verdicts = reference::verdicts(&engine, &mut scratch, &json);
        assert_eq!(verdicts[0], reference::truth(&condition, &json), "{condition:#?}\n{json}");
    }
});
