//! Filters are added to the rules that they are for, and rules about Event objects find them
//! in the requests that write them.
//!
//! `data/filters.tsv` holds the logsource of a filter, that of a rule, what the filter says
//! about rules, and whether pySigma 2.0.1 then added it: printed by a script that loaded
//! such a rule, another one and the filter into a `SigmaCollection`.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fmt::Write as _;
use std::path::Path;

use detect::explain::explain;
use detect::field::Settings;
use detect::sigma::link::Names;
use detect::sigma::{
    Code, Logsource, Parsed, Rule, RuleError, RuleErrorKind, Subject, link, lint, lint_filter, parse,
};
use detect::{Engine, Event, Truth};
use serde_json::{Value, json};

const ID: &str = "0f6f4a0a-6a7b-4f6e-9d1b-2c33a6a7e001";

#[test]
fn filters_are_added_to_the_rules_to_which_pysigma_adds_them() {
    let mut differences = Vec::new();
    for row in include_str!("data/filters.tsv").lines() {
        let columns: Vec<&str> = row.split('\t').collect();
        let [filter_log, rule_log, rules, expected] = columns[..] else { panic!("{row}") };
        let other = rule("0f6f4a0a-6a7b-4f6e-9d1b-2c33a6a7e002", "product: linux", "{verb: get}");
        let rule = rule(ID, rule_log, "{verb: get}").replace("level:", "name: the_rule\nlevel:");
        let text = [rule, other, filter(filter_log, rules, "{verb: list}", "not x")].join("---\n");
        let mut parsed = sound(&text);
        let is_added = link(&mut parsed.rules, &parsed.filters).filtered[0].contains(&0);
        if is_added != (expected == "added") {
            differences.push(row);
        }
    }
    assert_eq!(differences, [""; 0]);
}

#[test]
fn a_filter_excepts_what_it_says_and_nothing_that_is_hidden() {
    let vault = json!({"username": "vault"});
    let secret = json!({"spec": {"owner": "vault"}});
    for (selection, condition, event, expected) in [
        ("{user.username: vault}", "not x", json!({"verb": "get", "user": {"username": "eve"}}), Truth::True),
        ("{user.username: vault}", "not x", json!({"verb": "get", "user": vault}), Truth::False),
        ("{user.username: vault}", "not x", json!({"verb": "list", "user": vault}), Truth::False),
        ("{user.username: vault}", "x", json!({"verb": "get", "user": vault}), Truth::True),
        (
            "{requestObject.spec.owner: vault}",
            "not x",
            json!({"verb": "create", "level": "Request", "requestObject": secret}),
            Truth::False,
        ),
        (
            "{requestObject.spec.owner: vault}",
            "not 1 of them",
            json!({"verb": "create", "level": "Metadata"}),
            Truth::Unknown,
        ),
    ] {
        let text = [
            rule(ID, "product: kubernetes", "{verb: [get, create]}"),
            filter("product: kubernetes", "any", selection, condition),
        ];
        let mut parsed = sound(&text.join("---\n"));
        assert_eq!(link(&mut parsed.rules, &parsed.filters).problems, []);
        assert_eq!(truth(&parsed, &event), expected, "{condition} with {selection} of {event}");
    }
}

#[test]
fn many_filters_of_one_rule_stand_side_by_side() {
    let filters: String = (0..10_000).fold(String::new(), |mut text, number| {
        let selection = format!("{{user.username: user{number}}}");
        let _ = write!(text, "---\n{}", filter("product: kubernetes", "any", &selection, "not x"));
        text
    });
    let mut parsed =
        parse(Path::new("filters.yml"), &(rule(ID, "product: kubernetes", "{verb: get}") + &filters));
    assert_eq!((parsed.problems.as_slice(), parsed.filters.len()), ([].as_slice(), 10_000));
    assert_eq!(link(&mut parsed.rules, &parsed.filters).problems, []);
    let event = json!({"verb": "get", "user": {"username": "user9999"}});
    assert_eq!(truth(&parsed, &event), Truth::False);
    let engine = Engine::new(parsed.rules, Settings::default());
    let mut count = 0;
    for event in [event, json!({"verb": "get", "user": {"username": "eve"}})] {
        let bytes = event.to_string().into_bytes();
        engine.evaluate(&Event::parse(&bytes).unwrap(), &mut engine.scratch(), |_| count += 1);
    }
    assert_eq!(count, 1);
}

#[test]
fn filters_cannot_multiply_without_end() {
    let values: String = (0..50_000).fold(String::new(), |mut values, number| {
        let _ = write!(values, "value{number}, ");
        values
    });
    let filter = filter("product: kubernetes", "any", &format!("{{user.username: [{values} x]}}"), "not x");
    let mut parsed = sound(&[rule(ID, "product: kubernetes", "{verb: get}"), filter].join("---\n"));
    let rule = parsed.rules[0].clone();
    parsed.rules = vec![rule; 1_000];
    let linked = link(&mut parsed.rules, &parsed.filters);
    assert_eq!(linked.problems.iter().map(RuleError::code).collect::<Vec<_>>(), [Code::MH003]);
    assert!(linked.filtered[0].is_empty());
}

#[test]
fn mistakes_without_end_are_not_all_looked_into() {
    let many = |count: usize| {
        let rules: Vec<String> = (0..count).map(|number| format!("no_such_rule_{number}")).collect();
        filter("product: kubernetes", &format!("[{}, last]", rules.join(", ")), "{verb: list}", "not x")
    };
    let parsed = parse(Path::new("rule.yml"), &many(1_000));
    assert_eq!(parsed.problems.iter().map(RuleError::code).collect::<Vec<_>>(), [Code::MH003]);
    let parsed = sound(&[many(999), many(999)].join("---\n"));
    let linked = link(&mut [], &parsed.filters);
    assert_eq!((linked.problems.len(), linked.filtered.len()), (1_001, 2));
    let last = linked.problems.last().unwrap();
    assert_eq!((last.code(), last.severity()), (Code::MH003, detect::sigma::Severity::Error));
}

#[test]
fn filters_after_too_many_mistakes_are_added_all_the_same() {
    let idle = filter(
        "product: kubernetes, service: none",
        &format!("[{}]", [ID; 999].join(", ")),
        "{verb: list}",
        "not x",
    );
    let used = filter("product: kubernetes", "any", "{verb: list}", "not x");
    let rule = rule(ID, "product: kubernetes", "{verb: get}");
    let mut parsed = parse(Path::new("rule.yml"), &[rule, idle.clone(), idle, used].join("---\n"));
    let linked = link(&mut parsed.rules, &parsed.filters);
    let counts: Vec<usize> = linked.filtered.iter().map(std::collections::BTreeSet::len).collect();
    assert_eq!((linked.problems.len(), counts), (1_001, vec![0, 0, 1]));
}

#[test]
fn names_in_filters_are_checked() {
    for (section, expected) in [
        ("{rules: any, x: {user.nmae: a}, condition: not x}", "MH401"),
        ("{rules: any, x: {verb: replace}, condition: not x}", "MH402"),
        ("{rules: any, x: {verb: replace}, condition: x}", "MH403"),
        ("{rules: any, x: {verb: get}, condition: y}", "MH301"),
        ("{rules: any, x: {verb: get}, y: {verb: get}, condition: not x}", "MH306"),
        ("{rules: any, x: {verb|contians: get}, condition: not x}", "MH202"),
        ("{rule: any, x: {verb: get}, condition: not x}", "MH101"),
        ("{rules: [], x: {verb: get}, condition: not x}", "MH110"),
        ("{rules: [{a: b}], x: {verb: get}, condition: not x}", "MH102"),
        ("{rules: any, x: {verb: get}, condition: [x]}", "MH102"),
        ("{rules: any, x: {verb: get}}", "MH101"),
        ("[]", "MH102"),
        ("{rules: any, x: {verb: get}, condition: not x}", ""),
        ("{rules: the_rule, x: {verb: get}, condition: not x}", ""),
        ("{rules: the_rul, x: {verb: get}, condition: not x}", "MH502"),
        ("{rules: [a_twin, the_rule], x: {verb: get}, condition: not x}", "MH503"),
        ("{rules: foreign, x: {verb: get}, condition: not x}", "MH504"),
    ] {
        let rule = |name: &str, number: u8, log: &str| {
            let id = format!("0f6f4a0a-6a7b-4f6e-9d1b-2c33a6a7e00{number}");
            rule(&id, log, "{verb: get}").replace("level:", &format!("name: {name}\nlevel:"))
        };
        let text = [
            rule("the_rule", 1, "product: kubernetes"),
            rule("a_twin", 2, "product: kubernetes"),
            rule("a_twin", 3, "product: kubernetes"),
            rule("foreign", 4, "product: windows"),
            format!("title: f\nlogsource: {{product: kubernetes}}\nfilter: {section}\n"),
        ];
        let mut parsed = parse(Path::new("rule.yml"), &text.join("---\n"));
        let mut problems = parsed.problems.clone();
        problems.extend(parsed.filters.iter().flat_map(|filter| lint_filter(filter, &parsed.value_places)));
        problems.extend(link(&mut parsed.rules, &parsed.filters).problems);
        let codes: Vec<&str> = problems.iter().map(|problem| problem.code().id()).collect();
        assert_eq!(codes.join(" "), expected, "{section}");
        assert!(problems.iter().all(|problem| problem.place.line == 39), "{section}: {problems:?}");
    }
}

#[test]
fn rules_are_found_by_id_and_name_and_suggested_by_all_that_people_try() {
    let named = |number: u8, name: &str| {
        let id = format!("0f6f4a0a-6a7b-4f6e-9d1b-2c33a6a7e00{number}");
        let rule = rule(&id, "product: kubernetes", "{verb: get}");
        let rule = rule.replace("title: t", &format!("title: Title {number}"));
        parse(
            Path::new(&format!("rules/file_{number}.yml")),
            &rule.replace("level:", &format!("name: {name}\nlevel:")),
        )
    };
    let parsed = [named(1, "first"), named(2, "second"), named(3, "second")];
    let rules: Vec<Rule> = parsed.into_iter().flat_map(|parsed| parsed.rules).collect();
    let names = Names::new(&rules);
    for (text, expected) in [
        ("0f6f4a0a-6a7b-4f6e-9d1b-2c33a6a7e002", Ok(1)),
        ("0F6F4A0A6A7B4F6E9D1B2C33A6A7E003", Ok(2)),
        ("first", Ok(0)),
        ("First", Err(Some("first"))),
        ("fisrt", Err(Some("first"))),
        ("Title 1", Err(Some("0f6f4a0a-6a7b-4f6e-9d1b-2c33a6a7e001"))),
        ("file_2", Err(Some("0f6f4a0a-6a7b-4f6e-9d1b-2c33a6a7e002"))),
        ("something else", Err(None)),
        ("", Err(None)),
    ] {
        let found = names.number(text).ok_or_else(|| names.fault(text));
        let found = found.as_ref().copied().map_err(|kind| match kind {
            RuleErrorKind::UnknownRule { closest, .. } => closest.as_deref(),
            other => panic!("{text}: {other}"),
        });
        assert_eq!(found, expected, "{text}");
    }
    let twins = names.fault("second");
    assert_eq!(twins.to_string(), "2 rules are named `second`");
}

#[test]
fn rules_are_sorted_by_what_they_are_about() {
    let (requests, objects) = (Some(Subject::Requests), Some(Subject::EventObjects));
    for (log, expected) in [
        ("product: kubernetes, service: audit", requests),
        ("product: Kubernetes, service: Audit", requests),
        ("product: kubernetes", requests),
        ("service: audit", requests),
        ("category: application, product: kubernetes, service: audit", requests),
        ("category: application, product: kubernetes", requests),
        ("product: kubernetes, service: events", objects),
        ("category: application, product: kubernetes, service: events", objects),
        ("product: kubernetes, service: kubelet", None),
        ("product: kubernetes, category: process_creation", None),
        ("product: windows, category: process_creation", None),
        ("product: aws, service: cloudtrail", None),
        ("category: webserver", None),
    ] {
        assert_eq!(sound(&rule(ID, log, "{verb: get}")).rules[0].logsource.subject(), expected, "{log}");
    }
    let log = Logsource {
        product: Some("windows".into()),
        service: Some("sysmon".into()),
        category: Some("process_creation".into()),
    };
    assert_eq!(log.to_string(), "windows/process_creation/sysmon");
}

#[test]
fn event_objects_are_found_in_the_requests_that_write_them() {
    let core = json!({"reason": "Pulled", "message": "Container image \"redis\"", "count": 3, "kind": "Event",
        "involvedObject": {"kind": "Pod", "name": "web-0"}, "source": {"component": "kubelet"}});
    let newer = json!({"reason": "Pulled", "note": "Container image \"redis\"", "deprecatedCount": 3,
        "regarding": {"kind": "Pod", "name": "web-0"}, "reportingController": "kubelet"});
    for (selection, in_core, in_newer) in [
        ("{reason: Pulled}", true, true),
        ("{reason: Failed}", false, false),
        ("{message|contains: redis}", true, true),
        ("{note|contains: redis}", true, true),
        ("{involvedObject.name: web-0}", true, true),
        ("{regarding.kind: Pod}", true, true),
        ("{count|gte: 3}", true, true),
        ("{message|neq: x}", true, true),
        ("{message: null}", false, false),
        ("{note|exists: false}", false, false),
        ("{related: null}", true, true),
        ("{message: [null, nothing]}", false, false),
        ("{source.component: kubelet}", true, false),
        ("{kind: Event}", true, false),
        ("{requestObject.reason: Pulled, objectRef.resource: events}", true, true),
        ("{user.username: system:node:a, reason: Pulled}", true, true),
        ("{source.ip: 10.0.0.7}", true, true),
        ("['redis']", true, true),
    ] {
        for (group, object, expected) in [(None, &core, in_core), (Some("events.k8s.io"), &newer, in_newer)] {
            let parsed = sound(&rule(ID, "product: kubernetes, service: events", selection));
            assert_eq!(lint(&parsed.rules[0], &parsed.value_places), [], "{selection}");
            let is_found = |verb: &str, resource: &str, group: Option<&str>| {
                truth(&parsed, &written(verb, resource, group, object)) == Truth::True
            };
            assert_eq!(is_found("create", "events", group), expected, "{selection} of {object}");
            assert_eq!(is_found("patch", "events", group), expected, "{selection} of {object}");
            assert!(!is_found("get", "events", group), "reading is no event");
            assert!(!is_found("create", "pods", group), "another resource");
            assert!(!is_found("create", "events", Some("example.com")), "another resource of that name");
        }
    }
}

#[test]
fn a_filter_of_all_of_kubernetes_reads_event_objects_where_they_are() {
    let text = [
        rule(ID, "product: kubernetes, service: events", "{reason: Pulled}"),
        filter("product: kubernetes, service: events", "any", "{regarding.name: web-0}", "not x"),
        filter("product: kubernetes", "any", "{user.username: eve}", "not x"),
    ];
    let mut parsed = sound(&text.join("---\n"));
    assert_eq!(link(&mut parsed.rules, &parsed.filters).problems, []);
    for (name, expected) in [("web-0", Truth::False), ("web-1", Truth::True)] {
        let object = json!({"reason": "Pulled", "involvedObject": {"name": name}});
        assert_eq!(truth(&parsed, &written("create", "events", None, &object)), expected, "{name}");
    }
}

fn written(verb: &str, resource: &str, group: Option<&str>, object: &Value) -> Value {
    let mut event = json!({"level": "Request", "verb": verb, "user": {"username": "system:node:a"},
        "sourceIPs": ["10.0.0.7"], "objectRef": {"resource": resource}, "requestObject": object});
    if let Some(group) = group {
        event["objectRef"]["apiGroup"] = group.into();
    }
    event
}

fn truth(parsed: &Parsed, event: &Value) -> Truth {
    let bytes = event.to_string().into_bytes();
    let condition = parsed.rules[0].condition().unwrap();
    explain(condition, &Event::parse(&bytes).unwrap(), &Settings::default()).truth.unwrap()
}

fn sound(text: &str) -> Parsed {
    let parsed = parse(Path::new("rule.yml"), text);
    assert_eq!(parsed.problems, []);
    parsed
}

fn rule(id: &str, log: &str, selection: &str) -> String {
    format!(
        "title: t\nid: {id}\nlevel: low\nlogsource: {{{log}}}\ndetection:\n  s: {selection}\n  condition: s\n"
    )
}

fn filter(log: &str, rules: &str, selection: &str, condition: &str) -> String {
    format!(
        "title: f\nlogsource: {{{log}}}\nfilter:\n  rules: {rules}\n  x: {selection}\n  condition: {condition}\n"
    )
}
