//! Real logs of two API servers, recorded with labelled attacks: what must be found is
//! found, once, and everyday work stays quiet. Skipped where the recordings are not there.

mod recorded;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use recorded::{alerts, events, labels, shared};
use serde_json::Value;

/// The techniques whose rules ship.
const FAMILIES: [&str; 4] = ["exec/", "secrets/", "rbac/cluster-admin-", "miner/"];

#[test]
fn labelled_attacks_are_found_at_the_level_expected() {
    for log in logs() {
        let found = levels_by_audit_id(&alerts(&log, &[]));
        let present: HashSet<String> = events(&log).iter().map(audit_id).collect();
        let mut missed = Vec::new();
        for label in labels(&log)
            .iter()
            .filter(|label| FAMILIES.iter().any(|family| label.technique.starts_with(family)))
        {
            let needed = if label.expect == "alert" { "medium" } else { "low" };
            let level = found.get(&label.audit_id).map_or(0, |level| rank(level));
            if present.contains(&label.audit_id) && label.expect != "any" && level < rank(needed) {
                missed.push(format!("{} {}: needs {needed}", label.technique, label.audit_id));
            }
        }
        assert!(missed.is_empty(), "{}:\n{}", log.display(), missed.join("\n"));
    }
}

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
fn everyday_work_raises_no_ticket() {
    for log in logs() {
        let labelled: HashSet<String> = labels(&log).into_iter().map(|label| label.audit_id).collect();
        let noise: Vec<String> = alerts(&log, &[])
            .iter()
            .filter(|alert| rank(&text(alert, "/rule/level")) >= rank("medium"))
            .filter(|alert| !labelled.contains(&text(alert, "/audit_ids/0")))
            .map(|alert| format!("{}: {}", text(alert, "/rule/title"), text(alert, "/summary")))
            .collect();
        assert!(noise.is_empty(), "{}:\n{}", log.display(), noise.join("\n"));
    }
}

#[test]
fn every_alert_says_who_did_what() {
    for log in logs() {
        for alert in alerts(&log, &[]) {
            let summary = text(&alert, "/summary");
            assert!(summary.starts_with(&text(&alert, "/actor/name")), "{summary}");
            assert!(!summary.contains(|c: char| c.is_control()), "{summary:?}");
            assert_eq!(text(&alert, "/schema"), "masthead.alert/v1");
            assert!(alert["event"]["auditID"] == alert["audit_ids"][0], "the event is the one that alerted");
        }
    }
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

fn logs() -> Vec<std::path::PathBuf> {
    ["1.20", "1.36"]
        .iter()
        .filter_map(|version| shared(&format!("corpus/k8s-{version}/audit.jsonl.zst")))
        .collect()
}

fn levels_by_audit_id(alerts: &[Value]) -> BTreeMap<String, String> {
    let mut levels: BTreeMap<String, String> = BTreeMap::new();
    for alert in alerts {
        let level = text(alert, "/rule/level");
        let best = levels.entry(text(alert, "/audit_ids/0")).or_insert_with(|| level.clone());
        if rank(&level) > rank(best) {
            *best = level;
        }
    }
    levels
}

fn rank(level: &str) -> usize {
    1 + ["informational", "low", "medium", "high", "critical"]
        .iter()
        .position(|name| *name == level)
        .expect("a level")
}

fn audit_id(event: &Value) -> String {
    text(event, "/auditID")
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}
