//! No text makes the rule parser panic, and every rule that it accepts means in the engine
//! what it means in the obvious one.

#![no_main]

// Only the verdict is wanted, not the random rules and events.
#[allow(dead_code)]
#[path = "../../tests/reference/mod.rs"]
mod reference;

use std::path::Path;

use detect::field::Settings;
use detect::{Engine, sigma};

const EVENT: &str = r#"{"kind":"Event","level":"Request","verb":"create","user":{"username":"a"},
    "objectRef":{"resource":"pods","subresource":"exec","namespace":"b"},"responseStatus":{"code":403},
    "requestURI":"/x?command=sh","requestReceivedTimestamp":"2026-11-21T02:22:51.7Z",
    "requestObject":{"spec":{"containers":[{"image":"nginx"},{"image":"a/b:c"}]}}}"#;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let parsed = sigma::parse(Path::new("fuzz.yml"), text);
    for problem in &parsed.problems {
        assert!(problem.place.line >= 1 && problem.place.column >= 1, "{problem}");
    }
    for rule in parsed.rules {
        let _ = sigma::lint(&rule, &parsed.value_places);
        let expected = reference::truth(&rule.condition, EVENT);
        let engine = Engine::new(vec![rule], Settings::default());
        let verdicts = reference::verdicts(&engine, &mut engine.scratch(), EVENT);
        assert_eq!(verdicts[0], expected, "{text}");
    }
});
