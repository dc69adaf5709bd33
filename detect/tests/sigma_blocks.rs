//! Conditions on the elements of lists, from the text of a rule to its verdict.

// The functions around the tests are tests as well.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::path::Path;

use detect::field::Settings;
use detect::sigma::parse;
use detect::{Engine, Event, Truth};

/// The verdict of a rule whose only selection is `selection`, and the fields it shows.
fn judge(selection: &str, event: &str) -> (Truth, Vec<String>) {
    let text = format!(
        "title: t\nid: 5b0c6d1e-9a3f-4c52-8d71-0000000000aa\nlevel: low\n\
        logsource: {{product: kubernetes, service: audit}}\ndetection:\n  it: {selection}\n  condition: it\n"
    );
    let parsed = parse(Path::new("t.yml"), &text);
    assert!(parsed.problems.is_empty(), "{selection}: {:?}", parsed.problems);
    let engine = Engine::new(parsed.rules, Settings::default());
    let mut scratch = engine.scratch();
    let event = Event::parse(event.as_bytes()).unwrap();
    let mut found = (Truth::False, Vec::new());
    engine.evaluate(&event, &mut scratch, |matched| {
        found.1 = matched
            .evidence
            .iter()
            .map(|(name, value)| match value.text() {
                Some(text) => format!("{name}={text}"),
                None => name.clone(),
            })
            .collect();
        found.0 = Truth::True;
    });
    if scratch.blind_counts[0] > 0 {
        found.0 = Truth::Unknown;
    }
    found
}

#[track_caller]
fn check(selection: &str, event: &str, expected: Truth) {
    assert_eq!(judge(selection, event).0, expected, "{selection}\n{event}");
}

use Truth::{False, True, Unknown};

#[test]
fn quantifiers_say_what_the_proposal_says() {
    // Each list with what holds of `any`, `all`, `all_or_empty` and `none`.
    for (list, expected) in [
        (r#"{"requestObject":{"l":["x","x"]}}"#, [True, True, True, False]),
        (r#"{"requestObject":{"l":["x","y"]}}"#, [True, False, False, False]),
        (r#"{"requestObject":{"l":["y"]}}"#, [False, False, False, True]),
        (r#"{"requestObject":{"l":[]}}"#, [False, False, True, True]),
        (r#"{"requestObject":{"l":null}}"#, [False, False, True, True]),
        (r#"{"requestObject":{}}"#, [False, False, True, True]),
        ("{}", [False, False, True, True]),
        (r#"{"requestObject":{"l":"x"}}"#, [True, True, True, False]),
        (r#"{"requestObject":{"l":"y"}}"#, [False, False, False, True]),
        (r#"{"requestObject":{"l":{"a":"x"}}}"#, [False, False, False, True]),
        (r#"{"requestObject":{"l":[{"a":"x"},"x",7]}}"#, [True, False, False, False]),
        (r#"{"requestObject":{"l":[["x"],["x","y"]]}}"#, [True, True, True, False]),
        (r#"{"requestObject":{"l":[[]]}}"#, [False, False, False, True]),
        (r#"{"requestObject":[{"l":["x"]},{"l":["y"]}]}"#, [True, False, False, False]),
        (r#"{"verb":"create","level":"Metadata"}"#, [Unknown; 4]),
    ] {
        for (quantifier, expected) in ["any", "all", "all_or_empty", "none"].into_iter().zip(expected) {
            check(&format!("{{'requestObject.l[{quantifier}]': x}}"), list, expected);
            check(&format!("{{'requestObject.l[{quantifier}]': {{.: x}}}}"), list, expected);
        }
    }
}

#[test]
fn positions_count_from_both_ends() {
    let event = r#"{"requestObject":{"l":["a","b","c"],"s":"a","n":[{"l":["d","e"]},{"l":["f"]}]}}"#;
    for (selection, expected) in [
        ("{'requestObject.l[0]': a}", True),
        ("{'requestObject.l[1]': a}", False),
        ("{'requestObject.l[-1]': c}", True),
        ("{'requestObject.l[-3]': a}", True),
        ("{'requestObject.l[-4]': a}", False),
        ("{'requestObject.l[3]': 'null'}", False),
        ("{'requestObject.l[9223372036854775807]': a}", False),
        ("{'requestObject.l[-9223372036854775808]': a}", False),
        ("{'requestObject.s[0]': a}", False),
        ("{'requestObject.n[1].l[0]': f}", True),
        ("{'requestObject.n[0]': {'l[1]': e, 'l[0]': d}}", True),
        ("{'requestObject.n[any].l[all]': f}", True),
        ("{'requestObject.n[all].l[any]': f}", False),
    ] {
        check(selection, event, expected);
    }
}

#[test]
fn names_may_hold_brackets_and_dots() {
    let event = r#"{"requestObject":{"a[0]":"x","b.c":[{"d.e":"x"},{"d.e":"y"}]}}"#;
    check(r"{'requestObject.a\[0\]': x}", event, True);
    check("{'requestObject.a[0]': x}", event, False);
    check("{'requestObject.b.c[1].d.e': y}", event, True);
    check("{'requestObject.b.c[1]': {d.e|contains: y}}", event, True);
}

#[test]
fn a_body_may_have_selections_of_its_own() {
    let selection = "{'requestObject.l[any]': {one: {a: x}, two: {b|gt: 4}, condition: one and not two}}";
    check(selection, r#"{"requestObject":{"l":[{"a":"x","b":5},{"a":"y","b":1}]}}"#, False);
    check(selection, r#"{"requestObject":{"l":[{"a":"x","b":5},{"a":"x","b":1}]}}"#, True);
    let prefixed = "{'requestObject.l[any].p': {a: x, b: y}}";
    check(prefixed, r#"{"requestObject":{"l":[{"p":{"a":"x","b":"y"}}]}}"#, True);
    check(prefixed, r#"{"requestObject":{"l":[{"p":{"a":"x"}},{"p":{"b":"y"}}]}}"#, False);
    check(
        "{'requestObject.l[any]': {a|fieldref: b}}",
        r#"{"requestObject":{"l":[{"a":1,"b":2},{"a":2}]}}"#,
        False,
    );
    check(
        "{'requestObject.l[any]': {a|fieldref: b}}",
        r#"{"requestObject":{"l":[{"a":1,"b":2},{"a":2,"b":2}]}}"#,
        True,
    );
}

/// A write to `resource`.
fn write(verb: &str, resource: &str, body: &str) -> String {
    format!(
        r#"{{"verb":"{verb}","level":"RequestResponse","stage":"ResponseComplete","objectRef":{{"resource":"{resource}"}},"requestObject":{body}}}"#
    )
}

#[test]
fn one_container_has_it_all_whatever_the_patch() {
    let selection = "{'container[any]': {securityContext.privileged: true, image.registry: evil.io}}";
    let both = r#"{"image":"evil.io/x","securityContext":{"privileged":true}}"#;
    let apart = r#"{"image":"evil.io/x"},{"securityContext":{"privileged":true}}"#;
    for (verb, resource, body, expected) in [
        ("create", "pods", format!(r#"{{"spec":{{"containers":[{both}]}}}}"#), True),
        ("create", "pods", format!(r#"{{"spec":{{"containers":[{apart}]}}}}"#), False),
        ("patch", "deployments", format!(r#"{{"spec":{{"template":{{"spec":{{"initContainers":[{{}},{both}]}}}}}}}}"#), True),
        ("patch", "pods", format!(r#"[{{"op":"add","path":"/spec/containers/-","value":{both}}}]"#), True),
        ("patch", "pods", r#"[{"op":"replace","path":"/spec/containers/0/image","value":"evil.io/x"},{"op":"add","path":"/spec/containers/0/securityContext/privileged","value":true}]"#.into(), True),
        ("patch", "pods", r#"[{"op":"replace","path":"/spec/containers/0/image","value":"evil.io/x"},{"op":"add","path":"/spec/containers/1/securityContext/privileged","value":true}]"#.into(), False),
        ("patch", "pods", r#"[{"op":"replace","path":"/spec/containers/0/image","value":"evil.io/x"},{"op":"add","path":"/spec/initContainers/0/securityContext/privileged","value":true}]"#.into(), False),
        ("patch", "pods", r#"[{"op":"add","path":"/spec/containers/-","value":{"image":"evil.io/x"}},{"op":"add","path":"/spec/containers/1/securityContext","value":{"privileged":true}}]"#.into(), True),
        ("patch", "pods", r#"[{"op":"add","path":"/spec","value":{"containers":[{"image":"evil.io/x"}]}},{"op":"add","path":"/spec/containers/0/securityContext","value":{"privileged":true}}]"#.into(), True),
        ("patch", "pods", r#"[{"op":"copy","from":"/spec/containers/1","path":"/spec/containers/0"}]"#.into(), Unknown),
        ("create", "pods", format!(r#"{{"spec":{{"containers":[{{"$patch":"delete","name":"a"}},{both}]}}}}"#), True),
    ] {
        check(selection, &write(verb, resource, &body), expected);
    }
    let hidden = write("patch", "pods", "null").replace("RequestResponse", "Metadata");
    check(selection, &hidden, Unknown);
}

#[test]
fn nothing_a_patch_adds_hides_what_else_it_adds() {
    let selection = "{'container[any]': {bad: {securityContext.privileged: true}, good: {image.registry: good.io}, condition: bad and not good}}";
    let event = write(
        "patch",
        "pods",
        r#"[{"op":"add","path":"/spec/containers/0","value":{"image":"evil.io/x","securityContext":{"privileged":true}}},{"op":"add","path":"/spec/containers/0","value":{"image":"good.io/x"}},{"op":"add","path":"/spec/containers/0/name","value":"y"}]"#,
    );
    check(selection, &event, True);
}

#[test]
fn positions_in_what_a_json_patch_changes_cannot_be_known() {
    let event = write("patch", "pods", r#"[{"op":"add","path":"/spec/containers/0","value":{"name":"x"}}]"#);
    check("{'container[0].name': x}", &event, Unknown);
    check("{'container[any].name': x}", &event, True);
}

#[test]
fn computed_names_mean_the_one_container() {
    let event = write(
        "create",
        "pods",
        r#"{"spec":{"containers":[{"image":"NGINX","command":["sh","-c"],"args":["id"],"env":[{"name":"A","value":"1"},{"name":"B","value":"2"}],"securityContext":{"capabilities":{"add":["CAP_sys_admin"]}}},{"image":"a/b@sha256:1"}],"volumes":[{"name":"v","hostPath":{"path":"/"}}]}}"#,
    );
    for (selection, expected) in [
        (
            "{'container[any]': {image.repository: library/nginx, image.tag: latest, command_line: sh -c id, capabilities.add: SYS_ADMIN}}",
            True,
        ),
        ("{'container[any]': {image.digest: 'sha256:1', image.tag: null}}", True),
        ("{'container[any]': {image.digest: 'sha256:1', command_line: '*'}}", False),
        ("{'container[any].env[any]': {name: B, value: 2}}", True),
        ("{'container[any]': {'env[any]': {name: A, value: 2}}}", False),
        ("{'container.env[any]': {name: A, value: 1}}", True),
        ("{'container[any].capabilities.add[all]': SYS_ADMIN}", True),
        ("{'container[any].args[0]': id}", True),
        ("{'pod.volumes[any]': {name: v, hostPath.path: /}}", True),
        ("{'container[none]': {securityContext.privileged: true}}", True),
        ("{'container[all]': {image.registry: docker.io}}", True),
    ] {
        check(selection, &event, expected);
    }
}

#[test]
fn bindings_and_roles_have_elements() {
    let binding = write(
        "create",
        "clusterrolebindings",
        r#"{"subjects":[{"kind":"User","name":"system:masters"},{"kind":"Group","name":"x","apiGroup":"g"}]}"#,
    );
    check("{'rbac.subject[any]': {kind: Group, name: 'system:masters'}}", &binding, False);
    check("{'rbac.subject[any]': {kind: Group, name: x, apiGroup: g, namespace: null}}", &binding, True);
    let role = write(
        "create",
        "roles",
        r#"{"rules":[{"verbs":["*"],"resources":["pods"],"apiGroups":[""]},{"verbs":["get"],"resources":["*"],"apiGroups":["*"]}]}"#,
    );
    check("{'rbac.rule[any]': {verbs: '\\*', resources: '\\*', apiGroups: '\\*'}}", &role, False);
    check("{'rbac.rule[any]': {verbs: '\\*', resources: pods}}", &role, True);
    check("{'rbac.rule.verbs[all]': get}", &role, False);
    check("{'rbac.rule[any].verbs[all]': get}", &role, True);
    check("{'rbac.subject[any].name': x}", &role, False);
    check("{'actor.groups[any]': g}", r#"{"user":{"username":"u","groups":["f","g"]}}"#, True);
}

#[test]
fn evidence_is_of_the_element_that_matched() {
    let event = write(
        "create",
        "pods",
        r#"{"spec":{"containers":[{"name":"a"},{"name":"b","env":[{"name":"K","value":"1"}]}]}}"#,
    );
    let selection = "{verb: create, 'container[any]': {name: '*', 'env[any].value': 1}}";
    let (truth, evidence) = judge(selection, &event);
    assert_eq!(truth, True);
    assert_eq!(evidence, ["verb=create", "container[any].name=b", "container[any].env[any].value=1"]);
}
