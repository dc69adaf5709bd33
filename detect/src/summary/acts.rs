//! What was done, told in the words of the act rather than of the API.

use super::{Act, clean, first, listed, reference, texts};
use crate::derived;
use crate::event::{Event, Key};
use crate::field::View;
use crate::json::Json;

/// What the event tells.
pub(super) fn of(view: View<'_>) -> Act {
    let event = view.event;
    let (resource, subresource) = (reference(event, "resource"), reference(event, "subresource"));
    let verb = event.str(Key::Verb).unwrap_or_default();
    let special = match (resource.as_str(), subresource.as_str(), verb.as_ref()) {
        ("", ..) => Some(request(view)),
        ("pods", "exec", _) => Some(execution(view)),
        ("pods", "attach", _) => Some(Act::new("attached to", "attach to", in_pod(view))),
        ("pods", "portforward", _) => Some(port_forward(view)),
        ("pods", "ephemeralcontainers", "update" | "patch" | "create") => ephemeral_container(view),
        ("nodes", "proxy", _) => Some(kubelet(view)),
        ("serviceaccounts", "token", "create") => {
            Some(Act::new("requested", "request", format!("a token of ServiceAccount {}", path(view))))
        }
        ("certificatesigningrequests", "approval", "update" | "patch") => Some(approval(view)),
        ("certificatesigningrequests", "", "create") => signing_request(view),
        ("rolebindings" | "clusterrolebindings", "", "create" | "update" | "patch") => binding(view),
        ("roles" | "clusterroles", "", "create" | "update" | "patch") => role(view),
        _ => None,
    };
    special.unwrap_or_else(|| general(view))
}

/// The command and the pod that it ran in.
fn execution(view: View<'_>) -> Act {
    match first_command(view) {
        Some(command) => Act::new("ran", "run", format!("`{command}` in {}", in_pod(view))),
        None => Act::new("opened", "open", format!("a session in {}", in_pod(view))),
    }
}

/// The command with long paths cut down to their last part.
fn first_command(view: View<'_>) -> Option<String> {
    let mut values = Vec::new();
    let _ = derived::read(derived::Derived::ExecCommand, "", view, &mut values);
    let command = values.first()?.text()?;
    let words: Vec<String> = command.split(' ').map(short_path).collect();
    Some(clean(&words.join(" "))).filter(|command| !command.is_empty())
}

/// How long a path in a command may be, in bytes, before only its last part is shown.
const PATH_BYTES_MAX: usize = 24;

fn short_path(word: &str) -> String {
    match word.rsplit_once('/') {
        Some((_, last)) if word.starts_with('/') && word.len() > PATH_BYTES_MAX && !last.is_empty() => {
            format!("…/{last}")
        }
        _ => word.to_owned(),
    }
}

fn in_pod(view: View<'_>) -> String {
    let pod = format!("pod {}", path(view));
    match first(view, "exec.container") {
        Some(container) => format!("{pod} (container {container})"),
        None => pod,
    }
}

fn port_forward(view: View<'_>) -> Act {
    let event = view.event;
    let mut ports: Vec<String> = derived::parameters(event, "ports").iter().map(|port| clean(port)).collect();
    if ports.is_empty() {
        let listed = event.at(Key::RequestObject, &["ports"]).into_iter().flat_map(Json::elements);
        ports = listed.take(super::TEXTS_MAX).filter_map(|port| Some(clean(&port.text()?))).collect();
    }
    let ports = match ports.len() {
        0 => "a port".to_owned(),
        1 => format!("port {}", ports[0]),
        _ => format!("ports {}", listed(&ports)),
    };
    Act::new("forwarded", "forward", format!("{ports} of pod {}", path(view)))
}

fn ephemeral_container(view: View<'_>) -> Option<Act> {
    let names = texts(view, "container.name");
    let images = texts(view, "container.image");
    if names.is_empty() && images.is_empty() {
        return None;
    }
    let image = if images.is_empty() { String::new() } else { format!(" (image {})", listed(&images)) };
    let object = format!("ephemeral container {}{image} to pod {}", listed(&names), path(view));
    Some(Act::new("added", "add", object))
}

fn kubelet(view: View<'_>) -> Act {
    let node = path(view);
    if let Some(command) = first_command(view) {
        let target = derived::kubelet_path(view.event).unwrap_or_default();
        let pod = target.split('/').skip(1).take(2).collect::<Vec<_>>().join("/");
        let container = first(view, "exec.container").map(|name| format!(" (container {name})"));
        let object = format!(
            "`{command}` in pod {}{} through the kubelet of node {node}",
            clean(&pod),
            container.unwrap_or_default()
        );
        return Act::new("ran", "run", object);
    }
    let target = derived::kubelet_path(view.event).unwrap_or_default();
    Act::new("called", "call", format!("/{} on the kubelet of node {node}", clean(&target)))
}

fn signing_request(view: View<'_>) -> Option<Act> {
    Some(Act::new("requested", "request", format!("{} ({})", certificate(view)?, object(view))))
}

fn approval(view: View<'_>) -> Act {
    let conditions = view.event.at(Key::RequestObject, &["status", "conditions"]);
    let has = |kind: &str| {
        let mut conditions = conditions.into_iter().flat_map(Json::elements);
        conditions.any(|condition| condition.str_at("type").as_deref() == Some(kind))
    };
    let object = format!("CertificateSigningRequest {}", path(view));
    let object = match certificate(view) {
        Some(certificate) => format!("{object} ({certificate})"),
        None => object,
    };
    match (has("Approved"), has("Denied")) {
        (true, false) => Act::new("approved", "approve", object),
        (false, true) => Act::new("denied", "deny", object),
        _ => Act::new("decided on", "decide on", object),
    }
}

/// a certificate for jane in group dev-team
fn certificate(view: View<'_>) -> Option<String> {
    let (names, groups) = derived::subject_of(view.event)?;
    let [names, groups] =
        [names, groups].map(|texts| texts.iter().map(|text| clean(text)).collect::<Vec<_>>());
    let user = match names.as_slice() {
        [] if groups.is_empty() => return None,
        [] => "a user without a name".to_owned(),
        names => listed(names),
    };
    let groups = if groups.is_empty() { String::new() } else { format!(" in group {}", listed(&groups)) };
    Some(format!("a certificate for {user}{groups}"))
}

/// `ClusterRole cluster-admin to User mallory`
fn binding(view: View<'_>) -> Option<Act> {
    let role = first(view, "rbac.role")?;
    let kind = first(view, "rbac.role_kind").unwrap_or_else(|| "role".to_owned());
    let subjects = subjects(view);
    if subjects.is_empty() {
        return None;
    }
    let namespace = match (reference(view.event, "resource").as_str(), reference(view.event, "namespace")) {
        ("rolebindings", namespace) if !namespace.is_empty() => format!(" in namespace {namespace}"),
        _ => String::new(),
    };
    Some(Act::new("bound", "bind", format!("{kind} {role} to {}{namespace}", listed(&subjects))))
}

fn subjects(view: View<'_>) -> Vec<String> {
    let mut named = Vec::new();
    derived::each_subject(view.event, |kind, namespace, name| {
        let kind = clean(kind.as_deref().unwrap_or("subject"));
        let name = clean(name.as_deref().unwrap_or_default());
        let subject = match namespace.as_deref().map(clean).filter(|namespace| !namespace.is_empty()) {
            Some(namespace) => format!("{kind} {namespace}/{name}"),
            None => format!("{kind} {name}"),
        };
        if named.len() < super::TEXTS_MAX && !named.contains(&subject) {
            named.push(subject);
        }
    });
    named
}

/// `ClusterRole deployer that allows get and list on secrets`
fn role(view: View<'_>) -> Option<Act> {
    let verbs = texts(view, "rbac.rule.verbs");
    if verbs.is_empty() {
        return None;
    }
    let mut targets = texts(view, "rbac.rule.resources");
    targets.extend(texts(view, "rbac.rule.nonResourceURLs"));
    let words = |texts: &[String]| {
        if texts.iter().any(|text| text == "*") { "everything".to_owned() } else { listed(texts) }
    };
    let verbs = if verbs.iter().any(|verb| verb == "*") { "everything".to_owned() } else { listed(&verbs) };
    let rules = match targets.as_slice() {
        [] => verbs,
        targets => format!("{verbs} on {}", words(targets)),
    };
    let mut act = general(view);
    act.object = format!("{} that allows {rules}", act.object);
    Some(act)
}

/// GET /metrics
fn request(view: View<'_>) -> Act {
    let verb = view.event.str(Key::Verb).map(|verb| clean(&verb).to_uppercase()).unwrap_or_default();
    Act::new("requested", "request", format!("{verb} {}", clean(&derived::request_path(view.event))))
}

/// The rights of a pod that reach beyond it, in brackets; empty if there are none.
fn privileges(view: View<'_>) -> String {
    let is_true = |field: &str| texts(view, field).iter().any(|text| text == "true");
    let switches = [
        ("container.securityContext.privileged", "privileged"),
        ("pod.hostNetwork", "host network"),
        ("pod.hostPID", "host processes"),
        ("pod.hostIPC", "host memory"),
    ];
    let mut rights: Vec<String> =
        switches.iter().filter(|(field, _)| is_true(field)).map(|(_, right)| (*right).to_owned()).collect();
    let capabilities = texts(view, "container.capabilities.add");
    if !capabilities.is_empty() {
        rights.push(format!("adds {}", listed(&capabilities)));
    }
    let host_paths = texts(view, "pod.hostpath");
    if !host_paths.is_empty() {
        rights.push(format!("mounts {} of the host", listed(&host_paths)));
    }
    if rights.is_empty() { String::new() } else { format!(" ({})", rights.join(", ")) }
}

/// Secret dev/db; of workloads also what they run, and with which rights.
fn general(view: View<'_>) -> Act {
    let verb = view.event.str(Key::Verb).unwrap_or_default();
    let (past, base) = words(&verb);
    let images = texts(view, "container.image");
    let mut object = object(view);
    if !images.is_empty() {
        let word = if images.len() == 1 { "image" } else { "images" };
        object = format!("{object} with {word} {}", listed(&images));
    }
    object += &privileges(view);
    if let Some(command) = first(view, "container.command_line").filter(|command| !command.is_empty()) {
        object = format!("{object} running `{command}`");
    }
    match past {
        Some(past) => Act::new(past, base, object),
        None => Act::new(&format!("did {}", clean(&verb)), &clean(&verb), object),
    }
}

fn words(verb: &str) -> (Option<&'static str>, &'static str) {
    match verb {
        "get" => (Some("read"), "read"),
        "list" => (Some("listed"), "list"),
        "watch" => (Some("watched"), "watch"),
        "create" => (Some("created"), "create"),
        "update" => (Some("updated"), "update"),
        "patch" => (Some("patched"), "patch"),
        "delete" => (Some("deleted"), "delete"),
        "deletecollection" => (Some("deleted all"), "delete all"),
        _ => (None, ""),
    }
}

/// `Deployment prod/web`, `secrets in all namespaces`: what the request is about.
fn object(view: View<'_>) -> String {
    let event = view.event;
    let (resource, subresource) = (reference(event, "resource"), reference(event, "subresource"));
    let of = if subresource.is_empty() { String::new() } else { format!("{subresource} of ") };
    let is_collection =
        matches!(event.str(Key::Verb).as_deref(), Some("list" | "watch" | "deletecollection"));
    let name = first(view, "object.name").unwrap_or_default();
    if is_collection && name.is_empty() {
        return format!("{of}{resource}{}", scope(event, &resource));
    }
    format!("{of}{} {}", kind(event, &resource), path(view)).trim_end().to_owned()
}

fn scope(event: &Event<'_>, resource: &str) -> String {
    match reference(event, "namespace") {
        namespace if !namespace.is_empty() => format!(" in namespace {namespace}"),
        _ if is_cluster_wide(resource) => String::new(),
        _ => " in all namespaces".to_owned(),
    }
}

/// Resources that belong to no namespace.
fn is_cluster_wide(resource: &str) -> bool {
    KINDS.iter().any(|(name, _, is_cluster_wide)| *name == resource && *is_cluster_wide)
        || resource.starts_with("cluster")
}

/// `namespace/name`, or the name alone.
fn path(view: View<'_>) -> String {
    let (namespace, resource) = (reference(view.event, "namespace"), reference(view.event, "resource"));
    let name = first(view, "object.name").unwrap_or_default();
    match (namespace.as_str(), name.as_str()) {
        ("", name) => name.to_owned(),
        (namespace, "") => format!("in namespace {namespace}"),
        (_, name) if resource == "namespaces" => name.to_owned(),
        (namespace, name) => format!("{namespace}/{name}"),
    }
}

/// The kind behind a resource, as people write it; the resource itself if it is not known.
fn kind(event: &Event<'_>, resource: &str) -> String {
    if let Some((_, kind, _)) = KINDS.iter().find(|(name, ..)| *name == resource) {
        return (*kind).to_owned();
    }
    match event.str_at(Key::RequestObject, "kind") {
        Some(kind) if reference(event, "subresource").is_empty() && is_plural(&kind, resource) => {
            clean(&kind)
        }
        _ => resource.to_owned(),
    }
}

/// Whether a resource is the plural of the kind that a body claims to be.
fn is_plural(kind: &str, resource: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    let stem = kind.strip_suffix('y').unwrap_or(&kind);
    !stem.is_empty() && resource.starts_with(stem)
}

/// Resource, kind, and whether it belongs to no namespace.
const KINDS: &[(&str, &str, bool)] = &[
    ("certificatesigningrequests", "CertificateSigningRequest", true),
    ("clusterrolebindings", "ClusterRoleBinding", true),
    ("clusterroles", "ClusterRole", true),
    ("configmaps", "ConfigMap", false),
    ("cronjobs", "CronJob", false),
    ("customresourcedefinitions", "CustomResourceDefinition", true),
    ("daemonsets", "DaemonSet", false),
    ("deployments", "Deployment", false),
    ("events", "Event", false),
    ("ingresses", "Ingress", false),
    ("jobs", "Job", false),
    ("limitranges", "LimitRange", false),
    ("mutatingwebhookconfigurations", "MutatingWebhookConfiguration", true),
    ("namespaces", "Namespace", true),
    ("networkpolicies", "NetworkPolicy", false),
    ("nodes", "Node", true),
    ("persistentvolumeclaims", "PersistentVolumeClaim", false),
    ("persistentvolumes", "PersistentVolume", true),
    ("pods", "Pod", false),
    ("podtemplates", "PodTemplate", false),
    ("priorityclasses", "PriorityClass", true),
    ("replicasets", "ReplicaSet", false),
    ("replicationcontrollers", "ReplicationController", false),
    ("resourcequotas", "ResourceQuota", false),
    ("rolebindings", "RoleBinding", false),
    ("roles", "Role", false),
    ("secrets", "Secret", false),
    ("serviceaccounts", "ServiceAccount", false),
    ("services", "Service", false),
    ("statefulsets", "StatefulSet", false),
    ("storageclasses", "StorageClass", true),
    ("validatingwebhookconfigurations", "ValidatingWebhookConfiguration", true),
];
