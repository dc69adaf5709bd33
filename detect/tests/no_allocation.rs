//! An event that no rule can match costs no memory.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};

use detect::field::Settings;
use detect::{Engine, Event, sigma};

/// Reads that an API server logs all day. Writes are another matter: any of them could carry
/// containers, so rules about what containers run look at each.
const EVERYDAY: &[&str] = &[
    r#"{"kind":"Event","level":"Metadata","stage":"ResponseComplete","verb":"get","requestURI":"/readyz","user":{"username":"system:anonymous","groups":["system:unauthenticated"]},"responseStatus":{"code":200}}"#,
    r#"{"kind":"Event","level":"Request","stage":"ResponseComplete","verb":"watch","requestURI":"/api/v1/pods?watch=true","user":{"username":"system:kube-scheduler"},"objectRef":{"resource":"pods"},"responseStatus":{"code":200}}"#,
    r#"{"kind":"Event","level":"Request","stage":"ResponseComplete","verb":"list","requestURI":"/api/v1/nodes","user":{"username":"alice"},"objectRef":{"resource":"nodes"},"responseStatus":{"code":200}}"#,
];

#[test]
fn an_event_that_no_rule_can_match_allocates_nothing() {
    let mut rules = Vec::new();
    load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules"), &mut rules);
    assert!(!rules.is_empty());
    let engine = Engine::new(rules, Settings::default());
    let mut scratch = engine.scratch();
    for json in EVERYDAY {
        let allocations = allocation_counter::measure(|| {
            let event = Event::parse(json.as_bytes()).unwrap();
            engine.evaluate(&event, &mut scratch, |found| panic!("matched {}", found.rule));
        });
        assert_eq!(allocations.count_total, 0, "{json}");
    }
}

fn load(folder: &Path, rules: &mut Vec<sigma::Rule>) {
    for path in
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<PathBuf>>()
    {
        if path.is_dir() {
            load(&path, rules);
        } else if path.extension().is_some_and(|extension| extension == "yml") {
            rules.extend(sigma::parse(&path, &std::fs::read_to_string(&path).unwrap()).rules);
        }
    }
}
