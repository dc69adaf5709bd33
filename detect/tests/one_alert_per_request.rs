//! A request is told once per rule, and never mistaken for another.

// The functions around the tests are tests as well.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::collections::HashSet;
use std::path::Path;

use detect::alert::{MatchIds, RequestIdentity, id_of};
use detect::sigma::{self, Rule};
use detect::{Event, Seen};

#[test]
fn both_stages_of_an_exec_are_one_alert() {
    let started = event("ResponseStarted", "a", "mallory", "2026-11-21T02:23:04.000001Z");
    let complete = event("ResponseComplete", "a", "mallory", "2026-11-21T02:23:04.000001Z");
    assert_eq!(alerts(&[started, complete], "prod"), 1);
}

#[test]
fn a_forged_audit_id_hides_no_other_request() {
    let events: Vec<String> = (0..1000)
        .map(|n| event("ResponseComplete", "forged", "mallory", &format!("2026-11-21T02:23:04.{n:06}Z")))
        .collect();
    assert_eq!(alerts(&events, "prod"), 1000);
}

#[test]
fn every_part_of_the_identity_counts() {
    let base = event("ResponseComplete", "a", "mallory", "2026-11-21T02:23:04Z");
    let other_user = event("ResponseComplete", "a", "alice", "2026-11-21T02:23:04Z");
    let other_verb = base.replace("\"create\"", "\"get\"");
    let other_uri = base.replace("/exec", "/attach");
    let other_id = event("ResponseComplete", "b", "mallory", "2026-11-21T02:23:04Z");
    let mut ids: HashSet<u128> = [&base, &other_user, &other_verb, &other_uri, &other_id]
        .iter()
        .map(|json| id_of(&rule("r"), "prod", &parse(json)))
        .collect();
    ids.insert(id_of(&rule("r"), "staging", &parse(&base)));
    ids.insert(id_of(&rule("s"), "prod", &parse(&base)));
    assert_eq!(ids.len(), 7);
}

#[test]
fn parts_of_the_identity_cannot_flow_into_each_other() {
    let left = r#"{"auditID":"ab","requestReceivedTimestamp":"c","verb":"get","requestURI":"/"}"#;
    let right = r#"{"auditID":"a","requestReceivedTimestamp":"bc","verb":"get","requestURI":"/"}"#;
    assert_ne!(id_of(&rule("r"), "x", &parse(left)), id_of(&rule("r"), "x", &parse(right)));
}

#[test]
fn how_an_event_is_written_does_not_change_its_identity() {
    let plain = r#"{"auditID":"a","verb":"get","requestURI":"/x","user":{"username":"mallory"}}"#;
    let escaped = "{ \"user\" : {\"username\":\"m\\u0061llory\"},\n\"requestURI\":\"\\/x\", \"verb\":\"get\",\"auditID\":\"a\"}";
    assert_eq!(id_of(&rule("r"), "x", &parse(plain)), id_of(&rule("r"), "x", &parse(escaped)));
}

#[test]
fn matches_that_nobody_is_told_of_are_told_apart_as_alerts_are() {
    let name = |name: &str| {
        format!(
            "title: {name}\nname: {name}\nlogsource: {{product: kubernetes, service: audit}}\n\
             detection: {{a: {{verb: create}}, condition: a}}\n---\n"
        )
    };
    let correlation = "title: c\ncorrelation: {type: temporal, rules: [a, b], timespan: 1m}\n";
    let text = format!("{}{}{}{correlation}", name("a"), name("b"), name("told"));
    let mut rules = sigma::parse(Path::new("t.yml"), &text).rules;
    assert!(sigma::link(&mut rules, &[]).problems.is_empty());
    let ids = MatchIds::of(&rules);
    assert_eq!([0, 1, 2, 3].map(|rule| ids.is_silent(rule)), [true, true, false, false]);
    let alone = MatchIds::of(&rules[..1]);
    assert!(!alone.is_silent(0), "nothing relates it");
    let mut all = HashSet::new();
    for (cluster, user) in [("prod", "mallory"), ("prod", "alice"), ("staging", "alice")] {
        let stages = ["ResponseStarted", "ResponseComplete"].map(|stage| {
            let json = event(stage, "a", user, "2026-11-21T02:23:04Z");
            let identity = RequestIdentity::of(cluster, &parse(&json));
            assert_eq!(ids.id_of(2, &rules[2], &identity), id_of(&rules[2], cluster, &parse(&json)));
            assert_eq!(ids.match_id(0, &identity), alone.match_id(0, &identity));
            [0, 1, 2].map(|rule| ids.id_of(rule, &rules[rule], &identity))
        });
        assert_eq!(stages[0], stages[1]);
        all.extend(stages[0]);
    }
    assert_eq!(all.len(), 9);
}

fn alerts(events: &[String], cluster: &str) -> usize {
    let mut seen = Seen::default();
    events.iter().filter(|json| seen.insert(id_of(&rule("r"), cluster, &parse(json)))).count()
}

fn parse(json: &str) -> Event<'_> {
    Event::parse(json.as_bytes()).expect("an event")
}

fn event(stage: &str, audit_id: &str, user: &str, received: &str) -> String {
    format!(
        r#"{{"kind":"Event","stage":"{stage}","auditID":"{audit_id}","verb":"create","requestURI":"/api/v1/namespaces/dev/pods/web-0/exec?command=sh","user":{{"username":"{user}"}},"requestReceivedTimestamp":"{received}"}}"#
    )
}

fn rule(id: &str) -> Rule {
    let text =
        "{title: t, level: low, logsource: {product: kubernetes}, detection: {a: {verb: get}, condition: a}}";
    let rule = sigma::parse(Path::new("r.yml"), text).rules.remove(0);
    Rule { id: id.to_owned(), ..rule }
}
