//! Real logs of two API servers, recorded with attacks: an alert comes once and says who did
//! what, correlations do not depend on order, other people's rules mean what they say.
//! Skipped where the recordings are not there.

// The functions around the tests are tests as well.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::print_stderr)]

mod recorded;

use std::collections::{BTreeMap, BTreeSet};

use recorded::{alerts, audit_id, events, logs, shared, text};
use serde_json::Value;

#[test]
fn a_rule_tells_of_a_request_once() {
    for log in logs() {
        let mut told = BTreeSet::new();
        for alert in alerts(&log, &[]) {
            let request = (text(&alert, "/rule/id"), text(&alert, "/audit_ids/0"), text(&alert, "/time"));
            assert!(told.insert(request.clone()), "{}: told twice: {request:?}", log.display());
        }
        assert!(!told.is_empty());
    }
}

#[test]
fn every_alert_says_who_did_what() {
    for log in logs() {
        for alert in alerts(&log, &[]) {
            let summary = text(&alert, "/summary");
            assert!(!summary.is_empty() && !summary.contains(|c: char| c.is_control()), "{summary:?}");
            assert_eq!(text(&alert, "/schema"), "masthead.alert/v1");
            if alert.get("correlation").is_some() {
                assert!(alert["audit_ids"].as_array().is_some_and(|ids| !ids.is_empty()), "{summary}");
                continue;
            }
            // Behind an impersonation there is somebody: they come first.
            let original = text(&alert, "/actor/original");
            let who = if original.is_empty() { text(&alert, "/actor/name") } else { original };
            assert!(summary.starts_with(&who), "{summary}");
            assert!(alert["event"]["auditID"] == alert["audit_ids"][0], "the event is the one that alerted");
        }
    }
}

/// Correlations with windows short enough to begin and end often in a recording.
const CORRELATIONS: &str = r"
{title: any, name: any, id: 6d0d1c52-0000-4000-8000-000000000001, level: low,
 logsource: {product: kubernetes, service: audit}, detection: {all: {verb: '*'}, condition: all}}
---
{title: writes, name: writes, id: 6d0d1c52-0000-4000-8000-000000000002, level: low,
 logsource: {product: kubernetes, service: audit}, detection: {w: {verb: [create, patch, update]}, condition: w}}
---
{title: bursts, name: bursts, id: 6d0d1c52-0000-4000-8000-000000000003, level: low,
 correlation: {type: event_count, rules: any, group-by: [actor.name], timespan: 1s, condition: {gte: 12}}}
---
{title: breadth, id: 6d0d1c52-0000-4000-8000-000000000004, level: low,
 correlation: {type: value_count, rules: any, group-by: [user.groups], timespan: 2s, condition: {field: [objectRef.resource, objectRef.name], gte: 8}}}
---
{title: few, id: 6d0d1c52-0000-4000-8000-000000000005, level: low,
 correlation: {type: event_count, rules: writes, group-by: [objectRef.namespace], timespan: 3s, condition: {gt: 1, lte: 3}}}
---
{title: then, id: 6d0d1c52-0000-4000-8000-000000000006, level: low,
 correlation: {type: temporal_ordered, rules: [writes, bursts], group-by: [actor.name], timespan: 5s}}
---
{title: new, id: 6d0d1c52-0000-4000-8000-000000000007, level: low,
 correlation: {type: first_seen, rules: any, group-by: [actor.name, objectRef.resource], timespan: 20s, learning: 10s}}
";

#[test]
fn five_minutes_of_disorder_change_no_alert_of_a_correlation() {
    let folder = std::env::temp_dir().join(format!("masthead-disorder-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let (rules, shuffled) = (folder.join("rules.yml"), folder.join("shuffled.jsonl"));
    std::fs::write(&rules, CORRELATIONS).expect("rules");
    let arguments = ["--no-default-rules", "--rules", rules.to_str().expect("UTF-8")];
    for log in logs() {
        let mut arrivals: Vec<(i64, String)> = events(&log)
            .iter()
            .zip(0..)
            .map(|(event, number)| (arrival(event, number), event.to_string()))
            .collect();
        let in_order = arrivals.clone();
        arrivals.sort_by_key(|(arrival, _)| *arrival);
        assert_ne!(arrivals, in_order);
        let lines: Vec<String> = arrivals.into_iter().map(|(_, event)| event).collect();
        std::fs::write(&shuffled, lines.join("\n")).expect("a log");
        let [sorted, shuffled] = [&log, &shuffled].map(|log| correlated(alerts(log, &arguments)));
        assert!(sorted.len() > 20, "{} alerts of {}", sorted.len(), log.display());
        assert_eq!(sorted, shuffled, "{}", log.display());
    }
    std::fs::remove_dir_all(&folder).expect("the folder");
}

/// When an event arrives that comes up to five minutes late, in microseconds.
fn arrival(event: &Value, number: i64) -> i64 {
    let time = chrono::DateTime::parse_from_rfc3339(&text(event, "/requestReceivedTimestamp"));
    time.expect("a time").timestamp_micros() + number * 7_919_017 % 300_000_001
}

/// The alerts of correlations, without the time at which they were made.
fn correlated(mut alerts: Vec<Value>) -> Vec<Value> {
    alerts.retain(|alert| alert.get("correlation").is_some());
    for alert in &mut alerts {
        alert["detected_at"] = Value::Null;
    }
    alerts
}

/// What each of SigmaHQ's Kubernetes rules says, in plain code.
#[test]
fn rules_of_others_load_unmodified_and_fire_where_they_should() {
    let Some(folder) = shared("peers/sigma") else { return };
    for log in logs() {
        let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for alert in alerts(&log, &["--no-default-rules", "--rules", folder.to_str().expect("UTF-8")]) {
            told.entry(text(&alert, "/rule/id")).or_default().insert(text(&alert, "/audit_ids/0"));
        }
        let events = events(&log);
        let mut rules = 0;
        for file in std::fs::read_dir(&folder).expect("a folder").flatten() {
            let rule = std::fs::read_to_string(file.path()).expect("a rule");
            let id = rule.lines().find_map(|line| line.strip_prefix("id: ")).expect("an id").to_owned();
            let name = file.file_name().to_string_lossy().into_owned();
            let expected: BTreeSet<String> =
                events.iter().filter(|event| sigma_says(&name, event)).map(audit_id).collect();
            assert_eq!(told.remove(&id).unwrap_or_default(), expected, "{name} on {}", log.display());
            rules += 1;
        }
        assert_eq!((rules, told.len()), (16, 0));
    }
}

fn sigma_says(file: &str, event: &Value) -> bool {
    let is = |pointer: &str, values: &[&str]| values.contains(&text(event, pointer).as_str());
    let resource = |values: &[&str]| is("/objectRef/resource", values);
    let verb = |values: &[&str]| is("/verb", values);
    let writes = || verb(&["create", "delete", "patch", "update"]);
    match file.trim_start_matches("kubernetes_audit_").trim_end_matches(".yml") {
        "change_admission_controller" => {
            is("/objectRef/apiGroup", &["admissionregistration.k8s.io"])
                && resource(&["mutatingwebhookconfigurations", "validatingwebhookconfigurations"])
                && writes()
        }
        "cronjob_modification" => {
            is("/objectRef/apiGroup", &["batch"]) && resource(&["cronjobs", "jobs"]) && writes()
        }
        "deployment_deleted" => verb(&["delete"]) && resource(&["deployments"]),
        "events_deleted" => verb(&["delete"]) && resource(&["events"]),
        "exec_into_container" => {
            verb(&["create"]) && resource(&["pods"]) && is("/objectRef/subresource", &["exec"])
        }
        "hostpath_mount" => {
            let volumes = event.pointer("/requestObject/spec/volumes").and_then(Value::as_array);
            let mounts =
                volumes.is_some_and(|volumes| volumes.iter().any(|volume| volume.get("hostPath").is_some()));
            verb(&["create"]) && resource(&["pods"]) && mounts
        }
        "pod_in_system_namespace" => {
            verb(&["create"]) && resource(&["pods"]) && is("/objectRef/namespace", &["kube-system"])
        }
        "potential_enumeration_activity" => false,
        "privileged_pod_creation" => {
            let adds = ["containers", "initContainers", "ephemeralContainers"].iter().any(|list| {
                let containers =
                    event.pointer(&format!("/requestObject/spec/{list}")).and_then(Value::as_array);
                containers.is_some_and(|all| {
                    all.iter().any(|one| one.pointer("/securityContext/capabilities").is_some())
                })
            });
            verb(&["create"]) && resource(&["pods"]) && adds
        }
        "rbac_permisions_listing" => {
            verb(&["create"])
                && is("/objectRef/apiGroup", &["authorization.k8s.io"])
                && resource(&["selfsubjectrulesreviews"])
        }
        "rolebinding_modification" => {
            is("/objectRef/apiGroup", &["rbac.authorization.k8s.io"])
                && resource(&["clusterrolebindings", "rolebindings"])
                && writes()
        }
        "secrets_enumeration" => verb(&["list"]) && resource(&["secrets"]),
        "secrets_modified_or_deleted" => resource(&["secrets"]) && writes(),
        "serviceaccount_creation" => verb(&["create"]) && resource(&["serviceaccounts"]),
        "sidecar_injection" => {
            verb(&["patch"]) && is("/objectRef/apiGroup", &["apps"]) && resource(&["deployments"])
        }
        "unauthorized_unauthenticated_actions" => {
            matches!(event.pointer("/responseStatus/code").and_then(Value::as_i64), Some(401 | 403))
        }
        other => panic!("a rule that this test does not know: {other}"),
    }
}
