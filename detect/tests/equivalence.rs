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
        is_prepared in any::<bool>(),
    ) {
        let engine = Engine::new(conditions.iter().enumerate().map(rule).collect(), Settings::default());
        if is_prepared {
            engine.prepare();
        }
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

/// Asks one engine about every pair of the events, the second with what the first has taught:
/// contexts are remembered from the second time on.
#[track_caller]
fn check_pairs(selection: &str, events: &[&[u8]]) {
    let text = format!(
        "title: t\nid: 5b0c6d1e-9a3f-4c52-8d71-0000000000aa\nlevel: low\n\
        logsource: {{product: kubernetes, service: audit}}\ndetection:\n  it: {selection}\n  condition: it\n"
    );
    let parsed = detect::sigma::parse(std::path::Path::new("t.yml"), &text);
    assert!(parsed.problems.is_empty(), "{selection}: {:?}", parsed.problems);
    let condition = parsed.rules[0].condition().unwrap().clone();
    let engine = Engine::new(parsed.rules, Settings::default());
    for (first, second) in events.iter().flat_map(|first| events.iter().map(move |second| (first, second))) {
        let mut scratch = engine.scratch();
        for event in [first, first, second] {
            let text = String::from_utf8_lossy(event);
            let verdict = verdicts(&engine, &mut scratch, event)[0];
            let before = String::from_utf8_lossy(first);
            assert_eq!(verdict, reference::truth(&condition, &text), "{selection}\n{text}\nafter {before}");
        }
    }
}

#[test]
fn what_stands_beside_the_context_is_read_anew() {
    check_pairs(
        "{'user[any]': {uid: evil}}",
        &[br#"{"user":{"username":"a","uid":"good"}}"#, br#"{"user":{"username":"a","uid":"evil"}}"#],
    );
    check_pairs(
        "{'objectRef[none]': {name: evil}}",
        &[
            br#"{"objectRef":{"resource":"a","name":"b"}}"#,
            br#"{"objectRef":{"resource":"a","name":"evil"}}"#,
        ],
    );
    check_pairs(
        "{objectRef.name: evil}",
        &[
            br#"{"objectRef":{"resource":"a","name":"b"}}"#,
            br#"{"objectRef":{"resource":"a","name":"evil"}}"#,
        ],
    );
    check_pairs(
        "{annotations.a.b: evil}",
        &[
            br#"{"annotations":{"a":{"b":"good"}}}"#,
            br#"{"annotations":{"a":{"b":"evil"}}}"#,
            br#"{"annotations":{"a.b":"evil"}}"#,
        ],
    );
    let reasons = [
        r#"{"annotations":{"authorization":{"k8s":{"io/reason":"good"}}}}"#,
        r#"{"annotations":{"authorization":{"k8s":{"io/reason":"evil"}}}}"#,
        r#"{"annotations":{"authorization":{"k8s.io/reason":"evil"}}}"#,
    ];
    check_pairs("{annotations.authorization.k8s.io/reason: evil}", &reasons.map(str::as_bytes));
    let names = [
        r#"{"annotations":{"authorization.k8s.io/reason":"evil"}}"#,
        r#"{"annotations":{"authorization.k8s.io/reason":"evil","evil":"1"}}"#,
    ];
    let selection = "{annotations.authorization.k8s.io/reason|fieldref: annotation.name}";
    check_pairs(selection, &names.map(str::as_bytes));
    check_pairs(
        "{'user[any]': {extra.\u{FFFD}: evil}}",
        &[b"{\"user\":{\"extra\":{\"\xff\":\"good\"}}}", b"{\"user\":{\"extra\":{\"\xff\":\"evil\"}}}"],
    );
}

#[test]
fn keys_that_are_not_utf_8_are_what_they_are_decoded_to() {
    check_pairs(
        "{user.\u{FFFD}: evil}",
        &[b"{\"user\":{\"\xff\":\"good\"}}", b"{\"user\":{\"\xff\":\"evil\"}}"],
    );
    check_pairs(
        "{requestObject.a\u{FFFD}: evil}",
        &[
            b"{\"requestObject\":{\"a\xff\":\"good\"}}",
            b"{\"requestObject\":{\"a\xff\":\"evil\"}}",
            b"{\"requestObject\":{\"a\xff\":{},\"a\\ufffd\":\"evil\"}}",
        ],
    );
}

#[test]
fn null_is_told_from_absent_and_from_a_body() {
    let bodies: [&[u8]; 4] = [
        br#"{"verb":"create","requestObject":null}"#,
        br#"{"verb":"create","requestObject":{"a":null}}"#,
        br#"{"verb":"create","requestObject":{}}"#,
        br#"{"verb":"create","level":"Metadata"}"#,
    ];
    for selection in ["{requestObject: null}", "{requestObject|exists: true}", "{requestObject.a: null}"] {
        check_pairs(selection, &bodies);
    }
}

#[test]
fn every_entry_of_a_context_counts() {
    check_pairs(
        "{outcome: failed}",
        &[
            br#"{"stage":"ResponseComplete","responseStatus":{"status":"Failure"}}"#,
            br#"{"stage":"ResponseComplete","responseStatus":{"status":"Success"}}"#,
        ],
    );
    check_pairs(
        "{annotation.name: evil}",
        &[br#"{"annotations":{"good":"1"}}"#, br#"{"annotations":{"evil":"1"}}"#],
    );
    check_pairs(
        "{'objectRef.namespace|fieldref': objectRef.name}",
        &[br#"{"objectRef":{"namespace":"a","name":"b"}}"#, br#"{"objectRef":{"namespace":"a","name":"a"}}"#],
    );
    check_pairs(
        "{container.image: evil}",
        &[
            br#"{"verb":"create","requestObject":{"kind":"Secret","spec":{"containers":[{"image":"evil"}]}}}"#,
            br#"{"verb":"create","requestObject":{"kind":"Pod","spec":{"containers":[{"image":"evil"}]}}}"#,
        ],
    );
}

#[test]
fn namespaces_are_told_apart_where_rules_do_so() {
    let events: [&[u8]; 12] = [
        br#"{"verb":"get"}"#,
        br#"{"verb":"get","objectRef":null}"#,
        br#"{"verb":"get","objectRef":{}}"#,
        br#"{"verb":"get","objectRef":{"namespace":null}}"#,
        br#"{"verb":"get","objectRef":{"namespace":""}}"#,
        br#"{"verb":"get","objectRef":{"namespace":"good"}}"#,
        br#"{"verb":"get","objectRef":{"namespace":"evil"}}"#,
        br#"{"verb":"evil","objectRef":{"namespace":"\u0045vil"}}"#,
        br#"{"verb":"get","objectRef":{"namespace":"evil","namespace":"good"}}"#,
        br#"{"verb":"get","objectRef":{"namespace":["good","evil"]}}"#,
        br#"{"verb":"get","objectRef":{"namespace":{"a":"evil"}}}"#,
        br#"{"verb":"get","objectRef":[{"namespace":"good"},{"namespace":"evil"}]}"#,
    ];
    for selection in [
        "{objectRef.namespace: evil}",
        "{objectRef.namespace: null}",
        "{objectRef.namespace: ''}",
        "{objectRef.namespace: '*'}",
        "{objectRef.namespace|exists: false}",
        "{objectRef.namespace|startswith: ev}",
        "{objectRef.namespace|re: '^ev'}",
        "{objectRef.namespace|neq: good}",
        "{objectRef.namespace|fieldref: verb}",
        "{namespace: evil, verb: get}",
        "{objectRef.namespace.a: evil}",
    ] {
        check_pairs(selection, &events);
    }
}

#[test]
fn who_acts_from_where_is_told_apart_where_rules_do_so() {
    let events: [&[u8]; 16] = [
        br#"{"verb":"get"}"#,
        br#"{"verb":"get","user":null,"userAgent":null}"#,
        br#"{"verb":"get","user":{"username":"good"}}"#,
        br#"{"verb":"get","user":{"username":"evil"}}"#,
        br#"{"verb":"evil","user":{"username":"evil"}}"#,
        br#"{"verb":"get","user":{"username":"evil","username":"good"}}"#,
        br#"{"verb":"get","user":{"username":"\u0065vil","groups":["a","evil"]}}"#,
        br#"{"verb":"get","user":{"username":"good","extra":{"evil":["evil"]}}}"#,
        br#"{"verb":"get","impersonatedUser":{"username":"evil"}}"#,
        br#"{"verb":"get","user":{"username":"evil"},"impersonatedUser":{"username":"good"}}"#,
        br#"{"verb":"get","user":{"username":"good"},"impersonatedUser":{"username":"evil"}}"#,
        br#"{"verb":"get","sourceIPs":["203.0.113.9","10.0.0.1"],"userAgent":"evil/1"}"#,
        br#"{"verb":"get","sourceIPs":["10.0.0.1"],"userAgent":"good/1"}"#,
        br#"{"verb":"get","annotations":{"authorization.k8s.io/reason":"evil"},"responseStatus":{"message":"evil"}}"#,
        br#"{"verb":"get","annotations":{"authorization.k8s.io":{"a":"b"}},"responseStatus":{"message":"good"}}"#,
        br#"{"verb":"get","authenticationMetadata":{"impersonationConstraint":"evil"}}"#,
    ];
    for selection in [
        "{actor.name: evil}",
        "{actor.kind: human, verb: get}",
        "{actor.groups: evil}",
        "{actor.original: evil}",
        "{'actor.name|fieldref': verb}",
        "{'actor.name|fieldref': user.username}",
        "{'user.username|fieldref': userAgent}",
        "{'user[none]': {username: evil}}",
        "{user.extra.evil: evil}",
        "{user: null}",
        "{impersonatedUser|exists: true}",
        "{source.scope: private}",
        "{source.ip: 203.0.113.9}",
        "{client.family: evil}",
        "{userAgent: null}",
        "{'userAgent|fieldref': responseStatus.message}",
        "{responseStatus.message: evil}",
        "{annotations.authorization.k8s.io/reason: evil}",
        "{annotation.name: authorization.k8s.io}",
        "{authenticationMetadata.impersonationConstraint: evil}",
    ] {
        check_pairs(selection, &events);
    }
}

#[test]
fn what_a_facet_is_compared_with_is_read_anew() {
    let events: [&[u8]; 6] = [
        br#"{"verb":"get","userAgent":"evil"}"#,
        br#"{"verb":"get","userAgent":"evil","requestURI":"evil"}"#,
        br#"{"verb":"get","userAgent":"evil","requestURI":"good","custom":{"a":"evil"}}"#,
        br#"{"verb":"get","userAgent":"evil","user":{"username":"evil"},"objectRef":{"namespace":"evil"}}"#,
        br#"{"verb":"get","userAgent":"evil","objectRef":{"namespace":"evil","name":"evil"},"annotations":{"evil":"a"}}"#,
        br#"{"verb":"get","userAgent":"evil","impersonatedUser":{"username":"evil"},"objectRef":{"resource":"pods"},"requestObject":{"spec":{"containers":[{"image":"evil"}]}}}"#,
    ];
    for (field, other) in [
        ("userAgent", "requestURI"),
        ("userAgent", "custom.a"),
        ("userAgent", "objectRef.name"),
        ("userAgent", "actor.name"),
        ("userAgent", "annotation.name"),
        ("userAgent", "requestObject.spec.containers.image"),
        ("userAgent", "container.image"),
        ("client.family", "object.name"),
        ("objectRef.namespace", "annotation.name"),
        ("annotation.name", "userAgent"),
        ("actor.name", "userAgent"),
    ] {
        check_pairs(&format!("{{'{field}|fieldref': {other}}}"), &events);
    }
}

#[test]
fn an_object_is_told_from_all_that_is_written_like_it() {
    let events: [&[u8]; 12] = [
        br#"{"objectRef":{"resource":"a","namespace":"good","\u006eamespace":"evil"}}"#,
        br#"{"objectRef":{"resource":"a","namespace":"evil","\u006eamespace":"good"}}"#,
        br#"{"objectRef":{"resource":"a","namespace":"evil","namespace":null}}"#,
        br#"{"objectRef":{"resource":"a","namespace":null,"namespace":"evil"}}"#,
        br#"{"objectRef":{"resource":"a","namespace.a":"evil","namespace":{"a":"good"}}}"#,
        br#"{"objectRef":{"resource":"a","namespace":{"":"evil"}}}"#,
        br#"{"objectRef":{"res\u006furce":"evil","resource":"a","name":null}}"#,
        br#"{"objectRef":{"resource":"a","res\u006furce":"evil","name":"evil"}}"#,
        br#"{"objectRef":"-"}"#,
        br#"{"objectRef":[{"resource":"a","namespace":"evil"}]}"#,
        br#"{"objectRef":{"resource":"a","namespace":"evil"},"objectRef":null}"#,
        br#"{"objectRef":null,"object\u0052ef":{"resource":"a","namespace":"evil"}}"#,
    ];
    for selection in [
        "{objectRef.namespace: evil}",
        "{objectRef.namespace: null}",
        "{objectRef.namespace.a: evil}",
        "{'objectRef.namespace.': evil}",
        "{objectRef.resource: evil}",
        "{objectRef.name: null}",
        "{objectRef: null}",
        "{objectRef: '-'}",
        "{'objectRef.namespace[any]': {.: evil}}",
        "{'objectRef.namespace|fieldref': objectRef.name}",
    ] {
        check_pairs(selection, &events);
    }
}

#[test]
fn what_is_too_long_to_be_remembered_is_told_apart() {
    let (long, longer) = ("x".repeat(5 << 10), "y".repeat(17 << 10));
    let event = |agent: &str, resource: &str, namespace: &str| {
        let object = format!(r#"{{"resource":"{longer}{resource}","namespace":"{long}{namespace}"}}"#);
        format!(r#"{{"verb":"get","userAgent":"{long}{agent}","objectRef":{object}}}"#)
    };
    let events =
        [event("a", "a", "a"), event("evil", "a", "a"), event("a", "evil", "a"), event("a", "a", "evil")];
    let events: Vec<&[u8]> = events.iter().map(String::as_bytes).collect();
    for field in ["userAgent", "objectRef.namespace", "objectRef.resource"] {
        check_pairs(&format!("{{{field}|endswith: evil}}"), &events);
    }
}

#[test]
fn what_is_written_to_is_told_by_the_body_where_nothing_else_does() {
    let event = |kind: &str| {
        let body = format!(r#"{{"kind":"{kind}","spec":{{"containers":[{{"image":"evil"}}]}}}}"#);
        format!(r#"{{"verb":"create","objectRef":{{"subresource":"resize"}},"requestObject":{body}}}"#)
    };
    let (secret, pod) = (event("Secret"), event("Pod"));
    check_pairs("{container.image: evil}", &[secret.as_bytes(), pod.as_bytes()]);
    check_pairs("{'container[any]': {image: evil}}", &[secret.as_bytes(), pod.as_bytes()]);
}

#[test]
fn each_field_tells_that_the_body_decides_what_it_is() {
    let event = |kind: &str| {
        let body = format!(
            r#"{{"kind":"{kind}","roleRef":{{"kind":"evil","name":"evil"}},"subjects":[{{"name":"evil"}}],"rules":[{{"verbs":["evil"]}}]}}"#
        );
        format!(r#"{{"verb":"create","objectRef":{{"namespace":"a"}},"requestObject":{body}}}"#)
    };
    let events = ["Note", "RoleBinding", "Role"].map(event);
    let events: Vec<&[u8]> = events.iter().map(String::as_bytes).collect();
    // The second of two fields is still to ask for what the first was not shown.
    check_pairs("{rbac.role: evil, rbac.role_kind: evil, rbac.subject.name: evil}", &events);
    check_pairs("{'rbac.subject[any]': {name: evil}, rbac.role: evil}", &events);
    check_pairs("{'rbac.rule[any]': {verbs: evil}, rbac.rule.verbs: evil}", &events);
    check_pairs("{written.kind: RoleBinding, written.roleRef.name: evil}", &events);
}

#[test]
fn keys_of_a_body_rule_nothing_out_that_it_holds() {
    let bodies: [&[u8]; 6] = [
        br#"{"verb":"patch","objectRef":{"resource":"pods"},"requestObject":{"spec.volumes":[{"hostPath":{"path":"/"}}],"spec":{"containers":[],"volumes.hostPath.path":"/"}}}"#,
        br#"{"verb":"patch","objectRef":{"resource":"pods"},"requestObject":{"spec":{"containers":[],"v\u006flumes":[{"hostPath":{"p\u0061th":"/"}}]}}}"#,
        br#"{"verb":"patch","objectRef":{"resource":"pods"},"requestObject":[{"op":"add","path":"/spec/volumes/0","value":{"hostPath":{"path":"/"}}}]}"#,
        br#"{"verb":"patch","objectRef":{"resource":"pods"},"requestObject":[{"op":"add","path":"/spec/volumes/0/hostPath/path","value":"/"}]}"#,
        br#"{"verb":"patch","objectRef":{"resource":"pods"},"requestObject":{"spec":{"containers":[],"volumes":[{"name":"a"}]}}}"#,
        br#"{"verb":"patch","objectRef":{"resource":"pods"},"requestObject":{}}"#,
    ];
    for selection in [
        "{pod.hostpath: /}",
        "{pod.volumes.hostPath.path: /}",
        "{written.spec.volumes.hostPath.path: /}",
        "{requestObject.spec.volumes.hostPath.path: [null, /]}",
        "{'pod.volumes[any]': {hostPath.path: /}}",
        "{'pod.volumes[none]': {hostPath.path: /}}",
        "{'pod.volumes[all_or_empty]': {hostPath.path: /}}",
        "{'pod.volumes[any]': {hostPath.path: null}}",
        "{'pod.volumes[any]': {hostPath.path|neq: /}}",
        "[{pod.nothing: a}, {pod.volumes.name: a}]",
    ] {
        check_pairs(selection, &bodies);
    }
}

#[test]
fn keywords_are_found_however_they_are_written() {
    let events: [&[u8]; 8] = [
        br#"{"verb":"plain"}"#,
        br#"{"verb":"EvIl/Path"}"#,
        br#"{"verb":"evil\/path"}"#,
        br#"{"verb":"\u0065vil\u002fpath"}"#,
        "{\"verb\":\"lin\u{212a}\"}".as_bytes(),
        br#"{"verb":"lin\u212a"}"#,
        br#"{"evil/pa\u0074h":1, "link":false}"#,
        b"{\"verb\":\"line\\nbreak \x7f\"}",
    ];
    for selection in [
        "[evil/path]",
        "[link]",
        "[LIN\u{212a}]",
        "['*']",
        "['e?il']",
        "['']",
        "[false]",
        "[plain, link]",
        "[\"line\\nbreak\"]",
        "[\"\u{7f}\"]",
    ] {
        check_pairs(selection, &events);
    }
    check_pairs("{'|re': '^lin'}", &events);
    check_pairs("{'|cased': [link, EvIl]}", &events);
}

#[test]
fn keywords_are_found_in_one_key_or_value() {
    let long = format!(r#"{{"verb":"{}","a":["{}evil",12,"good"]}}"#, "x".repeat(4090), "y".repeat(5000));
    let events: [&[u8]; 12] = [
        br#"{"verb":"get","a":[1,23],"b":{"evil":1}}"#,
        br#"{"verb":"get","a":[1, 23], "b":12}"#,
        br#"{"verb":"get","a":"1,2","b":"3"}"#,
        br#"{"verb":"get","evil":"path","evil/":"path"}"#,
        br#"{"verb":"get","a":"an \"evil\" path","b":"evil"}"#,
        br#"{"verb":"get","a":"evil","b":"an \"evil\" path"}"#,
        br#"{"verb":"get","a":"a\nevil\npath"}"#,
        br#"{"verb":"get","a":"evil","b":"path"}"#,
        br#"{"verb":"get","a":"e\u2028il","b":"evil"}"#,
        "{\"verb\":\"get\",\"\u{e9}\":\"1,2\",\"\u{e9}vil\":[\"evil\"]}".as_bytes(),
        br#"{"verb":"get","a":"nullify","b":null}"#,
        long.as_bytes(),
    ];
    for selection in [
        "['1,2']",
        "['1,2', '23']",
        "[',2', '12']",
        "['evil\"']",
        "['\"evil\"', good]",
        "[\"\\nevil\"]",
        "['evil*path']",
        "['\u{e9}vil']",
        "['evil\u{e9}', '3']",
        "['null']",
        "{'|re': '^evil$'}",
        "{'|re': 'e[v\u{2028}]il'}",
        "{'|re': ['evil.path', '^\"?good']}",
        "{'|cased': ['\"evil', Good]}",
    ] {
        check_pairs(selection, &events);
    }
}
