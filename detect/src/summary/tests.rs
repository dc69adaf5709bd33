//! Sentences for events of every shape.

use super::summary;
use crate::event::Event;
use crate::field::{Settings, View};

/// The sentence for an event of mallory with these further keys.
#[track_caller]
fn check(keys: &str, expected: &str) {
    let text = format!(r#"{{"user":{{"username":"mallory"}},"stage":"ResponseComplete",{keys}}}"#);
    let event = Event::parse(text.as_bytes()).unwrap();
    let settings = Settings::default();
    assert_eq!(summary(View { event: &event, settings: &settings }), expected, "{text}");
}

/// `verb resource[/subresource] [namespace/][name]` as the keys of an event.
fn act(verb: &str, resource: &str, path: &str, more: &str) -> String {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let (namespace, name) = path.split_once('/').unwrap_or(("", path));
    format!(
        r#""verb":"{verb}","objectRef":{{"resource":"{resource}","subresource":"{subresource}","namespace":"{namespace}","name":"{name}"}}{more}"#
    )
}

#[test]
fn ways_into_a_pod() {
    let exec = r#","requestURI":"/x?command=cat&command=/var/run/secrets/kubernetes.io/serviceaccount/token&container=main""#;
    check(
        &act("get", "pods/exec", "dev/web-0", exec),
        "mallory ran `cat …/token` in pod dev/web-0 (container main)",
    );
    check(
        &act("create", "pods/exec", "dev/web-0", r#","requestURI":"/x""#),
        "mallory opened a session in pod dev/web-0",
    );
    check(&act("create", "pods/attach", "dev/web-0", ""), "mallory attached to pod dev/web-0");
    let ports = r#","requestURI":"/x?ports=80&ports=443""#;
    check(
        &act("create", "pods/portforward", "dev/web-0", ports),
        "mallory forwarded ports 80 and 443 of pod dev/web-0",
    );
    check(&act("get", "pods/portforward", "dev/web-0", ""), "mallory forwarded a port of pod dev/web-0");
    let debug = r#","requestObject":{"spec":{"ephemeralContainers":[{"name":"d","image":"busybox"}]}}"#;
    check(
        &act("patch", "pods/ephemeralcontainers", "dev/web-0", debug),
        "mallory added ephemeral container d (image busybox) to pod dev/web-0",
    );
    let run = r#","requestURI":"/api/v1/nodes/n1/proxy/run/dev/web/main?cmd=id""#;
    check(
        &act("create", "nodes/proxy", "n1", run),
        "mallory ran `id` in pod dev/web (container main) through the kubelet of node n1",
    );
    let pods = r#","requestURI":"/api/v1/nodes/n1/proxy/pods""#;
    check(&act("get", "nodes/proxy", "n1", pods), "mallory called /pods on the kubelet of node n1");
}

#[test]
fn objects_in_a_namespace_or_in_all() {
    check(&act("get", "secrets", "dev/db", ""), "mallory read Secret dev/db");
    check(&act("list", "secrets", "dev/", ""), "mallory listed secrets in namespace dev");
    check(&act("watch", "secrets", "", ""), "mallory watched secrets in all namespaces");
    check(&act("list", "nodes", "", ""), "mallory listed nodes");
    check(&act("delete", "deployments", "prod/web", ""), "mallory deleted Deployment prod/web");
    check(&act("deletecollection", "events", "dev/", ""), "mallory deleted all events in namespace dev");
    check(&act("delete", "namespaces", "dev/dev", ""), "mallory deleted Namespace dev");
    check(&act("update", "deployments/scale", "dev/web", ""), "mallory updated scale of Deployment dev/web");
    check(&act("get", "pods/log", "dev/web", ""), "mallory read log of Pod dev/web");
    check(&act("bless", "widgets", "dev/w", ""), "mallory did bless widgets dev/w");
    check(
        &act("create", "serviceaccounts/token", "dev/app", ""),
        "mallory requested a token of ServiceAccount dev/app",
    );
    check(r#""verb":"get","requestURI":"/metrics?x=1""#, "mallory requested GET /metrics");
}

#[test]
fn bindings_and_roles() {
    let binding = |subjects: &str| {
        format!(
            r#","requestObject":{{"roleRef":{{"kind":"ClusterRole","name":"cluster-admin"}},"subjects":[{subjects}]}}"#
        )
    };
    let user = r#"{"kind":"User","name":"eve"}"#;
    check(
        &act("create", "clusterrolebindings", "b", &binding(user)),
        "mallory bound ClusterRole cluster-admin to User eve",
    );
    check(
        &act("create", "rolebindings", "dev/b", &binding(user)),
        "mallory bound ClusterRole cluster-admin to User eve in namespace dev",
    );
    let many: Vec<String> =
        (0..6).map(|n| format!(r#"{{"kind":"ServiceAccount","namespace":"n","name":"s{n}"}}"#)).collect();
    check(
        &act("create", "clusterrolebindings", "b", &binding(&many.join(","))),
        "mallory bound ClusterRole cluster-admin to ServiceAccount n/s0, ServiceAccount n/s1, ServiceAccount n/s2 and 3 more",
    );
    let patch = r#","requestObject":[{"op":"add","path":"/subjects/-","value":{"kind":"User","name":"eve"}}],"responseObject":{"roleRef":{"kind":"ClusterRole","name":"cluster-admin"}}"#;
    check(
        &act("patch", "clusterrolebindings", "b", patch),
        "mallory bound ClusterRole cluster-admin to User eve",
    );
    let role = r#","requestObject":{"rules":[{"verbs":["get","list"],"resources":["secrets"]}]}"#;
    check(
        &act("create", "roles", "dev/r", role),
        "mallory created Role dev/r that allows get and list on secrets",
    );
    let wide = r#","requestObject":{"rules":[{"verbs":["get"],"resources":["a"]},{"verbs":["*"],"resources":["b"]},{"nonResourceURLs":["*"]}]}"#;
    check(
        &act("patch", "clusterroles", "r", wide),
        "mallory patched ClusterRole r that allows everything on b, and 2 more rules",
    );
    let added = r#","requestObject":[{"op":"add","path":"/rules/0/verbs/-","value":"bind"}]"#;
    check(&act("patch", "clusterroles", "r", added), "mallory patched ClusterRole r that allows bind");
    check(&act("create", "roles", "dev/r", r#","level":"Metadata""#), "mallory created Role dev/r");
}

#[test]
fn workloads_say_what_runs_with_which_rights() {
    let pod = r#","requestObject":{"spec":{"hostPID":true,"volumes":[{"hostPath":{"path":"/"}}],"containers":[{"image":"a","command":["sh","-c","x"],"securityContext":{"privileged":true}},{"image":"b"}]}}"#;
    check(
        &act("create", "pods", "dev/p", pod),
        "mallory created Pod dev/p with images a and b (privileged, host processes, mounts / of the host) running `sh -c x`",
    );
}

#[test]
fn the_outcome_is_visible() {
    let ended = |code: u16, more: &str| {
        act("list", "secrets", "", &format!(r#","responseStatus":{{"code":{code}}}{more}"#))
    };
    check(&ended(403, ""), "mallory tried to list secrets in all namespaces (denied)");
    let allowed = r#","annotations":{"authorization.k8s.io/decision":"allow"}"#;
    check(&ended(403, allowed), "mallory tried to list secrets in all namespaces (rejected: 403)");
    check(&ended(404, ""), "mallory tried to list secrets in all namespaces (failed: 404)");
    let dry = |code: u16| {
        let more = format!(r#","responseStatus":{{"code":{code}}},"requestURI":"/x?dryRun=All""#);
        act("update", "secrets", "dev/a", &more)
    };
    check(&dry(200), "mallory updated Secret dev/a (dry run)");
    check(&dry(500), "mallory tried to update Secret dev/a (failed: 500, dry run)");
    check(
        &act("get", "secrets", "dev/a", r#","stage":"RequestReceived""#),
        "mallory read Secret dev/a (pending)",
    );
    check(
        &act("get", "secrets", "dev/a", r#","impersonatedUser":{"username":"system:admin"}"#),
        "mallory (as system:admin) read Secret dev/a",
    );
}

#[test]
fn hostile_values_stay_inside_the_sentence() {
    let exec = r#","requestURI":"/x?command=%60%1b[31m%0a%E2%80%AEx%60""#;
    check(&act("create", "pods/exec", "dev/a", exec), "mallory ran `' [31m x'` in pod dev/a");
    let long = format!(r#","requestURI":"/x?command={}""#, "a".repeat(100_000));
    let expected = format!("mallory ran `{}…` in pod dev/a", "a".repeat(super::VALUE_CHARACTERS_MAX));
    check(&act("create", "pods/exec", "dev/a", &long), &expected);
    check(
        &act("get", "secrets", "dev/<!channel> @everyone [a](b) c@d", ""),
        "mallory read Secret dev/‹!channel› ＠everyone [a] (b) c@d",
    );
    let exec = r#","requestURI":"/x?command=a%3E%26b&command=@c""#;
    check(&act("create", "pods/exec", "dev/a", exec), "mallory ran `a>&b @c` in pod dev/a");
    check(r#""user":[],"verb":"get","requestURI":7"#, "somebody without a name requested GET");
}
