//! The engine and the obvious one agree on every random rule and event that the bytes seed.

#![no_main]

#[path = "../../tests/reference/mod.rs"]
mod reference;

use detect::Engine;
use detect::field::Settings;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use reference::random::{condition, event};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // Bytes used as the random numbers themselves run out: drawing a tree halves them at each fork.
    let seed = TestRng::from_seed(RngAlgorithm::ChaCha, blake3::hash(bytes).as_bytes());
    let mut runner = TestRunner::new_with_rng(Config::default(), seed);
    let Ok(drawn) = (condition(), event()).new_tree(&mut runner) else { return };
    let (condition, json) = drawn.current();
    let engine = Engine::new(vec![reference::rule((0, &condition))], Settings::default());
    let verdicts = reference::verdicts(&engine, &mut engine.scratch(), &json);
    assert_eq!(verdicts[0], reference::truth(&condition, &json), "{condition:#?}\n{json}");
});
