//! No text makes the parser of rules, lists or pipelines panic, and every rule that it accepts
//! means in the engine what it means in the obvious one.
//!
//! A line `=====` separates the rules from a list called `list`, and that from pipelines.

#![no_main]

// Only the verdict is wanted, not the random rules and events.
#[allow(dead_code)]
#[path = "../../tests/reference/mod.rs"]
mod reference;

use std::path::Path;

use detect::field::{Settings, View};
use detect::{Engine, sigma};

const EVENT: &str = r#"{"kind":"Event","level":"Request","verb":"create","user":{"username":"a"},
    "objectRef":{"resource":"pods","subresource":"exec","namespace":"b"},"responseStatus":{"code":403},
    "requestURI":"/x?command=sh","requestReceivedTimestamp":"2026-11-21T02:22:51.7Z",
    "requestObject":{"spec":{"containers":[{"image":"nginx"},{"image":"a/b:c"}]}}}"#;

/// Every rule matches some events years apart, whatever it is about.
fn correlate(rules: &[sigma::Rule]) {
    let settings = Settings::default();
    let mut correlator = detect::Correlator::new(rules, "fuzz", detect::correlate::DISORDER);
    for time in
        ["0001-01-01T00:00:00Z", "2026-11-21T02:22:51.7Z", "2026-11-21T02:22:52Z", "9999-12-31T23:59:59Z"]
    {
        let json = EVENT.replace("2026-11-21T02:22:51.7Z", time);
        let Ok(event) = detect::Event::parse(json.as_bytes()) else { return };
        let wanted: Vec<usize> = (0..rules.len()).filter(|rule| correlator.wants(*rule)).collect();
        for rule in wanted {
            correlator.observe(rule, View { event: &event, settings: &settings }, &mut |_| {});
        }
    }
    for rule in 0..rules.len() {
        let _ = (correlator.windows(rule), correlator.learning_until(rule));
    }
    correlator.finish(&mut |_| {});
    assert_eq!(correlator.size().0, 0);
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    let mut parts = text.split("\n=====\n");
    let rules = parts.next().unwrap_or_default();
    let mut setup = sigma::Setup::default();
    let mut problems = setup.lists.add("list", Path::new("list.txt"), parts.next().unwrap_or_default());
    for pipeline in parts {
        match sigma::Pipeline::parse(Path::new("pipeline.yml"), pipeline) {
            Ok(pipeline) => setup.pipelines.push(pipeline),
            Err(found) => problems.extend(found),
        }
    }
    let parsed = sigma::parse_with(Path::new("fuzz.yml"), rules, &setup);
    for problem in problems.iter().chain(&parsed.problems) {
        assert!(problem.place.line >= 1 && problem.place.column >= 1, "{problem}");
    }
    for rule in &parsed.rules {
        let _ = sigma::lint(rule, &parsed.value_places);
    }
    for filter in &parsed.filters {
        let _ = sigma::lint_filter(filter, &parsed.value_places);
    }
    let mut rules = parsed.rules;
    let linked = sigma::link(&mut rules, &parsed.filters);
    for problem in &linked.problems {
        assert!(problem.place.line >= 1 && problem.place.column >= 1, "{problem}");
    }
    let works = |(number, rule)| (!linked.broken.contains(&number)).then_some(rule);
    let rules: Vec<sigma::Rule> = (0..).zip(rules).filter_map(works).collect();
    correlate(&rules);
    for rule in rules {
        let Some(condition) = rule.condition() else { continue };
        let expected = reference::truth(condition, EVENT);
        let engine = Engine::new(vec![rule], Settings::default());
        let verdicts = reference::verdicts(&engine, &mut engine.scratch(), EVENT);
        assert_eq!(verdicts[0], expected, "{text}");
    }
});
