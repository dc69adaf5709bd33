//! Computed fields over events of every shape.

use proptest::prelude::*;

use super::{Known, List, Part, TABLE, find, markdown_table, names, read};
use crate::event::Event;
use crate::field::{Field, Settings, Sight, Value, View};
use crate::summary::{SENTENCE_CHARACTERS_MAX, summary};

/// The values of a field, separated by `|`; `?` where it cannot be known.
fn values(event: &str, field: &str) -> String {
    let event = Event::parse(event.as_bytes()).unwrap();
    let settings = Settings { proxies: vec!["10.9.0.0/16".parse().unwrap()] };
    let mut values = Vec::new();
    let sight = Field::parse(field).read(View { event: &event, settings: &settings }, &mut values);
    let texts: Vec<String> = values
        .iter()
        .map(|value| match value {
            Value::Json(json) if json.text().is_none() => format!("{json:?}"),
            value => value.text().unwrap().into_owned(),
        })
        .collect();
    match (sight, texts.as_slice()) {
        (Sight::Hidden, []) => "?".to_owned(),
        (Sight::Hidden, texts) => format!("{}|?", texts.join("|")),
        (Sight::Clear, texts) => texts.join("|"),
    }
}

#[track_caller]
fn check(event: &str, field: &str, expected: &str) {
    assert_eq!(values(event, field), expected, "{field} of {event}");
}

/// A write of `body` to a resource, with more top-level keys behind it.
fn write(verb: &str, resource: &str, body: &str, more: &str) -> String {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    format!(
        r#"{{"verb":"{verb}","level":"RequestResponse","stage":"ResponseComplete","objectRef":{{"resource":"{resource}","subresource":"{subresource}","namespace":"dev"}},"requestObject":{body}{more}}}"#
    )
}

#[test]
fn the_table_is_consistent() {
    for entry in TABLE {
        assert!(find(entry.name).is_some(), "{}", entry.name);
        assert_eq!(names().filter(|name| *name == entry.name).count(), 1, "{}", entry.name);
        assert!(crate::event::Key::from_name(entry.name).is_none(), "{} hides a raw key", entry.name);
    }
    assert!(find("container.image.registry") != find("container.image"));
    assert!(find("pod.").is_none() && find("verb").is_none() && find("actor.shoe").is_none());
    assert_eq!(find("hostPath"), find("pod.hostpath"));
    assert_eq!(find("apiGroup"), Some(Field::Path("objectRef.apiGroup".into())));
    assert_eq!(markdown_table().lines().count(), TABLE.len() + 2);
}

#[test]
fn outcomes_tell_who_refused() {
    let cases = [
        (r#""stage":"RequestReceived""#, "pending"),
        (r#""stage":"ResponseComplete""#, "succeeded"),
        (r#""stage":"Panic""#, "failed"),
        (r#""responseStatus":{"status":"Failure"}"#, "failed"),
        (r#""responseStatus":{"code":200}"#, "succeeded"),
        (r#""responseStatus":{"code":"201"}"#, "succeeded"),
        (r#""responseStatus":{"code":101}"#, "succeeded"),
        (r#""responseStatus":{"code":304}"#, "succeeded"),
        (r#""responseStatus":{"code":401}"#, "denied"),
        (r#""responseStatus":{"code":403}"#, "denied"),
        (
            r#""responseStatus":{"code":403},"annotations":{"authorization.k8s.io/decision":"allow"}"#,
            "rejected",
        ),
        (
            r#""responseStatus":{"code":403},"annotations":{"authorization.k8s.io/decision":"forbid"}"#,
            "denied",
        ),
        (r#""annotations":{"authorization.k8s.io/decision":"forbid"}"#, "denied"),
        (r#""responseStatus":{"code":400}"#, "rejected"),
        (r#""responseStatus":{"code":413}"#, "rejected"),
        (r#""responseStatus":{"code":422}"#, "rejected"),
        (r#""responseStatus":{"code":404}"#, "failed"),
        (r#""responseStatus":{"code":409}"#, "failed"),
        (r#""responseStatus":{"code":500}"#, "failed"),
        (r#""responseStatus":{"code":[]},"annotations":[]"#, "pending"),
        (r#""responseStatus":{"code":-1e99999}"#, "pending"),
    ];
    for (event, expected) in cases {
        check(&format!("{{{event}}}"), "outcome", expected);
    }
}

#[test]
fn a_dry_run_is_what_the_api_server_takes_for_one() {
    for (event, expected) in [
        (r#"{"verb":"create","requestURI":"/api?dryRun=All"}"#, "true"),
        (r#"{"verb":"patch","requestURI":"/api?a=b&dry%52un=%41ll"}"#, "true"),
        (r#"{"verb":"list","requestURI":"/api?dryRun=All"}"#, "false"),
        (r#"{"verb":"create","objectRef":{"subresource":"exec"},"requestURI":"/api?dryRun=All"}"#, "false"),
        (r#"{"requestURI":"/api?dryRun=None"}"#, "false"),
        (r#"{"requestURI":"/api/dryRun=All"}"#, "false"),
        (r#"{"verb":"delete","requestURI":"/api?dryRun=All","requestObject":{}}"#, "false"),
        (r#"{"verb":"delete","requestURI":"/api","requestObject":{"dryRun":["All"]}}"#, "true"),
        (r#"{"verb":"delete","requestURI":"/api?dryRun=All","level":"Request"}"#, "true"),
        (r#"{"verb":"delete","requestURI":"/api?dryRun=All","level":"Metadata"}"#, "false"),
        (r#"{"verb":"delete","objectRef":{"subresource":"proxy"},"requestURI":"/api?dryRun=All"}"#, "false"),
        (r#"{"verb":"create","requestURI":"/api","requestObject":{"dryRun":["All"]}}"#, "false"),
        (
            r#"{"verb":"create","objectRef":{"resource":"serviceaccounts","subresource":"token"},"requestURI":"/api?dryRun=All"}"#,
            "false",
        ),
        (
            r#"{"verb":"create","objectRef":{"resource":"serviceaccounts"},"requestURI":"/api?dryRun=All"}"#,
            "true",
        ),
        (
            r#"{"verb":"create","objectRef":{"apiGroup":"authorization.k8s.io"},"requestURI":"/api?dryRun=All"}"#,
            "false",
        ),
    ] {
        check(event, "dry_run", expected);
    }
}

#[test]
fn what_an_apply_makes_is_made() {
    for (event, expected) in [
        (r#"{"verb":"create"}"#, "true"),
        (r#"{"verb":"patch","responseStatus":{"code":201}}"#, "true"),
        (r#"{"verb":"update","responseStatus":{"code":201}}"#, "true"),
        (r#"{"verb":"patch","responseStatus":{"code":200}}"#, "false"),
        (r#"{"verb":"patch"}"#, "false"),
        (r#"{"verb":"get","responseStatus":{"code":201}}"#, "false"),
        ("{}", "false"),
    ] {
        check(event, "creates", expected);
    }
}

#[test]
fn actors_are_told_apart_by_exact_names() {
    for (user, kind) in [
        (r#"{"username":"alice","groups":["system:authenticated"]}"#, "human"),
        (r#"{"username":"system:foo"}"#, "human"),
        (r#"{"username":"system:apiserver"}"#, "controlplane"),
        (r#"{"username":"system:apiserver2"}"#, "human"),
        (r#"{"username":"system:kube-scheduler"}"#, "controlplane"),
        (r#"{"username":"system:serviceaccount:dev:app"}"#, "serviceaccount"),
        (r#"{"username":"system:serviceaccount:dev"}"#, "human"),
        (r#"{"username":"system:serviceaccount:dev:"}"#, "human"),
        (r#"{"username":"system:serviceaccount:dev:app:x"}"#, "human"),
        (r#"{"username":"system:node:n1","groups":["system:nodes"]}"#, "node"),
        (r#"{"username":"system:node:n1"}"#, "node"),
        (r#"{"username":"system:node:n1","groups":["other"]}"#, "human"),
        (r#"{"username":"system:node:"}"#, "human"),
        (r#"{"username":"system:anonymous"}"#, "anonymous"),
        (r#"{"username":""}"#, "anonymous"),
        (r#"{"username":"x","groups":["system:unauthenticated"]}"#, "anonymous"),
        (r#"{"username":7,"groups":{}}"#, "anonymous"),
    ] {
        check(&format!(r#"{{"user":{user}}}"#), "actor.kind", kind);
    }
    let event = r#"{"user":{"username":"alice"},"impersonatedUser":{"username":"system:serviceaccount:dev:\u0061pp","groups":["g","h"]}}"#;
    check(event, "actor.name", "system:serviceaccount:dev:app");
    check(event, "actor.original", "alice");
    check(event, "actor.groups", "g|h");
    check(event, "actor.namespace", "dev");
    check(r#"{"user":{"username":"alice"}}"#, "actor.original", "");
    check(r#"{"user":{"username":"alice"}}"#, "actor.namespace", "");
}

#[test]
fn the_source_is_what_the_client_cannot_choose() {
    for (ips, ip, scope) in [
        (r#"["8.8.8.8","203.0.113.9"]"#, "203.0.113.9", "public"),
        (r#"["8.8.8.8","192.168.1.1","10.9.0.1"]"#, "192.168.1.1", "private"),
        (r#"["10.9.0.2","10.9.0.1"]"#, "10.9.0.2", "private"),
        (r#"["::1"]"#, "::1", "loopback"),
        (r#"["::ffff:127.0.0.1"]"#, "::ffff:127.0.0.1", "loopback"),
        (r#"["fe80::1"]"#, "fe80::1", "private"),
        (r#"["2001:db8::1"]"#, "2001:db8::1", "public"),
        (r#"["not an address"]"#, "not an address", ""),
        (r"[7,{}]", "", ""),
    ] {
        let event = format!(r#"{{"sourceIPs":{ips}}}"#);
        check(&event, "source.ip", ip);
        check(&event, "source.scope", scope);
    }
    check(r#"{"userAgent":"kubectl/v1.36 (linux)"}"#, "client.family", "kubectl");
    check(r#"{"userAgent":"curl\u002f8 x"}"#, "client.family", "curl");
}

#[test]
fn commands_are_read_from_every_way_into_a_container() {
    let event = |resource: &str, uri: &str, more: &str| {
        let (resource, subresource) = resource.split_once('/').unwrap();
        format!(
            r#"{{"verb":"get","objectRef":{{"resource":"{resource}","subresource":"{subresource}"}},"requestURI":"{uri}"{more}}}"#
        )
    };
    let exec = event(
        "pods/exec",
        "/x?command=sh&command=-c&container=main&c%6fmmand=curl+a%26b&tty=true&stdin=0",
        "",
    );
    check(&exec, "exec.command", "sh -c curl a&b");
    check(&exec, "exec.container", "main");
    check(&exec, "exec.tty", "true");
    check(&exec, "exec.stdin", "false");
    // What the API server skips: a broken escape, and from 1.23 on a raw semicolon.
    let decoy = event("pods/exec", "/x?command=rm+%zz&command=xmrig&command=%", "");
    check(&decoy, "exec.command", "xmrig");
    let decoy = event("pods/exec", "/x?command=rm+;&command=xmrig", "");
    check(&decoy, "exec.command", "; xmrig|; rm  xmrig");
    check(&event("pods/exec", "/x?a=;command=xmrig;command=-o", ""), "exec.command", "; xmrig -o");
    check(&event("pods/exec", "/x?command=a%3Bb", ""), "exec.command", "a;b");
    let body =
        event("pods/exec", "/x", r#","requestObject":{"command":["cat","x"],"container":"c","tty":true}"#);
    check(&body, "exec.command", "cat x");
    check(&body, "exec.container", "c");
    check(&body, "exec.tty", "true");
    check(&event("pods/attach", "/x?container=c&command=x", ""), "exec.command", "");
    check(&event("pods/attach", "/x?container=c&tty", ""), "exec.tty", "true");
    let run = event("nodes/proxy", "/api/v1/nodes/n/%70roxy/run/ns/pod/main?cmd=cat%20/x", "");
    check(&run, "exec.command", "cat /x");
    check(&run, "exec.container", "main");
    check(
        &event("nodes/proxy", "/api/v1/nodes/n/proxy/exec/ns/p/uid/c?command=id", ""),
        "exec.container",
        "c",
    );
    check(&event("nodes/proxy", "/api/v1/nodes/n/proxy/pods?cmd=x", ""), "exec.command", "");
    check(&event("pods/log", "/x?command=x&tty=true", ""), "exec.tty", "");
}

#[test]
fn objects_are_named_from_wherever_the_name_stands() {
    check(r#"{"objectRef":{"name":"a"},"responseObject":{"metadata":{"name":"b"}}}"#, "object.name", "a");
    check(r#"{"objectRef":{},"responseObject":{"metadata":{"name":"b"}}}"#, "object.name", "b");
    check(r#"{"requestObject":{"metadata":{"generateName":"c-"}}}"#, "object.name", "c-");
    check(r#"{"verb":"create","level":"Metadata"}"#, "object.name", "?");
    check(r#"{"verb":"list","level":"Metadata"}"#, "object.name", "");
}

const SPEC: &str = r#"{"hostNetwork":true,"volumes":[{"name":"v","hostPath":{"path":"/var//run/"}}],"containers":[{"name":"a","image":"Quay.io/X/y:1","command":["sh","-c"],"args":["id",7],"livenessProbe":{"exec":{"command":["probe","it"]}},"lifecycle":{"preStop":{"exec":{"command":["stop"]}}}}],"initContainers":[{"name":"i","image":"nginx@sha256:abc","securityContext":{"capabilities":{"add":["cap_sys_admin","Net_Admin"]}}}]}"#;

#[test]
fn a_pod_spec_is_found_wherever_it_lives() {
    let shapes = [
        ("pods", r#"{"spec":SPEC}"#),
        ("podtemplates", r#"{"template":{"spec":SPEC}}"#),
        ("deployments", r#"{"spec":{"template":{"spec":SPEC}}}"#),
        ("jobs", r#"{"spec":{"template":{"spec":SPEC}}}"#),
        ("cronjobs", r#"{"spec":{"jobTemplate":{"spec":{"template":{"spec":SPEC}}}}}"#),
        ("knativeservices", r#"{"spec":{"template":{"spec":SPEC}}}"#),
        ("deployments", r#"[{"op":"replace","path":"/spec/template/spec","value":SPEC}]"#),
        (
            "deployments",
            r#"[{"op":"test","path":"/x","value":1},{"op":"add","path":"x/spec","value":{"template":{"spec":SPEC}}}]"#,
        ),
        ("deployments", r#"[{"op":"replace","path":"","value":{"spec":{"template":{"spec":SPEC}}}}]"#),
    ];
    for (resource, body) in shapes {
        let event = write("patch", resource, &body.replace("SPEC", SPEC), "");
        check(&event, "pod.hostNetwork", "true");
        check(&event, "pod.volumes.name", "v");
        check(&event, "hostPath", "/var/run");
        check(&event, "container.name", "a|i");
        check(&event, "container.command_line", "sh -c id 7|stop|probe it");
        check(&event, "container.image.registry", "quay.io|docker.io");
        check(&event, "container.image.repository", "x/y|library/nginx");
        check(&event, "container.image.tag", "1");
        check(&event, "container.image.digest", "sha256:abc");
        check(&event, "container.capabilities.add", "SYS_ADMIN|NET_ADMIN");
        check(&event.replace("\"patch\"", "\"get\""), "container.name", "");
    }
    let kind = format!(r#"{{"verb":"create","requestObject":{{"kind":"Pod","spec":{SPEC}}}}}"#);
    check(&kind, "container.name", "a|i");
    for subresource in ["status", "scale", "binding", "eviction"] {
        check(
            &write("update", &format!("pods/{subresource}"), &format!(r#"{{"spec":{SPEC}}}"#), ""),
            "container.name",
            "",
        );
    }
    check(
        &write("patch", "pods/ephemeralcontainers", r#"{"spec":{"ephemeralContainers":[{"name":"e"}]}}"#, ""),
        "container.name",
        "e",
    );
    check(
        &write("update", "pods/ephemeralcontainers", r#"{"ephemeralContainers":[{"name":"e"}]}"#, ""),
        "container.name",
        "e",
    );
    check(
        &write(
            "patch",
            "pods/ephemeralcontainers",
            r#"[{"op":"add","path":"/ephemeralContainers/-","value":{"name":"e"}}]"#,
            "",
        ),
        "container.name",
        "e",
    );
}

#[test]
fn a_key_of_ones_own_hides_nothing() {
    let body = r#"{"spec":{"containers":[{"env":[{"value":"evil"}],"env.value":"x","env.value":"y"}]}}"#;
    check(&write("patch", "pods", body, ""), "container.env.value", "evil|y");
    check(&write("patch", "pods", body, ""), "requestObject.spec.containers.env.value", "evil|y");
}

#[test]
fn what_is_not_logged_is_unknowable_only_where_it_would_stand() {
    let event = |resource: &str| {
        format!(r#"{{"verb":"create","level":"Metadata","objectRef":{{"resource":"{resource}"}}}}"#)
    };
    check(&event("pods"), "container.image", "?");
    check(&event("pods"), "container.image.tag", "?");
    check(&event("pods"), "pod.hostpath", "?");
    check(&event("configmaps"), "container.image", "");
    check(&event("clusterrolebindings"), "rbac.role", "?");
    check(&event("clusterrolebindings"), "container.image", "");
    check(&event("roles"), "rbac.rule.verbs", "?");
    check(&event("certificatesigningrequests"), "csr.common_name", "?");
}

#[test]
fn a_json_patch_hides_nothing() {
    let patched = |operations: &str, response: &str| {
        let response =
            if response.is_empty() { String::new() } else { format!(r#","responseObject":{response}"#) };
        write("patch", "deployments", &format!("[{operations}]"), &response)
    };
    let path = "/spec/template/spec/containers";
    check(
        &patched(&format!(r#"{{"op":"replace","path":"{path}/0/image","value":"x"}}"#), ""),
        "container.image",
        "x",
    );
    check(
        &patched(&format!(r#"{{"op":"add","path":"{path}/-","value":{{"image":"x"}}}}"#), ""),
        "container.image",
        "x",
    );
    check(
        &patched(&format!(r#"{{"op":"add","path":"{path}/-1/env/0/value","value":"x"}}"#), ""),
        "container.env.value",
        "x",
    );
    check(
        &patched(&format!(r#"{{"op":"add","path":"{path}/0/securityContext/privileged","value":true}}"#), ""),
        "container.securityContext",
        "{}",
    );
    check(
        &patched(&format!(r#"{{"op":"remove","path":"{path}/0/image","value":"x"}}"#), ""),
        "container.image",
        "",
    );
    let copy = format!(r#"{{"op":"copy","from":"/metadata/labels/a","path":"{path}/0/image"}}"#);
    check(&patched(&copy, ""), "container.image", "?");
    check(&patched(&copy, ""), "pod.hostNetwork", "");
    check(&patched(&copy, ""), "container.command_line", "?");
    let response =
        r#"{"spec":{"template":{"spec":{"containers":[{"image":"evil","command":["sh","-c","x"]}]}}}}"#;
    check(&patched(&copy, response), "container.image", "evil");
    check(&patched(&copy, r#"{"kind":"Status"}"#), "container.image", "?");
    let detour = format!(
        r#"{{"op":"add","path":"/a","value":[{{"b":"evil"}}]}},{{"op":"move","from":"/a/0","path":"/c"}},{{"op":"copy","from":"/c/b","path":"{path}/0/image"}}"#
    );
    check(&patched(&detour, ""), "container.image", "evil|?");
    let detour = format!(
        r#"{{"op":"add","path":"/a/image","value":"evil"}},{{"op":"move","from":"/a","path":"{path}/0"}}"#
    );
    check(&patched(&detour, ""), "container.image", "evil|?");
    let word = format!(r#"{{"op":"add","path":"{path}/0/command/1","value":"-c"}}"#);
    check(&patched(&word, response), "container.command_line", "-c|sh -c x");
    check(&patched(&word, ""), "container.command_line", "-c|?");
    check(&patched(r#"{"op":"copy","from":"/a","path":"/metadata/labels/b"}"#, ""), "container.image", "");
    let labels: Vec<String> =
        (0..100).map(|n| format!(r#"{{"op":"copy","from":"/a","path":"/metadata/labels/b{n}"}}"#)).collect();
    check(&patched(&format!("{},{copy}", labels.join(",")), response), "container.image", "evil");
    check(
        &patched(r#"7,null,{},{"op":7},{"op":"add"},{"op":"add","path":"/~","value":[]}"#, ""),
        "container.image",
        "",
    );
    check(
        &write("patch", "services", r#"[{"op":"add","path":"/metadata/annotations/a~1b","value":"x"}]"#, ""),
        "container.image",
        "",
    );
}

#[test]
fn a_deletion_in_a_strategic_patch_sets_nothing_unless_it_says_more() {
    let spec = |container: &str| {
        write("patch", "pods", &format!(r#"{{"spec":{{"containers":[{container}]}}}}"#), "")
    };
    check(&spec(r#"{"$patch":"delete","name":"a"}"#), "container.name", "");
    check(&spec(r#"{"$patch":"delete","image":"evil"}"#), "container.image", "evil");
    check(&spec(r#"{"$patch":"delete","name":"a","image":"evil"}"#), "container.image", "evil");
}

#[test]
fn bindings_tell_who_gets_which_role() {
    let whole = r#"{"roleRef":{"kind":"ClusterRole","name":"cluster-admin"},"subjects":[{"kind":"User","name":"m"},{"kind":"ServiceAccount","namespace":"dev","name":"d"}]}"#;
    for resource in ["clusterrolebindings", "rolebindings"] {
        let event = write("create", resource, whole, "");
        check(&event, "rbac.role", "cluster-admin");
        check(&event, "rbac.role_kind", "ClusterRole");
        check(&event, "rbac.subject.kind", "User|ServiceAccount");
        check(&event, "rbac.subject.name", "m|d");
        check(&event, "rbac.subject.namespace", "dev");
    }
    let added = r#"[{"op":"add","path":"/subjects/-","value":{"kind":"User","name":"m"}}]"#;
    let response = format!(r#","responseObject":{whole}"#);
    check(&write("patch", "rolebindings", added, &response), "rbac.role", "cluster-admin");
    check(&write("patch", "rolebindings", added, ""), "rbac.role", "?");
    check(&write("patch", "rolebindings", added, ""), "rbac.subject.name", "m");
    check(&write("patch", "rolebindings", r#"{"metadata":{}}"#, &response), "rbac.role", "");
    check(&write("delete", "rolebindings", whole, ""), "rbac.role", "");
    check(
        &write("create", "roles", r#"{"rules":[{"verbs":["*"],"resources":["a","b"]}]}"#, ""),
        "rbac.rule.resources",
        "a|b",
    );
    check(
        &write("patch", "roles", r#"[{"op":"add","path":"/rules/0/verbs/-","value":"bind"}]"#, ""),
        "rbac.rule.verbs",
        "bind|?",
    );
}

/// O = system:masters, O = dev, CN = jane.
const SIGNING_REQUEST: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIeU1JR1lBZ0VBTURZeEZ6QVZCZ05WQkFvTURuTjVjM1JsYlRwdFlYTjBaWEp6TVF3d0NnWURWUVFLREFOawpaWFl4RFRBTEJnTlZCQU1NQkdwaGJtVXdXVEFUQmdjcWhrak9QUUlCQmdncWhrak9QUU1CQndOQ0FBVFdQckZaClk4b1M3QWt4MjFHdnl2QjQvNlpBQlQ5UFR3eGFHMzJXWTNRY0k0UitybW5JMSt0bjdlc1hNaDd4L2tjeTRkMGUKN1pDYmJHVGxuUThKYnh2b29BQXdDZ1lJS29aSXpqMEVBd0lEU1FBd1JnSWhBSUJQZURjMTVPM2RjUFNESmdJcgpERFMzQ3JzNG5KaHlkbWl0UmVzS2ZxZ1BBaUVBaXlORXN0TTF6N2xwelpsb3pFd0hkY2krakZ0WTY2TEhKOUhDCkJQRVhwUk09Ci0tLS0tRU5EIENFUlRJRklDQVRFIFJFUVVFU1QtLS0tLQo=";

#[test]
fn a_signing_request_tells_whom_it_is_for() {
    let body = format!(r#"{{"spec":{{"request":"{SIGNING_REQUEST}"}}}}"#);
    let event = write("create", "certificatesigningrequests", &body, "");
    check(&event, "csr.common_name", "jane");
    check(&event, "csr.organization", "system:masters|dev");
    check(&write("update", "certificatesigningrequests/status", &body, ""), "csr.common_name", "");
}

#[test]
fn a_signing_request_that_is_nonsense_asks_for_nobody() {
    for request in ["", "!!!", "AAAA", "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0=", "7", "MIIBAA=="] {
        let event = write(
            "create",
            "certificatesigningrequests",
            &format!(r#"{{"spec":{{"request":"{request}"}}}}"#),
            "",
        );
        check(&event, "csr.common_name", "");
    }
}

#[test]
fn huge_events_take_linear_time() {
    let container = r#"{"image":"a","command":["b"]},"#.repeat(20_000);
    let event = write(
        "create",
        "pods",
        &format!(r#"{{"spec":{{"containers":[{container}{{"image":"evil"}}]}}}}"#),
        "",
    );
    assert!(values(&event, "container.image").ends_with("|evil"));
    let copies: Vec<String> =
        (0..10_000).map(|n| format!(r#"{{"op":"copy","from":"/a","path":"/spec/a{n}"}}"#)).collect();
    let response =
        format!(r#","responseObject":{{"spec":{{"containers":[{container}{{"image":"evil"}}]}}}}"#);
    let event = write("patch", "pods", &format!("[{}]", copies.join(",")), &response);
    assert!(values(&event, "container.image").ends_with("|evil"));
}

// A test may look at the clock.
#[allow(clippy::disallowed_methods)]
#[test]
fn a_lookup_does_not_follow_a_patch_to_the_bottom() {
    let deep = |depth: usize| format!("{}{{}}{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    let copies: Vec<String> = (0..64)
        .map(|n| format!(r#"{{"op":"copy","from":"/b","path":"{}"}}"#, "/a".repeat(9_000 - n)))
        .collect();
    let response = format!(r#","responseObject":{}"#, deep(9_900));
    let event = write("patch", "widgets", &format!("[{}]", copies.join(",")), &response);
    // Would take minutes if every copy were looked up as deep as it points.
    assert_eq!(values(&event, "container.image"), "");
}

/// JSON built of the words that the fields look for, in places where they do and do not belong.
fn json() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "spec",
        "template",
        "jobTemplate",
        "containers",
        "ephemeralContainers",
        "image",
        "command",
        "args",
        "roleRef",
        "subjects",
        "rules",
        "name",
        "kind",
        "op",
        "path",
        "value",
        "request",
        "metadata",
        "add",
        "copy",
        "/spec/containers/0/image",
        "/subjects/-",
        "a/b:c@d",
        "\\ud800",
        "",
        "hostPath",
        "volumes",
        "$patch",
        "delete",
        "conditions",
        "status",
        "users",
        "verbs",
        "Status",
        "%zz+%41",
        "securityContext",
    ]);
    let text = word.clone().prop_map(|word| format!("\"{word}\""));
    let leaf = prop_oneof![text, Just("null".to_owned()), Just("true".to_owned()), Just("-1e5".to_owned())];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        let entry = (word.clone(), inner.clone()).prop_map(|(key, value)| format!("\"{key}\":{value}"));
        prop_oneof![
            prop::collection::vec(inner, 0..6).prop_map(|elements| format!("[{}]", elements.join(","))),
            prop::collection::vec(entry, 0..6).prop_map(|entries| format!("{{{}}}", entries.join(","))),
        ]
    })
}

/// What an event shows of a field, of the list that it is, and of a list with a name of its own.
fn shown(field: &Field, known: &Known<'_>) -> String {
    let mut values = Vec::new();
    let sight = field.read_known(known, &mut values);
    let lists = [List::Field(field.clone()), List::Containers, List::Subjects, List::Rules];
    let elements =
        lists.iter().flat_map(|list| [None, Some(0)].map(|position| list.elements(position, known)));
    let elements: Vec<_> = elements
        .map(|elements| {
            let mut values = Vec::new();
            let whole = Part::Path(String::new());
            let sights = elements.all.iter().map(|element| element.read(&whole, &mut values));
            (sights.collect::<Vec<_>>(), values, elements.sight)
        })
        .collect();
    format!("{values:?} {sight:?} {elements:?}")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn no_event_panics_or_speaks_out_of_line(
        verb in prop::sample::select(vec!["create", "update", "patch", "get", "list", "delete", "x`\\n"]),
        resource in prop::sample::select(vec![
            "pods", "deployments", "cronjobs", "rolebindings", "clusterroles", "certificatesigningrequests", "nodes", "",
        ]),
        subresource in prop::sample::select(vec!["", "exec", "ephemeralcontainers", "proxy", "approval", "portforward"]),
        key in prop::sample::select(crate::event::Key::ALL.to_vec()),
        bodies in prop::collection::vec(json(), 3),
    ) {
        let text = format!(
            r#"{{"verb":"{verb}","objectRef":{{"resource":"{resource}","subresource":"{subresource}"}},"requestObject":{},"responseObject":{},"{}":{}}}"#,
            bodies[0], bodies[1], key.name(), bodies[2],
        );
        let event = Event::parse(text.as_bytes()).unwrap();
        let settings = Settings::default();
        let view = View { event: &event, settings: &settings };
        for entry in TABLE {
            if let Some(Field::Derived(derived, _)) = find(entry.name) {
                let _ = read(derived, "", view, &mut Vec::new());
                let _ = read(derived, "spec.name", view, &mut Vec::new());
            }
        }
        let known = Known::new(view);
        let computed = TABLE.iter().map(|entry| Field::parse(&entry.name.replace('*', "spec.containers")));
        for field in computed.chain(["requestObject.spec", "requestObject", "responseObject"].map(Field::parse)) {
            prop_assert_eq!(shown(&field, &known), shown(&field, &Known::new(view)), "{:?}", field);
        }
        let sentence = summary(view);
        prop_assert!(sentence.chars().count() <= SENTENCE_CHARACTERS_MAX);
        prop_assert!(!sentence.chars().any(char::is_control), "{sentence:?}");
        prop_assert!(sentence.matches('`').count().is_multiple_of(2), "{sentence:?}");
    }
}

#[test]
fn what_is_written_is_found_in_every_shape() {
    let service = |verb: &str, body: &str| write(verb, "services", body, "");
    check(&service("create", r#"{"spec":{"type":"NodePort"}}"#), "written.spec.type", "NodePort");
    check(&service("patch", r#"{"spec":{"type":"NodePort"}}"#), "written.spec.type", "NodePort");
    let operation = |op: &str, path: &str, value: &str| {
        service("patch", &format!(r#"[{{"op":"{op}","path":"{path}","value":{value}}}]"#))
    };
    check(&operation("replace", "/spec/type", r#""NodePort""#), "written.spec.type", "NodePort");
    check(&operation("add", "/spec", r#"{"type":"NodePort"}"#), "written.spec.type", "NodePort");
    let label = operation("add", "/metadata/labels/a.b~1c", r#""d""#);
    check(&label, "written.metadata.labels.a.b/c", "d");
    check(&operation("remove", "/spec/type", r#""NodePort""#), "written.spec.type", "");
    check(&service("get", r#"{"spec":{"type":"NodePort"}}"#), "written.spec.type", "");
}

#[test]
fn what_a_patch_takes_away_is_told() {
    let told = |verb: &str, body: &str, expected: &str| {
        check(&write(verb, "namespaces", body, ""), "removed.metadata.labels.a.b/c", expected);
    };
    told("patch", r#"{"metadata":{"labels":{"a.b/c":null}}}"#, "true");
    told("patch", r#"{"metadata":{"labels":null}}"#, "true");
    told("patch", r#"{"metadata":null}"#, "true");
    told("patch", r#"{"metadata":{"labels":{"$patch":"delete"}}}"#, "true");
    told("patch", r#"{"metadata":{"labels":{"$patch":"replace","x":"y"}}}"#, "true");
    told("patch", r#"{"metadata":{"labels":{"$patch":"replace","a.b/c":"y"}}}"#, "false");
    told("patch", r#"{"metadata":{"labels":{"a.b/c":"y","x":null}}}"#, "false");
    told("patch", r#"[{"op":"remove","path":"/metadata/labels/a.b~1c"}]"#, "true");
    told("patch", r#"[{"op":"remove","path":"/metadata/labels"}]"#, "true");
    told("patch", r#"[{"op":"remove","path":""}]"#, "true");
    told("patch", r#"[{"op":"remove","path":"/metadata/labels/x"}]"#, "false");
    told("patch", r#"[{"op":"move","from":"/metadata/labels/a.b~1c","path":"/x"}]"#, "true");
    told("patch", r#"[{"op":"replace","path":"/metadata/labels","value":{"x":"y"}}]"#, "true");
    told("patch", r#"[{"op":"replace","path":"/metadata/labels","value":{"a.b/c":"y"}}]"#, "false");
    told("patch", r#"[{"op":"replace","path":"/metadata/labels/a.b~1c","value":null}]"#, "true");
    told("patch", r#"[{"op":"replace","path":"/metadata/labels/a.b~1c","value":"y"}]"#, "false");
    told("patch", r#"[{"op":"test","path":"/metadata/labels/a.b~1c"}]"#, "false");
    told("update", r#"{"metadata":{"labels":{"a.b/c":"y"}}}"#, "false");
    told("update", r#"{"metadata":{"labels":{}}}"#, "?");
    told("create", r#"{"metadata":{"labels":null}}"#, "false");
    told("get", "null", "false");
}
