//! Lists, pipelines and rules about Event objects reach into blocks, or refuse the rule.

#![allow(clippy::unwrap_used, clippy::panic)]

mod show;

use std::path::Path;

use detect::field::Settings;
use detect::sigma::{Code, Expr, Lists, Parsed, Pipeline, RuleError, Setup, Severity, parse_with};
use detect::{Engine, Event, Truth};
use serde_json::{Value, json};

const HEADER: &str = "title: t\nid: 0f6f4a0a-6a7b-4f6e-9d1b-2c33a6a7e002\nlevel: low\n";

fn parse(service: &str, selection: &str, steps: &str) -> Parsed {
    let mut lists = Lists::default();
    lists.add("trusted", Path::new("l"), "ghcr.io\n*.example.com");
    lists.add("networks", Path::new("l"), "10.0.0.0/8");
    lists.add("none", Path::new("l"), "");
    let pipeline =
        Pipeline::parse(Path::new("p"), &format!("vars: {{v: [x, y]}}\ntransformations: [{steps}]"));
    let pipelines = if steps.is_empty() { Vec::new() } else { vec![pipeline.unwrap()] };
    let text = format!(
        "{HEADER}logsource: {{product: kubernetes, service: {service}}}\ndetection:\n  s: {selection}\n  condition: s\n"
    );
    parse_with(Path::new("r"), &text, &Setup { lists, pipelines, ..Setup::default() })
}

#[track_caller]
fn sound(selection: &str, steps: &str) -> Value {
    let parsed = parse("audit", selection, steps);
    let errors: Vec<_> =
        parsed.problems.iter().filter(|problem| problem.severity() == Severity::Error).collect();
    assert!(errors.is_empty(), "{selection}\n{steps}\n{errors:?}");
    tree(parsed.rules[0].condition().unwrap())
}

/// The code and the text of the only error.
#[track_caller]
fn refused(selection: &str, steps: &str) -> (Code, String) {
    let parsed = parse("audit", selection, steps);
    assert!(parsed.rules.is_empty(), "{selection}\n{steps}");
    let mut errors = parsed.problems.iter().filter(|problem| problem.severity() == Severity::Error);
    let (Some(error), None) = (errors.next(), errors.next()) else { panic!("{:?}", parsed.problems) };
    (error.code(), error.to_string())
}

fn tree(expr: &Expr) -> Value {
    let several = |parts: &[Expr]| parts.iter().map(tree).collect::<Value>();
    match expr {
        Expr::All(parts) => json!({"all": several(parts)}),
        Expr::Any(parts) => json!({"any": several(parts)}),
        Expr::Not(part) => json!({"not": tree(part)}),
        Expr::Named(_, part) => tree(part),
        Expr::Block(block) => json!({format!("{}[{}]", block.list, block.quantifier): tree(&block.body)}),
        Expr::Item(item) => {
            let tests: Vec<_> = item.tests.iter().map(show::test).collect();
            json!(format!("{}: {}", item.field.as_deref().unwrap_or("keyword"), tests.join(", ")))
        }
    }
}

#[test]
fn lists_fill_placeholders_in_blocks() {
    for (selection, expected) in [
        (
            "{'container[any]': {image.registry|expand: '%trusted%', name: x}}",
            json!({"container[any]": {"all": ["image.registry: text ghcr.io, text *.example.com", "name: text x"]}}),
        ),
        (
            "{'container[none]': {image.registry|expand|neq: '%trusted%'}}",
            json!({"container[none]": {"not": "image.registry: text ghcr.io, text *.example.com"}}),
        ),
        (
            "{'container[any].env[any]': {value|contains|expand: '%trusted%'}}",
            json!({"container[any]": {"env[any]": "value: text *ghcr.io*, text *.example.com*"}}),
        ),
        (
            "{'sourceIPs[all]|expand': '%networks%'}",
            json!({"sourceIPs[all]": ".: text 10.0.0.0/8, cidr 10.0.0.0/8"}),
        ),
        (
            "{'container[any]': {known: {image.registry|expand: '%trusted%'}, condition: not known}}",
            json!({"container[any]": {"not": "image.registry: text ghcr.io, text *.example.com"}}),
        ),
        ("{'container[any]': {name|expand: '%none%'}}", json!({"container[any]": "name: "})),
    ] {
        assert_eq!(sound(selection, ""), expected, "{selection}");
    }
    let (code, text) = refused("{'container[any]': {image.registry|expand: '%trustd%'}}", "");
    assert_eq!((code, text.as_str()), (Code::MH212, "r:6:50: placeholder `%trustd%` is not defined"));
}

#[test]
fn a_filled_block_asks_one_container() {
    let selection = "{'container[any]': {known: {image.registry|expand: '%trusted%'}, root: {securityContext.privileged: true}, condition: root and not known}}";
    let rules = parse("audit", selection, "").rules;
    let engine = Engine::new(rules, Settings::default());
    for (containers, expected) in [
        (r#"{"image":"evil.io/x","securityContext":{"privileged":true}}"#, Truth::True),
        (
            r#"{"image":"evil.io/x"},{"image":"ghcr.io/x","securityContext":{"privileged":true}}"#,
            Truth::False,
        ),
        (r#"{"image":"eu.example.com/x","securityContext":{"privileged":true}}"#, Truth::False),
    ] {
        let event = format!(
            r#"{{"verb":"create","level":"Request","objectRef":{{"resource":"pods"}},"requestObject":{{"spec":{{"containers":[{containers}]}}}}}}"#
        );
        let mut found = Truth::False;
        let event = Event::parse(event.as_bytes()).unwrap();
        engine.evaluate(&event, &mut engine.scratch(), |_| found = Truth::True);
        assert_eq!(found, expected, "{containers}");
    }
}

/// The selection, the steps, and what becomes of the rule.
#[test]
fn pipelines_reach_into_blocks() {
    let plain = "{'l[any]': {a: x, b|fieldref: c}, d: l}";
    for (selection, steps, expected) in [
        // Values.
        (
            plain,
            "{type: replace_string, regex: x, replacement: z}",
            json!({"all": [{"l[any]": {"all": ["a: text z", "b: field whole c"]}}, "d: text l"]}),
        ),
        (
            plain,
            "{type: map_string, mapping: {x: [p, q]}, field_name_conditions: [{type: include_fields, fields: [l.a]}]}",
            json!({"all": [{"l[any]": {"all": ["a: text p, text q", "b: field whole c"]}}, "d: text l"]}),
        ),
        (
            "{'l[any]': {one: {a: x}, two: {a: y}, condition: one and not two}}",
            "{type: map_string, mapping: {x: w, y: v}}",
            json!({"l[any]": {"all": ["a: text w", {"not": "a: text v"}]}}),
        ),
        ("{'l[all].a|expand': '%v%'}", "{type: value_placeholders}", json!({"l[all]": "a: text x, text y"})),
        // What a condition names is the name outside of blocks: no field here is called `a`.
        (
            plain,
            "{type: map_string, mapping: {x: p}, field_name_conditions: [{type: include_fields, fields: [a]}]}",
            json!({"all": [{"l[any]": {"all": ["a: text x", "b: field whole c"]}}, "d: text l"]}),
        ),
        // Names.
        (
            plain,
            "{type: field_name_mapping, mapping: {l.a: l.n.a, l.c: l.n.c, a: wrong}}",
            json!({"all": [{"l[any]": {"all": ["n.a: text x", "b: field whole n.c"]}}, "d: text l"]}),
        ),
        (
            plain,
            "{type: field_name_mapping, mapping: {l: requestObject.spec.l}}",
            json!({"all": [{"requestObject.spec.l[any]": {"all": ["a: text x", "b: field whole c"]}}, "d: text l"]}),
        ),
        (
            plain,
            "{type: field_name_mapping, mapping: {l: l.l, l.a: l.l.k}}",
            json!({"all": [{"l.l[any]": {"all": ["k: text x", "b: field whole c"]}}, "d: text l"]}),
        ),
        (
            plain,
            "{type: field_name_prefix, prefix: l.}",
            json!({"all": [{"l.l[any]": {"all": ["a: text x", "b: field whole c"]}}, "l.d: text l"]}),
        ),
        (
            "{'l[any]': {'m[all]': {a: x}, 'k[0]': y}}",
            "{type: field_name_mapping, mapping: {l: n}}",
            json!({"n[any]": {"all": [{"m[all]": "a: text x"}, {"k[0]": ".: text y"}]}}),
        ),
        (
            "{'l[any]': {a: x, c: z}}",
            "{type: field_name_mapping, mapping: {l.a: [l.p, l.q]}}",
            json!({"l[any]": {"all": [{"any": ["p: text x", "q: text x"]}, "c: text z"]}}),
        ),
        // Items.
        (
            plain,
            "{type: drop_detection_item, field_name_conditions: [{type: include_fields, fields: [l.a]}]}",
            json!({"all": [{"l[any]": "b: field whole c"}, "d: text l"]}),
        ),
        (
            "{'l[none]': {a: x}, d: y}",
            "{type: drop_detection_item, field_name_conditions: [{type: include_fields, fields: [l.a]}]}",
            json!("d: text y"),
        ),
        (
            "{d: y}",
            "{type: add_condition, template: true, conditions: {'l[any]': {a: $product, b: 1}}}",
            json!({"all": [{"l[any]": {"all": ["a: text kubernetes", "b: number 1"]}}, "d: text y"]}),
        ),
    ] {
        assert_eq!(sound(selection, steps), expected, "{selection}\n{steps}");
    }
}

#[test]
fn what_pipelines_cannot_do_in_blocks_refuses_the_rule() {
    let outside = "r:6:18: a pipeline cannot be applied: elements of `l` would be asked for";
    let several = "r:6:8: a pipeline cannot be applied: `l` would become several fields";
    let condition = "r:6:3: a pipeline cannot be applied: a condition that it adds has a block";
    for (steps, code, expected) in [
        ("{type: field_name_mapping, mapping: {l.a: a}}", Code::MH705, outside),
        ("{type: field_name_mapping, mapping: {l.a: [l.b, b]}}", Code::MH705, outside),
        ("{type: field_name_mapping, mapping: {l.a: la}}", Code::MH705, outside),
        ("{type: field_name_suffix, suffix: _s}", Code::MH705, outside.replace("`l`", "`l_s`").as_str()),
        ("{type: field_name_mapping, mapping: {l: [m, n]}}", Code::MH705, several),
        (
            "{type: detection_item_failure, message: no, field_name_conditions: [{type: include_fields, fields: [l.a]}]}",
            Code::MH704,
            "r:6:18: a pipeline refuses the rule: no",
        ),
        ("{type: add_condition, conditions: {'l[any]': {b: {c: x}, condition: b}}}", Code::MH705, condition),
        (
            "{type: drop_detection_item}",
            Code::MH705,
            "r:7:14: a pipeline cannot be applied: it drops everything",
        ),
    ] {
        let (found, text) = refused("{'l[any]': {a: x}}", steps);
        assert_eq!(found, code, "{steps}: {text}");
        assert!(text.starts_with(expected), "{steps}: {text}");
    }
    let (code, _) = refused("{'l[any]': {a|fieldref: b}}", "{type: field_name_mapping, mapping: {l.b: b}}");
    assert_eq!(code, Code::MH705);
}

#[test]
fn long_names_in_blocks_count_against_the_limit() {
    let long = "l".repeat(200_000);
    let items: Vec<String> = (0..200).map(|index| format!("a{index}: x")).collect();
    let (code, _) = refused(&format!("{{'{long}[any]': {{{}}}}}", items.join(", ")), "");
    assert_eq!(code, Code::MH003);
    let (code, _) = refused(&format!("{{'{}a': x}}", "a[any].".repeat(400_000)), "");
    assert_eq!(code, Code::MH003);
    let values = vec!["x"; 200].join(", ");
    let (code, _) = refused(&format!("{{'{long}|all': [{values}]}}"), "");
    assert_eq!(code, Code::MH003);
}

#[test]
fn blocks_of_rules_about_event_objects_look_into_requests() {
    let parsed = parse(
        "events",
        "{'involvedObject[none]': {name: x}, 'metadata.managedFields[any]': {manager: y}}",
        "",
    );
    assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
    let found = tree(parsed.rules[0].condition().unwrap());
    assert_eq!(
        found["all"][1],
        json!({"all": [
            {"all": [
                {"requestObject.involvedObject[none]": "name: text x"},
                {"requestObject.regarding[none]": "name: text x"},
            ]},
            {"requestObject.metadata.managedFields[any]": "manager: text y"},
        ]})
    );
}

#[test]
fn keys_that_may_find_other_elements_are_told() {
    for (selection, expected) in [
        ("{'pod.volumes[any].name': x, 'pod.volumes[any].hostPath.path': /}", 1),
        ("{'pod.volumes[any].name|startswith': x, 'pod.volumes[any].name|endswith': y}", 1),
        ("{'container[any]': {'env[any].name': x, 'env[any].value': y}}", 1),
        ("{'pod.volumes[any].name': x, 'container[any].name': y}", 0),
        ("{'pod.volumes[all].name': x, 'pod.volumes[all].hostPath.path': /}", 0),
        ("{'pod.volumes[0].name': x, 'pod.volumes[0].hostPath.path': /}", 0),
        ("[{'pod.volumes[any].name': x}, {'pod.volumes[any].hostPath.path': /}]", 0),
    ] {
        let codes: Vec<_> = parse("audit", selection, "").problems.iter().map(RuleError::code).collect();
        assert_eq!(codes, vec![Code::MH220; expected], "{selection}");
    }
}
