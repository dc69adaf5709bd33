//! What was done, told in the words of the act rather than of the API.

use super::{Act, clean, cleaned, first, listed, texts};
use crate::derived::{self, Derived, Known};
use crate::event::Key;
use crate::field::View;
use crate::json::Json;

/// An event with the parts of its `objectRef`: clean, and empty if there are none.
struct About<'v> {
    view: View<'v>,
    resource: String,
    subresource: String,
    namespace: String,
    /// The name of the object, wherever it stands.
    name: String,
}

impl<'v> About<'v> {
    fn of(view: View<'v>) -> Self {
        let parts = view.event.entries(Key::ObjectRef, ["resource", "subresource", "namespace"]);
        let text = |part: Option<Json<'_>>| part.and_then(Json::as_str).map(|text| clean(&text));
        let [resource, subresource, namespace] = parts.map(|part| text(part).unwrap_or_default());
        let name = first(view, Derived::ObjectName).unwrap_or_default();
        Self { view, resource, subresource, namespace, name }
    }
}

/// What the event tells.
pub(super) fn of(view: View<'_>) -> Act {
    let event = view.event;
    let about = &About::of(view);
    let verb = event.str(Key::Verb).unwrap_or_default();
    let special = match (about.resource.as_str(), about.subresource.as_str(), verb.as_ref()) {
        ("", ..) => Some(request(view)),
        ("pods", "exec", _) => Some(execution(about)),
        ("pods", "attach", _) => Some(Act::new("attached to", "attach to", in_pod(about))),
        ("pods", "portforward", _) => Some(port_forward(about)),
        ("pods", "ephemeralcontainers", "update" | "patch" | "create") => ephemeral_container(about),
        ("nodes", "proxy", _) => Some(kubelet(about)),
        ("serviceaccounts", "token", "create") => {
            Some(Act::new("requested", "request", format!("a token of ServiceAccount {}", path(about))))
        }
        ("certificatesigningrequests", "approval", "update" | "patch") => Some(approval(about)),
        ("certificatesigningrequests", "", "create") => signing_request(about),
        ("rolebindings" | "clusterrolebindings", "", "create" | "update" | "patch") => binding(about),
        ("roles" | "clusterroles", "", "create" | "update" | "patch") => role(about),
        _ => None,
    };
    special.unwrap_or_else(|| general(about))
}

/// The command and the pod that it ran in.
fn execution(about: &About<'_>) -> Act {
    match first_command(about.view) {
        Some(command) => Act::new("ran", "run", format!("`{command}` in {}", in_pod(about))),
        None => Act::new("opened", "open", format!("a session in {}", in_pod(about))),
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

fn in_pod(about: &About<'_>) -> String {
    let pod = format!("pod {}", path(about));
    match first(about.view, Derived::ExecContainer) {
        Some(container) => format!("{pod} (container {container})"),
        None => pod,
    }
}

fn port_forward(about: &About<'_>) -> Act {
    let event = about.view.event;
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
    Act::new("forwarded", "forward", format!("{ports} of pod {}", path(about)))
}

fn ephemeral_container(about: &About<'_>) -> Option<Act> {
    let names = texts(about.view, Derived::Container, "name");
    let images = texts(about.view, Derived::Container, "image");
    if names.is_empty() && images.is_empty() {
        return None;
    }
    let image = if images.is_empty() { String::new() } else { format!(" (image {})", listed(&images)) };
    let object = format!("ephemeral container {}{image} to pod {}", listed(&names), path(about));
    Some(Act::new("added", "add", object))
}

fn kubelet(about: &About<'_>) -> Act {
    let node = path(about);
    if let Some(command) = first_command(about.view) {
        let target = derived::kubelet_path(about.view.event).unwrap_or_default();
        let pod = target.split('/').skip(1).take(2).collect::<Vec<_>>().join("/");
        let container = first(about.view, Derived::ExecContainer).map(|name| format!(" (container {name})"));
        let object = format!(
            "`{command}` in pod {}{} through the kubelet of node {node}",
            clean(&pod),
            container.unwrap_or_default()
        );
        return Act::new("ran", "run", object);
    }
    let target = derived::kubelet_path(about.view.event).unwrap_or_default();
    Act::new("called", "call", format!("/{} on the kubelet of node {node}", clean(&target)))
}

fn signing_request(about: &About<'_>) -> Option<Act> {
    Some(Act::new("requested", "request", format!("{} ({})", certificate(about.view)?, object(about))))
}

fn approval(about: &About<'_>) -> Act {
    let conditions = about.view.event.at(Key::RequestObject, &["status", "conditions"]);
    let has = |kind: &str| {
        let mut conditions = conditions.into_iter().flat_map(Json::elements);
        conditions.any(|condition| condition.str_at("type").as_deref() == Some(kind))
    };
    let object = format!("CertificateSigningRequest {}", path(about));
    let object = match certificate(about.view) {
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
fn binding(about: &About<'_>) -> Option<Act> {
    let role = first(about.view, Derived::RbacRole)?;
    let kind = first(about.view, Derived::RbacRoleKind).unwrap_or_else(|| "role".to_owned());
    let subjects = subjects(about.view);
    if subjects.is_empty() {
        return None;
    }
    let namespace = match (about.resource.as_str(), about.namespace.as_str()) {
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
fn role(about: &About<'_>) -> Option<Act> {
    let mut widest: Option<(bool, String)> = None;
    let mut rules = 0;
    derived::each_rule(about.view.event, |verbs, targets| {
        rules += 1;
        if widest.as_ref().is_some_and(|(has_wildcard, _)| *has_wildcard) {
            return;
        }
        let (verbs, targets) = (cleaned(verbs), cleaned(targets));
        let has_wildcard = is_everything(&verbs) || is_everything(&targets);
        if has_wildcard || widest.is_none() {
            // A patch may set one without the other.
            let allowed = match (verbs.as_slice(), targets.as_slice()) {
                ([], []) => return,
                (verbs, []) => words_of(verbs),
                ([], targets) => format!("more on {}", words_of(targets)),
                (verbs, targets) => format!("{} on {}", words_of(verbs), words_of(targets)),
            };
            widest = Some((has_wildcard, allowed));
        }
    });
    let (_, rule) = widest?;
    let more = match rules {
        1 => String::new(),
        2 => ", and 1 more rule".to_owned(),
        rules => format!(", and {} more rules", rules - 1),
    };
    let mut act = general(about);
    act.object = format!("{} that allows {rule}{more}", act.object);
    Some(act)
}

fn is_everything(texts: &[String]) -> bool {
    texts.iter().any(|text| text == "*")
}

fn words_of(texts: &[String]) -> String {
    if is_everything(texts) { "everything".to_owned() } else { listed(texts) }
}

/// GET /metrics
fn request(view: View<'_>) -> Act {
    let verb = view.event.str(Key::Verb).map(|verb| clean(&verb).to_uppercase()).unwrap_or_default();
    Act::new("requested", "request", format!("{verb} {}", clean(&derived::request_path(view.event))))
}

/// What a workload runs, and with which rights; empty if it is none.
fn running(view: View<'_>) -> String {
    let found = derived::read_of_pods(
        [
            (Derived::Container, "image"),
            (Derived::ContainerCommandLine, ""),
            (Derived::Container, "securityContext.privileged"),
            (Derived::Pod, "hostNetwork"),
            (Derived::Pod, "hostPID"),
            (Derived::Pod, "hostIPC"),
            (Derived::ContainerCapabilitiesAdd, ""),
            (Derived::PodHostpath, ""),
        ],
        view,
    );
    let [images, commands, privileged, network, processes, memory, capabilities, host_paths] =
        found.map(|values| cleaned(&values));
    let word = if images.len() == 1 { "image" } else { "images" };
    let images = if images.is_empty() { String::new() } else { format!(" with {word} {}", listed(&images)) };
    let switches = [
        (privileged, "privileged"),
        (network, "host network"),
        (processes, "host processes"),
        (memory, "host memory"),
    ];
    let rights = privileges(&switches, &capabilities, &host_paths);
    let command = commands.into_iter().next().filter(|command| !command.is_empty());
    let command = command.map(|command| format!(" running `{command}`"));
    format!("{images}{rights}{}", command.unwrap_or_default())
}

/// The rights of a pod that reach beyond it, in brackets; empty if there are none.
fn privileges(switches: &[(Vec<String>, &str)], capabilities: &[String], host_paths: &[String]) -> String {
    let is_true = |texts: &[String]| texts.iter().any(|text| text == "true");
    let on = switches.iter().filter(|(texts, _)| is_true(texts));
    let mut rights: Vec<String> = on.map(|(_, right)| (*right).to_owned()).collect();
    if !capabilities.is_empty() {
        rights.push(format!("adds {}", listed(capabilities)));
    }
    if !host_paths.is_empty() {
        rights.push(format!("mounts {} of the host", listed(host_paths)));
    }
    if rights.is_empty() { String::new() } else { format!(" ({})", rights.join(", ")) }
}

/// Secret dev/db; of workloads also what they run, and with which rights.
fn general(about: &About<'_>) -> Act {
    let view = about.view;
    let verb = view.event.str(Key::Verb).unwrap_or_default();
    let (past, base) = words(&verb);
    let mut object = object(about);
    if derived::may_write_pods(&Known::new(view)) {
        object += &running(view);
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
fn object(about: &About<'_>) -> String {
    let About { view, resource, subresource, name, .. } = about;
    let of = if subresource.is_empty() { String::new() } else { format!("{subresource} of ") };
    let is_collection =
        matches!(view.event.str(Key::Verb).as_deref(), Some("list" | "watch" | "deletecollection"));
    if is_collection && name.is_empty() {
        return format!("{of}{resource}{}", scope(about));
    }
    format!("{of}{} {}", kind(about), path(about)).trim_end().to_owned()
}

fn scope(about: &About<'_>) -> String {
    match about.namespace.as_str() {
        namespace if !namespace.is_empty() => format!(" in namespace {namespace}"),
        _ if is_cluster_wide(&about.resource) => String::new(),
        _ => " in all namespaces".to_owned(),
    }
}

/// Resources that belong to no namespace.
fn is_cluster_wide(resource: &str) -> bool {
    KINDS.iter().any(|(name, _, is_cluster_wide)| *name == resource && *is_cluster_wide)
        || resource.starts_with("cluster")
}

/// `namespace/name`, or the name alone.
fn path(about: &About<'_>) -> String {
    match (about.namespace.as_str(), about.name.as_str()) {
        ("", name) => name.to_owned(),
        (namespace, "") => format!("in namespace {namespace}"),
        (_, name) if about.resource == "namespaces" => name.to_owned(),
        (namespace, name) => format!("{namespace}/{name}"),
    }
}

/// The kind behind a resource, as people write it; the resource itself if it is not known.
fn kind(about: &About<'_>) -> String {
    let resource = about.resource.as_str();
    if let Some((_, kind, _)) = KINDS.iter().find(|(name, ..)| *name == resource) {
        return (*kind).to_owned();
    }
    match about.view.event.str_at(Key::RequestObject, "kind") {
        Some(kind) if about.subresource.is_empty() && is_plural(&kind, resource) => clean(&kind),
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
    ("apiservices", "APIService", true),
    ("certificatesigningrequests", "CertificateSigningRequest", true),
    ("clusterrolebindings", "ClusterRoleBinding", true),
    ("clusterroles", "ClusterRole", true),
    ("configmaps", "ConfigMap", false),
    ("cronjobs", "CronJob", false),
    ("csidrivers", "CSIDriver", true),
    ("csinodes", "CSINode", true),
    ("customresourcedefinitions", "CustomResourceDefinition", true),
    ("daemonsets", "DaemonSet", false),
    ("deployments", "Deployment", false),
    ("events", "Event", false),
    ("flowschemas", "FlowSchema", true),
    ("ingressclasses", "IngressClass", true),
    ("ingresses", "Ingress", false),
    ("ipaddresses", "IPAddress", true),
    ("jobs", "Job", false),
    ("limitranges", "LimitRange", false),
    ("mutatingadmissionpolicies", "MutatingAdmissionPolicy", true),
    ("mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", true),
    ("mutatingwebhookconfigurations", "MutatingWebhookConfiguration", true),
    ("namespaces", "Namespace", true),
    ("networkpolicies", "NetworkPolicy", false),
    ("nodes", "Node", true),
    ("persistentvolumeclaims", "PersistentVolumeClaim", false),
    ("persistentvolumes", "PersistentVolume", true),
    ("pods", "Pod", false),
    ("podtemplates", "PodTemplate", false),
    ("priorityclasses", "PriorityClass", true),
    ("prioritylevelconfigurations", "PriorityLevelConfiguration", true),
    ("replicasets", "ReplicaSet", false),
    ("replicationcontrollers", "ReplicationController", false),
    ("resourcequotas", "ResourceQuota", false),
    ("rolebindings", "RoleBinding", false),
    ("roles", "Role", false),
    ("runtimeclasses", "RuntimeClass", true),
    ("secrets", "Secret", false),
    ("serviceaccounts", "ServiceAccount", false),
    ("servicecidrs", "ServiceCIDR", true),
    ("services", "Service", false),
    ("statefulsets", "StatefulSet", false),
    ("storageclasses", "StorageClass", true),
    ("validatingadmissionpolicies", "ValidatingAdmissionPolicy", true),
    ("validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", true),
    ("validatingwebhookconfigurations", "ValidatingWebhookConfiguration", true),
    ("volumeattachments", "VolumeAttachment", true),
];
