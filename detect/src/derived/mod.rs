//! Fields computed from an event, so that a rule covers every shape of the same act.
//!
//! One table gives each field's name, type, minimum audit level and meaning. It drives
//! resolution, the suggestions for misspelled names and the documentation.

mod actor;
mod body;
mod csr;
mod image;
mod pod;
mod rbac;
mod request;

use std::fmt::Write as _;

pub(crate) use body::{Node, written};
pub use image::ImageReference;
pub(crate) use pod::{containers, pod_specs, workload_kind};
pub use request::{outcome, query_values};

use crate::field::{Field, Sight, Value, View};

/// A computed field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Derived {
    Outcome,
    DryRun,
    ActorName,
    ActorKind,
    ActorGroups,
    ActorNamespace,
    ActorOriginal,
    SourceIp,
    SourceScope,
    ClientFamily,
    ExecCommand,
    ExecContainer,
    ExecTty,
    ExecStdin,
    ObjectName,
    Pod,
    PodHostPath,
    Container,
    ContainerCommandLine,
    ContainerCapabilities,
    ImageRegistry,
    ImageRepository,
    ImageTag,
    ImageDigest,
    RbacRole,
    RbacRoleKind,
    RbacSubject,
    RbacRule,
    CsrCommonName,
    CsrOrganization,
}

/// A row of the table of computed fields.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The name in rules; one that ends in `.*` stands for every path below it.
    pub name: &'static str,
    /// What computes it.
    pub derived: Derived,
    /// What its values are.
    pub kind: &'static str,
    /// The lowest audit level at which an event shows it.
    pub minimum_level: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

const fn entry(
    name: &'static str,
    derived: Derived,
    kind: &'static str,
    minimum_level: &'static str,
    meaning: &'static str,
) -> Entry {
    Entry { name, derived, kind, minimum_level, meaning }
}

/// Every computed field.
#[rustfmt::skip]
pub const TABLE: &[Entry] = &[
    entry("outcome", Derived::Outcome, "word", "Metadata", "`succeeded` (also 101 and 3xx), `denied` by the authorizer or for want of a valid identity, `rejected` (allowed, then refused by admission or validation: 400, 403, 413, 422), `failed` (any other error), `pending` (no response yet)"),
    entry("dry_run", Derived::DryRun, "boolean", "Metadata", "true when a write asked for `dryRun=All` and so changed nothing"),
    entry("actor.name", Derived::ActorName, "text", "Metadata", "the effective user name: the impersonated one if impersonation was used"),
    entry("actor.kind", Derived::ActorKind, "word", "Metadata", "`human`, `serviceaccount`, `node`, `controlplane`, `anonymous`"),
    entry("actor.groups", Derived::ActorGroups, "text, several", "Metadata", "the effective groups"),
    entry("actor.namespace", Derived::ActorNamespace, "text", "Metadata", "the namespace of a service account; absent for others"),
    entry("actor.original", Derived::ActorOriginal, "text", "Metadata", "the authenticated user behind an impersonation; absent without one"),
    entry("source.ip", Derived::SourceIp, "address", "Metadata", "the last of `sourceIPs` that is not a configured proxy; those before it can be forged"),
    entry("source.scope", Derived::SourceScope, "word", "Metadata", "`public`, `private` (link-local and carrier-grade NAT too), `loopback`"),
    entry("client.family", Derived::ClientFamily, "text", "Metadata", "the user agent up to the first `/` or space; clients choose it"),
    entry("exec.command", Derived::ExecCommand, "text", "Metadata", "the command of an exec, its words decoded and joined by spaces; also through the kubelet's proxy"),
    entry("exec.container", Derived::ExecContainer, "text", "Metadata", "the container that exec, attach or port-forward named"),
    entry("exec.tty", Derived::ExecTty, "boolean", "Metadata", "whether the session has a terminal"),
    entry("exec.stdin", Derived::ExecStdin, "boolean", "Metadata", "whether the session has an input"),
    entry("object.name", Derived::ObjectName, "text", "Metadata", "the object's name; for a create also from the response, else the name or `generateName` asked for"),
    entry("pod.hostpath", Derived::PodHostPath, "text, several", "Request", "the paths of the host that are mounted, normalised"),
    entry("pod.*", Derived::Pod, "any", "Request", "any path of the pod spec that is written, wherever it lives: Pod, pod template, CronJob"),
    entry("container.command_line", Derived::ContainerCommandLine, "text, several", "Request", "command and arguments of each container joined by spaces; each command of a lifecycle hook or probe"),
    entry("container.capabilities.add", Derived::ContainerCapabilities, "text, several", "Request", "added capabilities in upper case without `CAP_`"),
    entry("container.image.registry", Derived::ImageRegistry, "text, several", "Request", "host and port of the image's registry; `docker.io` where none is written"),
    entry("container.image.repository", Derived::ImageRepository, "text, several", "Request", "the image's path in its registry; `library/nginx` for `nginx`"),
    entry("container.image.tag", Derived::ImageTag, "text, several", "Request", "the image's tag; `latest` where neither tag nor digest is written"),
    entry("container.image.digest", Derived::ImageDigest, "text, several", "Request", "the image's digest"),
    entry("container.*", Derived::Container, "any", "Request", "any path of each container, init container and ephemeral container that is written"),
    entry("rbac.role", Derived::RbacRole, "text", "Request", "the role that a written binding refers to; for a patch of subjects from the response"),
    entry("rbac.role_kind", Derived::RbacRoleKind, "word", "Request", "`Role` or `ClusterRole`"),
    entry("rbac.subject.*", Derived::RbacSubject, "text, several", "Request", "`kind`, `name`, `namespace` of the subjects that a binding is given"),
    entry("rbac.rule.*", Derived::RbacRule, "text, several", "Request", "`verbs`, `resources`, `apiGroups`, `resourceNames`, `nonResourceURLs` of the rules that a role is given"),
    entry("csr.common_name", Derived::CsrCommonName, "text", "Request", "the common name that a CertificateSigningRequest asks for, read out of its PEM"),
    entry("csr.organization", Derived::CsrOrganization, "text, several", "Request", "the organizations (groups) that a CertificateSigningRequest asks for"),
];

/// Short names that SigmaHQ's Kubernetes rules use, and what they mean.
pub const ALIASES: &[(&str, &str)] = &[
    ("apiGroup", "objectRef.apiGroup"),
    ("capabilities", "container.securityContext.capabilities"),
    ("hostPath", "pod.hostpath"),
    ("namespace", "objectRef.namespace"),
    ("resource", "objectRef.resource"),
    ("subresource", "objectRef.subresource"),
    ("username", "user.username"),
];

/// The computed field of this name or alias, if there is one.
pub fn find(name: &str) -> Option<Field> {
    if let Some((_, target)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
        return Some(find(target).unwrap_or_else(|| Field::Path((*target).to_owned())));
    }
    TABLE.iter().find_map(|entry| match entry.name.strip_suffix('*') {
        None => (entry.name == name).then(|| Field::Derived(entry.derived, String::new())),
        Some(prefix) => {
            let rest = name.strip_prefix(prefix).filter(|rest| !rest.is_empty())?;
            Some(Field::Derived(entry.derived, rest.replace('"', "")))
        }
    })
}

/// The names a rule can use, for suggestions.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|entry| entry.name).chain(ALIASES.iter().map(|(alias, _)| *alias))
}

/// The table in Markdown.
pub fn markdown_table() -> String {
    let mut table = String::from("| field | type | minimum level | meaning |\n|---|---|---|---|\n");
    for Entry { name, kind, minimum_level, meaning, .. } in TABLE {
        let _ = writeln!(table, "| `{name}` | {kind} | {minimum_level} | {meaning} |");
    }
    for (alias, target) in ALIASES {
        let _ = writeln!(table, "| `{alias}` | | | another name for `{target}` |");
    }
    table
}

/// Appends the values of a computed field to `values`.
pub fn read<'a>(derived: Derived, rest: &str, view: View<'a>, values: &mut Vec<Value<'a>>) -> Sight {
    let event = view.event;
    match derived {
        Derived::Outcome => push_word(request::outcome(event), values),
        Derived::DryRun => push_word(if request::is_dry_run(event) { "true" } else { "false" }, values),
        Derived::ActorName => push(actor::name(event), values),
        Derived::ActorKind => push(actor::kind(event).map(Into::into), values),
        Derived::ActorGroups => {
            actor::groups(event, |group| values.push(Value::Text(group)));
            Sight::Clear
        }
        Derived::ActorNamespace => push(actor::namespace(event), values),
        Derived::ActorOriginal => push(actor::original(event), values),
        Derived::SourceIp => push(actor::source_ip(view), values),
        Derived::SourceScope => push(actor::source_scope(view).map(Into::into), values),
        Derived::ClientFamily => push(actor::client_family(event), values),
        Derived::ExecCommand => push(request::exec_command(event), values),
        Derived::ExecContainer => push(request::session_option(event, "container"), values),
        Derived::ExecTty => push(request::session_option(event, "tty"), values),
        Derived::ExecStdin => push(request::session_option(event, "stdin"), values),
        Derived::ObjectName => push(request::object_name(event), values),
        Derived::Pod => pod::read_pod(event, rest, values),
        Derived::PodHostPath => pod::read_host_paths(event, values),
        Derived::Container => pod::read_containers(event, rest, values),
        Derived::ContainerCommandLine => pod::read_command_lines(event, values),
        Derived::ContainerCapabilities => pod::read_capabilities(event, values),
        Derived::ImageRegistry => pod::read_images(event, values, |image| Some(image.registry)),
        Derived::ImageRepository => pod::read_images(event, values, |image| Some(image.repository)),
        Derived::ImageTag => pod::read_images(event, values, |image| image.tag),
        Derived::ImageDigest => pod::read_images(event, values, |image| image.digest),
        Derived::RbacRole => rbac::read_role(event, "name", values),
        Derived::RbacRoleKind => rbac::read_role(event, "kind", values),
        Derived::RbacSubject => rbac::read_subjects(event, rest, values),
        Derived::RbacRule => rbac::read_rules(event, rest, values),
        Derived::CsrCommonName => csr::read(event, csr::Part::CommonName, values),
        Derived::CsrOrganization => csr::read(event, csr::Part::Organization, values),
    }
}

fn push<'a>(text: Option<std::borrow::Cow<'a, str>>, values: &mut Vec<Value<'a>>) -> Sight {
    values.extend(text.map(Value::Text));
    Sight::Clear
}

fn push_word<'a>(word: &'static str, values: &mut Vec<Value<'a>>) -> Sight {
    push(Some(word.into()), values)
}
